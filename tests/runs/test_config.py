import dataclasses
import shlex

import pytest

from sds_core.commands.flags import chosen
from sds_core.commands.parser import build_parser
from sds_core.errors import SDSError
from sds_core.options import options_of
from sds_core.pruning.methods import METHODS
from sds_core.runs.branch import branch
from sds_core.runs.config import Parent, RunConfig
from sds_core.runs.presets import PRESETS
from sds_core.runs.run_command import command

PARENT = {"run": "a-1", "phase": 1, "sha256": ""}


def test_round_trip_through_plain_values():
    config = RunConfig(
        method="sds", options={"iterations": 7}, schedule="staged", phase=2, parent=Parent("a-1", 1, "ab")
    )
    assert RunConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pruner": "Wanda"}, ["Wanda", "lower-case"]),
        ({"method": "sdss"}, ["sdss", "sds-admm"]),
        ({"pattern": "5:4"}, ["5:4", "2:4"]),
        ({"pattern": "1.2"}, ["1.2", "not including, 1"]),
        ({"samples": 0}, ["samples", "1 to 100000"]),
        ({"samples": 2.5}, ["samples", "2.5"]),
        ({"seed": -1}, ["seed"]),
        ({"dtype": "int8"}, ["int8", "bfloat16"]),
        ({"schedule": "sideways"}, ["sideways", "fused, staged"]),
        ({"phase": 5}, ["5", "1 to 4"]),
        ({"phase": 1}, ["staged"]),
        ({"schedule": "staged", "phase": 2}, ["phase 1", "--from"]),
        (
            {"schedule": "staged", "phase": 2, "method": "base", "parent": PARENT},
            ["method base has no phase 2", "allowed: 1"],
        ),
        ({"options": {"round": 3}}, ["round", "rounds"]),
        ({"options": {"rounds": 0}}, ["rounds", "1 to 1000"]),
        ({"method": "base", "options": {"alpha": 0.1}}, ["base", "alpha", "none"]),
        ({"calibration": "a.txt@50-20%"}, ["50-20%"]),
        ({"calibration": "self*0+a.txt"}, ["self*0", "weights from 1"]),
        ({"calibration": "a.txt", "evaluation": "a.txt@40-60%"}, ["a.txt@0-50% and a.txt@50-100%"]),
        ({"nonsense": 1}, ["nonsense"]),
    ],
)
def test_fault_is_one_sentence_with_what_got_and_allowed(changes, words):
    with pytest.raises(SDSError) as caught:
        RunConfig.from_dict(changes)
    for word in words:
        assert word in str(caught.value)


def test_all_contradictions_are_reported_at_once():
    with pytest.raises(SDSError) as caught:
        RunConfig(pruner="Wanda", schedule="sideways", samples=0)
    assert all(word in str(caught.value) for word in ("Wanda", "sideways", "samples"))


@pytest.mark.parametrize(
    "config",
    [
        RunConfig(),
        RunConfig(method="sds", pruner="sparsegpt", pattern="50%", options={"iterations": 7, "l1": 0.5}),
        RunConfig(schedule="staged", keep_weights=False, title="it's mine", calibration="my text.txt@0-50%"),
        RunConfig(schedule="staged", phase=1, method="sds", device="cpu", threads=2, seed=3),
        RunConfig(partial=True, options={"sequential": False}),
        RunConfig(method="adjusted", options={"sequential": True, "beta": 0.2}),
        RunConfig(method="base", reconstruct="submodule", reconstruct_epochs=3, reconstruct_rate=0.01),
        RunConfig(reconstruct="block model", reconstruct_windows=5, eval_windows=0, eval_rows="whole"),
        RunConfig(exclude="*.0.* *[qk]_proj", pattern="50%", allocation="owl"),
        RunConfig(title="-x", exclude="-a b", model="--model", calibration="-my text.txt"),
    ],
)
def test_the_command_line_equals_the_configuration(config):
    words = shlex.split(command(config))
    assert words[:4] == ["python", "-m", "sds_core", "run"]
    values = chosen(build_parser().parse_args(words[3:]))
    if values.get("phase"):
        values["schedule"] = "staged"
    assert RunConfig.from_dict(values) == config


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_sound_and_flags_win_over_them(name):
    values = chosen(build_parser().parse_args(["run", "--preset", name, "--samples", "5"]))
    config = RunConfig.from_dict(values)
    assert config.samples == 5
    assert config.length == PRESETS[name]["length"]


def test_presets_options_go_to_the_methods_that_have_them():
    def asked(*words):
        return chosen(build_parser().parse_args([*words, "--preset", "paper"]))["options"]

    assert asked("run")["iterations"] == 200
    assert asked("run", "--method", "adjusted") == {"alpha": 0.0}
    assert asked("run", "--method", "sds-admm", "--rounds", "9") == {"alpha": 0.0, "rounds": 9}
    assert asked("compare", "--methods", "base:wanda", "base:sparsegpt") == {}
    assert asked("inspect", "pruned", "--dense", "demo") == {}


def test_the_paper_preset_is_the_papers_setting():
    config = RunConfig(**PRESETS["paper"])
    assert (config.samples, config.length, config.method, config.schedule) == (128, 2048, "sds", "staged")
    assert config.calibration == "hub:allenai/c4:en:train:text"
    method = config.made_method()
    assert (method.iterations, method.learning_rate, method.adjust_iterations) == (200, 0.1, 200)


def test_every_option_is_documented():
    for cls in (RunConfig, *METHODS.values()):
        for option in options_of(cls).values():
            assert option.doc.endswith((".", ")")), (cls, option.name)


def test_every_field_but_the_derived_ones_is_an_option():
    fields = {field.name for field in dataclasses.fields(RunConfig)}
    assert fields - set(options_of(RunConfig)) == {"options", "parent", "pruner_sha256"}


@pytest.mark.parametrize(
    ("changes", "walks", "stages"),
    [
        ({}, ["fused"], ["final"]),
        ({"method": "base"}, ["fused"], ["sparse"]),
        ({"schedule": "staged"}, ["sparse", "redense", "final"], ["sparse", "redense", "final"]),
        ({"schedule": "staged", "method": "adjusted"}, ["sparse", "final"], ["sparse", "final"]),
        ({"schedule": "staged", "method": "base"}, ["sparse"], ["sparse"]),
        ({"schedule": "staged", "phase": 1}, ["sparse"], ["sparse"]),
    ],
)
def test_walks_and_what_they_leave(changes, walks, stages):
    config = RunConfig(**changes)
    assert config.phases == walks
    assert [config.written_by(walk) for walk in walks] == stages


def test_a_branch_keeps_what_its_parent_fixed():
    parent = Parent("p-1", 1, "ab")
    config = RunConfig(schedule="staged", phase=1, method="sds", options={"iterations": 5})
    child = branch(config, {"options": {"iterations": 9}}, parent)
    assert (child.phase, child.parent, child.options) == (2, parent, {"iterations": 9})
    assert branch(config, {"method": "sds-admm"}, parent).options == {}
    for name, value in {"pattern": "4:8", "pruner": "magnitude", "samples": 3, "evaluation": "self"}.items():
        with pytest.raises(SDSError, match=name):
            branch(config, {name: value}, parent)
    with pytest.raises(SDSError, match="method"):
        branch(child, {"method": "sds-admm"}, Parent("p-2", 2, "ab"))
