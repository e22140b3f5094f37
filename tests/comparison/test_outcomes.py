"""Which runs are one configuration, and which measured the same."""

import shutil
from pathlib import Path

import pytest

from sds_core.comparison.claims import Verdict
from sds_core.comparison.outcomes import finished_outcomes, mismatch, outcome_of
from sds_core.comparison.references import claim
from sds_core.runs.config import Parent
from sds_core.runs.new_run import create
from tests.by_hand import made


def configuration(**changes) -> str:
    return outcome_of(made((3, 3, 3), **changes)).configuration


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"threads": 4},
        {"title": "mine"},
        {"experiment": "mine"},
        {"weights": "disk"},
        {"dtype": "float32"},
        {"method": "sds", "schedule": "staged", "phase": 1},
        {"schedule": "staged"},
    ],
)
def test_what_makes_no_other_outcome_makes_no_other_configuration(changes):
    assert configuration(**changes) == configuration()


@pytest.mark.parametrize(
    "changes",
    [
        {"pruner": "sparsegpt"},
        {"method": "sds"},
        {"pattern": "50%"},
        {"samples": 8},
        {"calibration": "python-docs"},
        {"exclude": "*.0.*"},
    ],
)
def test_what_makes_another_outcome_makes_another_configuration(changes):
    assert configuration(**changes) != configuration()


def test_options_at_their_default_are_no_other_configuration():
    assert configuration(method="sds", options={"l2": 0.001}) == configuration(method="sds")
    assert configuration(method="sds", options={"l2": 0.1}) != configuration(method="sds")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"calibration": "a.txt"}, {"calibration": f"{Path.cwd()}/b/../a.txt"}),
        ({"calibration": "a.csv"}, {"calibration": "a.csv:text*1"}),
        ({"calibration": "hub:a:b::text"}, {"calibration": "hub:a:b:train:text"}),
        (
            {"calibration": "a.txt", "evaluation": "a.txt"},
            {"calibration": "a.txt@0-50%", "evaluation": "a.txt@50-100%"},
        ),
        ({"exclude": "*.0.* *.1.*"}, {"exclude": "*.1.*  *.0.* *.1.*"}),
        ({"reconstruct": "block"}, {"reconstruct": "block", "reconstruct_epochs": 2, "reconstruct_rate": 0.0015}),
    ],
    ids=str,
)
def test_one_configuration_written_in_two_ways_is_one(one, other):
    assert configuration(**one) == configuration(**other)


def test_same_windows_under_another_name_are_the_same_configuration():
    plain, copied = made((3, 3, 3), calibration="a.txt"), made((3.1, 3, 3), calibration="copy.txt", bos="none")
    other = made((3.1, 3, 3), calibration="copy.txt", calibration_sha256="of other windows")
    assert outcome_of(plain).repeats(outcome_of(copied)) and not outcome_of(plain).repeats(outcome_of(other))
    assert not outcome_of(plain).repeats(outcome_of(made((3, 3, 3), calibration="copy.txt", pruner="sparsegpt")))
    found = claim([outcome_of(copied)], [outcome_of(plain)], finished_outcomes())
    assert found.verdict is Verdict.NOISE and "another name of the same calibration windows" in found.reason


def test_patterns_are_compared_by_what_they_mean():
    assert configuration(pattern="0.5") == configuration(pattern="50%")


def test_phase_2_options_distinguish_phase_3_configurations():
    staged = {"method": "sds", "schedule": "staged"}
    first = made((3, 3, 3), phase=1, **staged)
    second = made((3, 3, 3), phase=2, parent=Parent(first.id, 1, "0"), **staged)
    third = {"phase": 3, "parent": Parent(second.id, 2, "0"), **staged}
    assert configuration(**third) == configuration(**staged)
    changed = {**third, "options": {"iterations": 5}}
    assert configuration(**changed) != configuration(**staged, options={"iterations": 5})


def test_chains_whose_phase_2_is_gone_are_not_ranked_against_each_other():
    staged = {"method": "sds", "schedule": "staged"}

    def chain(*losses):
        second = made((3, 3, 3), phase=2, parent=Parent("x", 1, "0"), **staged)
        return made(losses, phase=3, parent=Parent(second.id, 2, "0"), **staged), second

    (one, its), (other, of_other) = chain(3.0, 3.3, 3.2), chain(3.5, 3.8, 3.7)
    compared = lambda: claim([outcome_of(one)], [outcome_of(other)], finished_outcomes())
    assert compared().verdict is Verdict.NOISE
    shutil.rmtree(its.folder)
    shutil.rmtree(of_other.folder)
    found = compared()
    assert found.verdict is Verdict.INCOMPARABLE and "both may be one configuration" in found.reason
    base = made((4.0, 4.3, 4.2))
    assert claim([outcome_of(one)], [outcome_of(base)], finished_outcomes()).verdict is Verdict.BETTER


def test_staged_sparse_weights_count_for_the_base_pruner():
    run = made((2, 2, 2), method="sds", schedule="staged", stages={"sparse": (3, 3, 3), "redense": (1, 1, 1)})
    found = finished_outcomes()
    assert [(one.run, one.stage, one.measured.losses[0]) for one in found] == [
        (run.id, "sparse", 3),
        (run.id, "final", 2),
    ]
    assert found[0].configuration == configuration()


def test_redense_unfinished_and_broken_runs_are_left_out():
    made((1, 1, 1), method="sds", schedule="staged", phase=2, parent=Parent("x", 1, "0"))
    create(outcome_of(made((3, 3, 3))).config)
    broken = made((3, 3, 3))
    (broken.folder / "result.json").write_text("{")
    assert len(finished_outcomes()) == 1


def test_measurements_tell_models_and_windows_apart():
    first = outcome_of(made((3, 3, 3)))
    assert mismatch(first, outcome_of(made((3, 3, 3), dense=(2.01, 2.5, 3.0)))) is None, "a hundredth is precision"
    assert mismatch(first, outcome_of(made((3, 3, 3), dense=(2.0, 2.5, 3.2)))) == "another model"
    text = outcome_of(made((3, 3, 3), evaluation="python-docs.txt"))
    assert mismatch(first, text) == "another evaluation text, or other windows of it"


def test_an_outcome_holds_what_the_result_says():
    run = made((3.0, 3.6, 4.1))
    outcome, result = outcome_of(run), run.finished_result()
    assert outcome.measured.losses == (3.0, 3.6, 4.1) and outcome.dense.tokens == 31
    assert (outcome.sparsity, outcome.model_sparsity, outcome.total) == (0.5, 0.4, 100)
    assert outcome.calibration_sha256 == result.calibration.sha256
