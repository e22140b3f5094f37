"""Experiments: which run belongs to which phase of which variant, what comes next, and how the command line says it."""

import dataclasses
import shlex
import shutil

import pytest

from sds_core.commands.flags import chosen
from sds_core.commands.parser import build_parser
from sds_core.errors import SDSError
from sds_core.pruning.registry import BUILT_IN
from sds_core.runs import experiment
from sds_core.runs.config import Parent, RunConfig
from sds_core.runs.launch_phases import runs_for
from sds_core.runs.new_run import create
from sds_core.runs.presets import PRESETS
from sds_core.runs.run_command import command
from sds_core.runs.run_folder import ids
from sds_core.runs.variant import Variant
from tests.small_runs import config, work_here

WANDA, MAGNITUDE = Variant("base", "wanda"), Variant("base", "magnitude")
SDS = Variant("sds", "wanda", {"iterations": 2, "adjust_iterations": 2})
ADMM = Variant("sds-admm", "wanda", {"rounds": 2})
FEWER = Variant("sds-admm", "wanda", {"rounds": 3})


@pytest.fixture
def settings(tiny_folder, runs_root):
    return config(tiny_folder)


def step(found, variants):
    """Do the next phase of some variants; the experiment as it is then."""
    phase = found.next_phase(variants)
    work_here(runs_for(found, variants, phase, BUILT_IN))
    return experiment.find(found.name)


def test_three_phases_share_the_base_pruners_run(settings):
    variants = [SDS, ADMM]
    found = experiment.with_settings(settings)
    assert found.next_phase(variants) == 1 and found.variants == []
    found = step(found, variants)
    assert [run_config.method for _, run_config in found.members] == ["base"]
    assert found.run_of(SDS, 1) == found.run_of(ADMM, 1) == found.run_of(WANDA, 1)
    assert found.next_phase(variants) == 2 and found.next_phase([WANDA]) is None
    found = step(found, variants)
    assert found.run_of(SDS, 2) != found.run_of(ADMM, 2)
    assert found.next_phase(variants) == 3
    found = step(found, variants)
    assert found.next_phase(variants) is None and len(found.members) == 5
    assert found.variants == [WANDA, SDS, ADMM]
    perplexity = found.run_of(SDS, 3).result().perplexity
    assert list(perplexity) == ["dense", "sparse", "redense", "final"]
    assert perplexity["sparse"] == found.run_of(WANDA, 1).result().perplexity["sparse"]
    # A pruner that is ticked later catches up before the others go on.
    assert found.next_phase([*variants, MAGNITUDE]) == 1
    assert [one.pruner for one in found.configs([*variants, MAGNITUDE], 1)] == ["magnitude"]


def test_a_form_of_a_method_with_a_phase_3_of_its_own_stays_beside_one_that_adjusts_more():
    shared = {"schedule": "staged", "method": "sds"}
    first = RunConfig(**shared | {"method": "base", "phase": 1})
    second = RunConfig(**shared, phase=2, parent=Parent("x", 1, "0"))
    plain, block = (
        RunConfig(**shared, phase=3, parent=Parent("y", 2, "0"), reconstruct=how) for how in ("matrix", "block")
    )
    forms = [Variant("sds", "wanda"), Variant("sds", "wanda", reconstruct="block")]

    def variants(*configs):
        return experiment.Experiment("x", first, tuple((None, config) for config in reversed(configs))).variants

    assert variants(first, second, plain, block) == [WANDA, *forms]
    assert variants(first, second, block) == [WANDA, forms[1]], "no phase 3 of the plain form"


def test_other_options_are_another_branch(settings):
    found = step(step(experiment.with_settings(settings), [ADMM]), [ADMM])
    assert found.run_of(FEWER, 2) is None and found.run_of(FEWER, 1) == found.run_of(ADMM, 1)
    assert [one.options for one in found.configs([ADMM, FEWER], 2)] == [{"rounds": 3}]


def test_stopped_run_is_resumed_and_a_finished_one_preferred(settings):
    found = experiment.with_settings(settings)
    (stopped,) = runs_for(found, [ADMM], 1, BUILT_IN)
    found = experiment.find(found.name)
    assert runs_for(found, [ADMM], 1, BUILT_IN) == [stopped] and len(ids()) == 1
    work_here([stopped])
    create(found.config_of(WANDA, 1))  # newer, never started
    found = experiment.find(found.name)
    assert len(found.members) == 2 and found.run_of(ADMM, 1) == stopped


def test_a_phase_whose_weights_are_gone_runs_again(settings):
    found = step(experiment.with_settings(settings), [WANDA])
    (old,) = found.members
    shutil.rmtree(old[0].folder / "phase1")
    assert found.next_phase([WANDA]) is None and found.next_phase([SDS]) == 1
    found = step(found, [SDS])
    assert len(found.members) == 2 and found.next_phase([SDS]) == 2
    found = step(step(found, [SDS]), [SDS])
    for run, _ in found.members[1:]:
        run.delete()
    found = experiment.find(found.name)
    assert [found.finished(SDS, phase) for phase in (1, 2, 3)] == [True] * 3, "phase 3 has the record of the others"
    assert found.next_phase([SDS]) is None


@pytest.mark.parametrize(
    ("model", "pattern", "name"),
    [("demo", "2:4", "demo-2-4"), ("a/Pythia-70m", "50%", "pythia-70m-50pc"), ("/x/y.gguf", "0.5", "y-0-5")],
)
def test_names_are_readable_and_unique(runs_root, model, pattern, name):
    first = experiment.with_settings(RunConfig(model=model, pattern=pattern))
    assert first.name == name
    create(first.config_of(WANDA, 1))
    other = dataclasses.replace(first.settings, seed=7)
    assert experiment.with_settings(first.settings).name == name
    assert experiment.with_settings(other).name == f"{name}-2"


def test_unnamed_runs_are_grouped_under_the_first_id(settings):
    work_here([first := create(settings), second := create(dataclasses.replace(settings, method="swaps"))])
    (found,) = experiment.experiments()
    assert found.name == first.id and {run.id for run, _ in found.members} == {first.id, second.id}
    again = step(found, [MAGNITUDE])
    assert len(experiment.experiments()) == 1 and len(again.members) == 3
    create(dataclasses.replace(settings, seed=settings.seed + 1))
    assert len(experiment.experiments()) == 2


def test_settings_that_change_no_outcome_keep_the_experiment(runs_root):
    first = experiment.with_settings(RunConfig(model="m"))
    create(first.config_of(WANDA, 1))
    again = experiment.with_settings(RunConfig(model="m", threads=3))
    assert again.name == first.name and again.config_of(MAGNITUDE, 1).threads == 3


def test_a_pattern_or_exclusion_written_otherwise_is_the_same_experiment(settings):
    half = dataclasses.replace(settings, pattern="0.5", exclude="*.0.* *down_proj")
    found = step(experiment.with_settings(half), [WANDA])
    again = experiment.with_settings(dataclasses.replace(settings, pattern="50%", exclude="*down_proj  *.0.*"))
    assert again.name == found.name and (again.settings.pattern, again.settings.exclude) == (half.pattern, half.exclude)
    asked = {"phase": 2, "method": "sds", "pattern": "50%", "exclude": "*down_proj *.0.*"}
    wanted = experiment.config_in(found.name, asked)
    assert (wanted.pattern, wanted.exclude) == ("0.5", "*.0.* *down_proj") and wanted.parent.run == found.members[0][
        0
    ].id
    for pattern in ("50.0%", "0.5"):
        create(dataclasses.replace(half, pattern=pattern))
    assert len({one.name for one in experiment.experiments()}) == 2, "of a name, and of none"
    with pytest.raises(SDSError, match="another pattern"):
        experiment.config_in(found.name, asked | {"pattern": "51%"})


def test_a_phase_needs_the_one_before(settings):
    found = experiment.with_settings(settings)
    with pytest.raises(SDSError, match="phase 1 of sds-wanda is not finished"):
        found.config_of(SDS, 2)
    with pytest.raises(SDSError, match="wanda has no phase 2"):
        found.config_of(WANDA, 2)


def test_the_command_line_finds_the_parent(settings):
    found = step(step(experiment.with_settings(settings), [SDS]), [SDS])
    for variant, phase in ((MAGNITUDE, 1), (ADMM, 2), (SDS, 3)):
        wanted = found.config_of(variant, phase)
        words = shlex.split(command(wanted))
        assert "--from" not in words and words[words.index("--experiment") + 1] == found.name
        asked = chosen(build_parser().parse_args(words[3:]))
        assert experiment.config_in(found.name, asked) == wanted


@pytest.mark.parametrize("preset", PRESETS)
def test_a_presets_method_is_left_out_of_phase_1(runs_root, preset):
    words = ["run", "--preset", preset, "--experiment", "e", "--phase", "1"]
    made = experiment.config_in("e", chosen(build_parser().parse_args(words)))
    assert (made.method, made.options, made.reconstruct, made.phase) == ("base", {}, "matrix", 1)
    assert (made.samples, made.length) == (PRESETS[preset]["samples"], PRESETS[preset]["length"])
    for own, said in (
        (["--method", "sds"], "base pruner alone"),
        (["--iterations", "9"], "base has no option iterations"),
    ):
        with pytest.raises(SDSError, match=said):
            experiment.config_in("e", chosen(build_parser().parse_args([*words, *own])))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, "phase by phase"),
        ({"phase": 1, "method": "sds"}, "base pruner alone"),
        ({"phase": 1, "options": {"rho": 0.5}}, "base has no option rho"),
        ({"phase": 1, "schedule": "fused"}, "single phases belong to a staged schedule"),
        ({"phase": 2, "schedule": "fused"}, "single phases belong to a staged schedule"),
        ({"phase": 2, "pattern": "4:8"}, "another pattern"),
        ({"phase": 2, "pruner": "magnitude"}, "phase 1 of sds-admm-magnitude is not finished"),
    ],
)
def test_a_contradicting_command_line_is_refused(settings, asked, said):
    found = step(experiment.with_settings(settings), [WANDA])
    with pytest.raises(SDSError, match=said):
        experiment.config_in(found.name, asked)


def test_a_title_that_is_asked_for_is_the_runs(settings):
    found = step(experiment.with_settings(settings), [SDS])
    for phase, method in ((1, "base"), (2, "sds")):
        asked = {"phase": phase, "method": method, "title": "mine"}
        assert experiment.config_in(found.name, asked).title == "mine"


def test_an_unknown_experiment_is_named(runs_root):
    with pytest.raises(SDSError, match="no such experiment: got 'gone'"):
        experiment.config_in("gone", {"phase": 2})
    with pytest.raises(SDSError, match="not an experiment's name"):
        RunConfig(experiment="No Name")
