"""The study's arithmetic and its resumption, on results written by hand."""

import math
import os
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import quality
from sds_core.runs.new_run import create
from sds_core.runs.run_folder import ids
from tests.records import run_result, write_result

DENSE = (2.0, 2.5, 3.0)
WINDOWS = np.random.default_rng(0).normal(3.0, 0.3, (2, 3, 3))  # method, seed, window


@pytest.fixture
def options(tmp_path, monkeypatch):
    monkeypatch.setenv("SDS_RUNS", str(tmp_path / "runs"))
    return Namespace(
        study="methods",
        evaluations=["python-docs"],
        models=["demo"],
        seeds=[0, 1, 2],
        patterns=["2:4"],
        methods=["base:wanda", "sds:wanda"],
        out=str(tmp_path / "out"),
        table=False,
    )


def finish(run):
    """Write the result that a run of the study would have."""
    losses = WINDOWS[0 if run.config.method == "base" else 1, run.config.seed]
    stage = run.config.written_by(run.config.phases[-1])
    result = run_result({"dense": DENSE, stage: losses.tolist()}, cpu_seconds={"fused": 10.0 + run.config.seed})
    write_result(run, result)


def test_ratios_are_paired_over_windows_with_spread_over_seeds(options, monkeypatch, capsys):
    monkeypatch.setattr(quality, "run_all", lambda runs: [finish(run) for run in runs])
    quality.study(options)
    base, sds = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| 2:4")]
    base, sds = ([cell.strip() for cell in line.split("|")] for line in (base, sds))
    by_window = (WINDOWS[1] - WINDOWS[0]).mean(axis=0)
    ratio = math.exp(by_window.mean())
    error, spread = by_window.std(ddof=1) / math.sqrt(3), (WINDOWS[1] - WINDOWS[0]).mean(axis=1).std(ddof=1)
    assert base[2:4] == ["3", f"{math.exp(WINDOWS[0].mean()):.2f}"] and base[5] == ""
    assert sds[5] == f"{ratio:.3f} ± {ratio * error:.3f} [{ratio * spread:.3f}]"
    to_dense = WINDOWS[1].mean(axis=0) - np.array(DENSE)
    assert sds[4].startswith(f"{math.exp(to_dense.mean()):.3f} ± ")
    assert sds[8:11] == ["", "", "11"]
    table = (Path(options.out) / "methods.csv").read_text().splitlines()
    assert len(table) == 1 + 6


def test_a_saving_is_compared_with_the_default_and_gets_a_limit(options, monkeypatch, capsys):
    options.study, options.patterns, options.methods = "savings", None, ["sds-admm:wanda"]
    losses = WINDOWS[:, :, :1] + np.array(DENSE) / 10

    def work(runs):
        for run in runs:
            which = int(run.config.observation == "bfloat16")
            write_result(run, run_result({"dense": DENSE, "final": losses[which, run.config.seed].tolist()}))

    monkeypatch.setattr(quality, "run_all", work)
    quality.study(options)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| 2:4")]
    exact, rounded = ([cell.strip() for cell in line.split("|")] for line in lines[:2])
    by_seed = WINDOWS[1, :, 0] - WINDOWS[0, :, 0]  # the same in each window
    ratio, spread = math.exp(by_seed.mean()), by_seed.std(ddof=1)
    assert exact[8:10] == ["", ""] and rounded[8] == f"{ratio:.3f} ± 0.000 [{ratio * spread:.3f}]"
    assert rounded[9] == f"{ratio * math.exp(2 * spread / math.sqrt(3)):.3f}"


def test_interrupted_study_resumes_the_same_runs(options, monkeypatch, capsys):
    worked = []

    def work_two(runs):
        worked.append([run.id for run in runs])
        for run in runs[:2]:
            finish(run)

    monkeypatch.setattr(quality, "run_all", work_two)
    for _ in range(4):
        quality.study(options)
    assert [len(batch) for batch in worked] == [6, 4, 2]
    assert sorted(ids()) == sorted(worked[0])


def test_one_seed_is_completed_before_the_next(options, monkeypatch, capsys):
    order = []
    monkeypatch.setattr(quality, "run_all", lambda runs: order.extend(run.config.seed for run in runs))
    quality.study(options)
    assert order == [0, 0, 1, 1, 2, 2]


def test_every_text_gets_its_own_table(options, monkeypatch, capsys):
    options.evaluations, options.seeds = ["python-docs", "news.txt"], [0]
    monkeypatch.setattr(quality, "run_all", lambda runs: [finish(run) for run in runs])
    quality.study(options)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.endswith(":") or line.startswith("| 2:4")]
    assert [line[:7] for line in lines] == ["demo on", "| 2:4 b", "| 2:4 s"] * 2
    texts = {run.config.evaluation for run in map(quality.open_run, ids())}
    assert texts == {"python-docs", "news.txt"}


def test_table_flag_starts_no_run(options, monkeypatch, capsys):
    options.table = True
    monkeypatch.setattr(quality, "run_all", lambda runs: pytest.fail("started"))
    create(quality.RunConfig())
    quality.study(options)
    assert len(ids()) == 1


@pytest.mark.parametrize("study", quality.STUDIES)
def test_settings_are_valid_and_have_distinct_labels(study):
    labels = [quality.label(changes) for changes in quality.STUDIES[study]]
    assert len(set(labels)) == len(labels)


def test_a_distilled_setting_shows_both_models(options, monkeypatch, capsys):
    options.study, options.seeds, options.methods = "distilled", [0], ["base:sparsegpt"]
    before, after = WINDOWS[0, 0], WINDOWS[1, 0]

    def work(runs):
        for run in runs:
            write_result(run, run_result({"dense": DENSE, "sparse": before.tolist(), "distilled": after.tolist()}))

    monkeypatch.setattr(quality, "run_all", work)
    quality.study(options)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| 2:4")]
    cells = [cell.strip() for cell in line.split("|")][1:-1]
    change = after - before
    ratio, error = math.exp(change.mean()), change.std(ddof=1) / math.sqrt(3)
    assert cells[2] == f"{math.exp(after.mean()):.2f}"
    assert cells[-2:] == [f"{math.exp(before.mean()):.2f}", f"{ratio:.3f} ± {ratio * error:.3f}"]


def test_runs_of_a_study_go_one_after_the_other_in_this_process(options, monkeypatch, capsys):
    worked = []

    def work(runs, locks):
        worked.append(runs[0].id)
        finish(runs[0])
        os.close(locks[0])

    monkeypatch.setattr(quality, "work", work)
    runs = [create(quality.RunConfig(seed=seed)) for seed in range(2)]
    quality.run_all(runs)
    assert worked == [run.id for run in runs]
    assert [line.split()[-1] for line in capsys.readouterr().err.splitlines()] == ["finished"] * 2


def test_a_study_stops_at_a_run_that_does_not_finish(options, monkeypatch, capsys):
    monkeypatch.setattr(quality, "work", lambda runs, locks: os.close(locks[0]))
    runs = [create(quality.RunConfig(seed=seed)) for seed in range(2)]
    with pytest.raises(quality.SDSError, match=f"run {runs[0].id} did not finish.*[Tt]he same command goes on"):
        quality.run_all(runs)
    assert len(capsys.readouterr().err.splitlines()) == 1
