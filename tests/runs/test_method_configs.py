import shlex

import pytest

from sds_core.commands.flags import chosen
from sds_core.commands.parser import build_parser
from sds_core.errors import SDSError
from sds_core.runs.config import Parent, RunConfig
from sds_core.runs.run_command import command
from sds_core.runs.sweep import COMPARED, DEMO_SETTINGS, commands, method_configs


def read(line: str) -> list[RunConfig]:
    """What the command line makes of a line of `compare`."""
    words = shlex.split(line)
    assert words[:4] == ["python", "-m", "sds_core", "compare"]
    options = build_parser().parse_args(words[3:])
    return method_configs(chosen(options), options.methods)


def test_an_option_goes_to_the_methods_that_know_it():
    made = method_configs({"pattern": "50%", "options": {"rounds": 3}}, ["base:magnitude", "sds-admm", "sds:sparsegpt"])
    assert made == [
        RunConfig(pattern="50%", method="base", pruner="magnitude"),
        RunConfig(pattern="50%", method="sds-admm", options={"rounds": 3}),
        RunConfig(pattern="50%", method="sds", pruner="sparsegpt"),
    ]


@pytest.mark.parametrize("options", [{"rounds": 3}, {"nothing": 1}])
def test_an_option_that_no_method_knows_is_refused(options):
    with pytest.raises(SDSError, match="none of these methods"):
        method_configs({"options": options}, ["base:wanda"])


def test_demo_is_one_command_without_titles():
    (line,) = commands(method_configs(DEMO_SETTINGS))
    assert "demo" not in line
    assert [(c.method + ":" + c.pruner) for c in read(line)] == list(COMPARED)
    assert {(c.samples, c.length) for c in read(line)} == {(8, 512)}


def test_similar_runs_are_one_command_that_repeats_them():
    configs = [
        RunConfig(model="a b", pattern="50%", method="base", pruner="sparsegpt", keep_weights=False, seed=3),
        RunConfig(
            model="a b", pattern="50%", method="sds", options={"l1": 0.5, "alpha": 0.1}, keep_weights=False, seed=3
        ),
        RunConfig(model="a b", pattern="50%", method="sds-admm", options={"alpha": 0.1}, keep_weights=False, seed=3),
    ]
    (line,) = commands(configs)
    assert read(line) == configs


def test_boolean_options_have_paired_flags():
    seen = {"beta": 0.2, "sequential": True}
    configs = [RunConfig(method="adjusted", options=seen), RunConfig(method="sds-admm", options={})]
    (line,) = commands(configs)
    assert "--sequential" in line and [c.made_method() for c in read(line)] == [c.made_method() for c in configs]
    configs = [RunConfig(options={"sequential": False})]
    assert [read(line) for line in commands(configs)] == [configs]


def test_conflicting_options_are_separate_commands():
    configs = [RunConfig(method="sds"), RunConfig(method="sds-admm", options={"alpha": 0.5})]
    first, second = commands(configs)
    assert read(first) == configs[:1] and read(second) == configs[1:]


def test_other_patterns_are_separate_commands_repetitions_none():
    configs = [RunConfig(pattern=pattern, title=title) for pattern, title in (("30%", ""), ("50%", "x"), ("50%", "y"))]
    lines = commands(configs)
    assert [read(line) for line in lines] == [[RunConfig(pattern="30%")], [RunConfig(pattern="50%")]]


def test_a_phase_on_its_own_is_a_run():
    config = RunConfig(schedule="staged", phase=2, parent=Parent("some-run", 1, "0"))
    assert commands([RunConfig(), config])[1] == command(config)
