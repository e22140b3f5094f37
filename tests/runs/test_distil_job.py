"""Runs whose model is distilled afterwards: what they leave, how they go on, and that they are ranked apart."""

import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from sds_core.comparison.compare import names, side_by_side
from sds_core.comparison.outcomes import finished_outcomes
from sds_core.comparison.ranking import rank
from sds_core.comparison.references import claims_about
from sds_core.errors import SDSError
from sds_core.models import distillation
from sds_core.pruning.registry import BUILT_IN
from sds_core.reports.export import export
from sds_core.runs import distil_job, experiment, layer_stats
from sds_core.runs.branch import as_parent, branch
from sds_core.runs.config import RunConfig
from sds_core.runs.distillation_curve import steps_of_record, summary
from sds_core.runs.events import (
    BlockFinished,
    DistillationSaved,
    DistillationStarted,
    DistillationStep,
    of_kind,
)
from sds_core.runs.launch_phases import runs_for
from sds_core.runs.model_cache import ModelCache
from sds_core.runs.new_run import create
from sds_core.runs.planned import repeat
from sds_core.runs.progress import progress
from sds_core.runs.run_command import command
from sds_core.runs.variant import Variant
from tests.records import write_log
from tests.small_runs import config, finish, work_here

MODEL = {"reconstruct": "model", "reconstruct_windows": 5, "reconstruct_rate": 0.02}
ADMM = {"method": "sds-admm", "options": {"rounds": 2}}


@pytest.fixture
def plan(monkeypatch):
    monkeypatch.setattr(distil_job, "SAVED_EVERY", -1.0)  # a state after every step
    return MODEL


def stored(run, stage="distilled"):
    """A stage's stored tensors, by file."""
    folder = {"distilled": "phase4", "final": "phase3", "sparse": "phase1"}[stage]
    return {path.name: load_file(path) for path in sorted((run.folder / folder).glob("block-*.safetensors"))}


def same(first, second):
    return first.keys() == second.keys() and all(
        torch.equal(first[file][name], second[file][name]) for file in first for name in first[file]
    )


def test_distilled_run_records_its_gain_and_keeps_masks(tiny_folder, plan, tmp_path):
    run = finish(create(config(tiny_folder, **ADMM, **plan)))
    result, events = run.result(), run.log.read()
    assert list(result.perplexity) == ["dense", "final", "distilled"] and result.last == "distilled"
    assert result.pruned * 2 == result.prunable
    before, after = stored(run, "final"), stored(run)
    for file, tensors in before.items():
        for name, tensor in tensors.items():
            assert torch.equal(tensor, after[file][name]) == name.endswith(".mask")
            if name.endswith(".weight"):
                assert not (after[file][name] != 0)[tensor == 0].any()
    (started,) = of_kind(events, DistillationStarted)
    assert (started.steps, started.windows, started.epochs, started.rate) == (5, 5, 1, 0.02)
    assert started.precision in ("float32", "bfloat16") and started.memory > 0
    steps, gain = steps_of_record(events), summary(events)
    assert [one.step for one in steps] == list(range(6)) and gain == result.distillation
    judged = {one.step: one.held_out for one in steps}
    assert gain.before == judged[0] and gain.after == judged[gain.kept] == min(judged.values())
    assert gain.after < gain.before and result.seconds["distilled"] > 0
    assert not list((run.folder / "phase4").glob("state-*")), "only the result stays"
    assert set(layer_stats.load(run.folder)["stage"]) == {"dense", "sparse", "redense", "final", "pruned"}
    folder = export(run, str(tmp_path / "out"))
    weights = AutoModelForCausalLM.from_pretrained(folder).state_dict()
    assert torch.equal(
        weights["model.layers.1.mlp.up_proj.weight"], after["block-001.safetensors"]["mlp.up_proj.weight"]
    )
    card = (folder / "README.md").read_text()
    assert (
        "Then distilled as a whole" in card and "| perplexity, final |" in card and "| perplexity, distilled |" in card
    )
    assert "without training" not in card


def test_killed_anywhere_it_resumes_to_the_same_bits(tiny_folder, plan, monkeypatch):
    plan = {"method": "base"} | plan | {"reconstruct_windows": 3}
    whole = finish(create(config(tiny_folder, **plan)))
    expected, perplexity = stored(whole), whole.result().perplexity
    kept: dict[str, bytes] = {}
    real = distil_job.save_tensors

    def remember(path, tensors):
        real(path, tensors)
        kept[path.name] = path.read_bytes()

    monkeypatch.setattr(distil_job, "save_tensors", remember)
    run = finish(create(config(tiny_folder, **plan)))
    events = run.log.read()
    assert same(stored(run), expected) and len(kept) == 3
    begun = events.index(of_kind(events, DistillationStarted)[0])
    blocks = [i for i, event in enumerate(events) if isinstance(event, BlockFinished) and event.stage == "distilled"]
    for cut in range(begun, blocks[1] + 1):
        (run.folder / "result.json").unlink()
        write_log(run, events[: cut + 1])
        for path in (run.folder / "phase4").iterdir():
            path.unlink()
        for saved in of_kind(events[: cut + 1], DistillationSaved)[-1:]:  # as it lay there then, and one that is torn
            name = f"state-{saved.step:06}.safetensors"
            (run.folder / "phase4" / name).write_bytes(kept[name])
        (run.folder / "phase4" / "state-000099.safetensors").write_bytes(b"torn")
        for event in of_kind(events[: cut + 1], BlockFinished):
            if event.stage == "distilled":
                name = f"block-{event.block:03}.safetensors"
                (run.folder / "phase4" / name).write_bytes((whole.folder / "phase4" / name).read_bytes())
        finish(run)
        assert same(stored(run), expected), cut
        assert run.result().perplexity == perplexity
        assert run.result().pruned == whole.result().pruned == run.result().prunable // 2
        steps = steps_of_record(run.log.read())
        assert [(one.step, one.loss, one.held_out) for one in steps] == [
            (one.step, one.loss, one.held_out) for one in steps_of_record(events)
        ]


def test_a_changed_text_is_not_distilled_on(tiny_folder, plan):
    run = finish(create(config(tiny_folder, method="base", **plan)))
    (run.folder / "result.json").unlink()
    events = run.log.read()
    begun = events.index(of_kind(events, DistillationStarted)[0])
    other = replace(events[begun].text, sha256="of another text")
    write_log(run, [*events[:begun], replace(events[begun], text=other)])
    work_here([run])
    assert run.state() == "failed"
    assert "cannot go on: the text it is distilled on changed" in run.log.read()[-1].message
    assert not of_kind(run.log.read(), DistillationStep)


def test_state_that_is_not_what_was_written_is_refused(tiny_folder, plan, monkeypatch):
    run = create(config(tiny_folder, method="base", **plan))
    with monkeypatch.context() as patch:
        patch.setattr(distil_job, "_stored", lambda *args: iter(run.cancel() or []))
        work_here([run])
    (state,) = (run.folder / "phase4").glob("state-*")
    state.write_bytes(state.read_bytes()[:-1] + b"x")
    work_here([run])
    assert run.state() == "failed" and "is not what was written" in run.log.read()[-1].message
    state.unlink()
    work_here([run])
    assert run.state() == "failed" and "are gone" in run.log.read()[-1].message


def test_phase_4_continues_from_fused_and_phased_runs(tiny_folder, plan):
    whole = finish(create(config(tiny_folder, **ADMM, **plan)))
    fused = finish(create(config(tiny_folder, **ADMM)))
    then = finish(create(branch(fused.config, plan, as_parent(fused, 3))))
    assert (then.config.phase, then.config.schedule) == (4, "fused")
    assert same(stored(then), stored(whole))
    assert then.result().perplexity == whole.result().perplexity
    assert repeat(then.config) == [command(whole.config)]
    staged = finish(create(config(tiny_folder, **ADMM, **plan, schedule="staged")))
    run = finish(create(config(tiny_folder, **ADMM, schedule="staged", phase=1)))
    for phase in (1, 2, 3):
        run = finish(create(branch(run.config, plan, as_parent(run, phase))))
    assert same(stored(run), stored(staged))
    assert set(run.result().perplexity) == {"dense", "sparse", "redense", "final", "distilled"}
    base = finish(create(config(tiny_folder, method="base")))
    alone = finish(create(branch(base.config, plan, as_parent(base, 1))))
    assert same(stored(alone), stored(finish(create(config(tiny_folder, method="base", **plan)))))
    assert list(alone.result().perplexity) == ["dense", "sparse", "distilled"]


def test_a_branch_keeps_what_was_adjusted_before(tiny_folder, plan):
    run = finish(create(config(tiny_folder, method="adjusted", reconstruct="block")))
    then = branch(run.config, MODEL | {"reconstruct": "block model"}, as_parent(run, 3))
    assert (then.reconstruct, then.reconstruction.window, then.distillation.windows) == ("block model", "block", 5)
    with pytest.raises(SDSError, match="keeps its parent's options and reconstruct"):
        branch(run.config, MODEL, as_parent(run, 3))
    with pytest.raises(SDSError, match="has no phase after phase 3"):
        branch(run.config, {}, as_parent(run, 3))


def test_command_lines_name_the_run_before_where_its_options_were_others(tiny_folder, plan):
    run = finish(create(config(tiny_folder, method="adjusted", reconstruct="block", reconstruct_epochs=1)))
    then = branch(run.config, MODEL | {"reconstruct": "block model"}, as_parent(run, 3))
    first, second = repeat(then)
    assert first == command(run.config) and "--reconstruct-epochs 1" in first
    assert "--phase 4" in second and second.endswith("--from RUN")
    with pytest.raises(SDSError, match="keeps its parent's schedule"):
        branch(run.config, MODEL | {"reconstruct": "block model", "schedule": "staged"}, as_parent(run, 3))
    own = ADMM | {"schedule": "staged"}
    run = finish(create(config(tiny_folder, **own, phase=1)))
    run = finish(create(branch(run.config, {}, as_parent(run, 1))))
    run = finish(create(branch(run.config, {"options": {"alpha": 0.5}}, as_parent(run, 2))))
    *before, last = repeat(run.config)
    assert [("--phase 1" in line, "--phase 2" in line, "--alpha" in line) for line in before] == [
        (True, False, False),
        (False, True, False),
    ]
    assert "--phase 3" in last and "--alpha 0.5" in last and last.endswith("--from RUN")


def test_what_decides_was_seen_by_no_solver(tiny_folder, runs_root):
    for windows in (2, 3, 5):
        plan = MODEL | {"reconstruct_windows": windows, "samples": 3, "held_out": 2}
        context = ModelCache(keep_dense=False).context(config(tiny_folder, method="base", **plan))
        learned, decides = context.distillation[:windows].tolist(), context.distillation[windows:].tolist()
        assert len(learned) == windows and len(decides) == 2
        seen = [*context.calibration.tolist(), *learned]
        assert not [window for window in decides if window in seen]


def test_one_shot_and_distilled_are_never_ranked_together(tiny_folder, plan):
    runs = [
        finish(create(config(tiny_folder, **changes)))
        for changes in (
            {"method": "base"},
            {"method": "base", **plan},
            ADMM,
            ADMM | plan,
            {"method": "adjusted", "options": {"beta": 0.2, "sequential": True}} | plan,
        )
    ]
    base, base_then, admm, admm_then, control = runs
    rows = side_by_side(runs)
    assert list(names(rows).values()) == [
        "Wanda",
        "Wanda, distilled",
        "SDS-ADMM · Wanda",
        "SDS-ADMM, distilled · Wanda",
        "base + adjustment, distilled · Wanda",
    ]
    claims = claims_about(admm_then)
    assert {role: against.run for role, against in claims.items()} == {
        "base": base_then.id,
        "control": control.id,
        "dense": "",
    }
    assert claims_about(admm)["base"].run in (base.id, base_then.id), "the same sparse weights"
    assert claims_about(admm)["base"].claim.log_ratio == pytest.approx(
        math.log(admm.result().last_perplexity.value / base.result().last_perplexity.value)
    )
    rankings = rank([row.outcome for row in rows], finished_outcomes())
    assert [(one.pattern, len(one.groups)) for one in rankings] == [("2:4", 2), ("2:4, distilled", 3)]


def test_experiment_continues_to_phase_4(tiny_folder, runs_root, plan):
    found = experiment.with_settings(config(tiny_folder))
    one_shot = Variant("sds", "wanda", {"iterations": 2, "adjust_iterations": 2})
    variants = [Variant("base", "wanda", **plan), Variant("sds", "wanda", one_shot.options, **plan)]
    assert [one.phase_numbers for one in variants] == [(1, 4), (1, 2, 3, 4)]
    for phase in (1, 2, 3, 4):
        assert found.next_phase(variants) == phase
        work_here(runs_for(found, variants, phase, BUILT_IN))
        found = experiment.find(found.name)
        if phase == 3:
            assert found.variants == [Variant("base", "wanda"), one_shot]
    assert found.next_phase(variants) is None and found.variants == variants
    assert found.next_phase([one_shot, Variant("base", "wanda")]) is None, "one-shot is done on the way"
    assert len(found.members) == 5
    lines = repeat(found.run_of(variants[1], 4).config)
    assert ["--reconstruct model" in line for line in lines] == [False, False, False, True]
    assert [f"--phase {phase}" in line for phase, line in zip((1, 2, 3, 4), lines, strict=True)] == [True] * 4
    other = Variant("sds", "wanda", one_shot.options, reconstruct="model")
    assert found.next_phase([other]) == 4, "another plan is another run of phase 4"


def test_too_little_memory_is_reported_before_pruning(tiny_folder, monkeypatch):
    monkeypatch.setattr(distillation, "available_memory", lambda device: 1000)
    run = create(config(tiny_folder, **MODEL))
    work_here([run])
    assert run.state() == "failed" and not of_kind(run.log.read(), BlockFinished)
    assert "distilling needs" in run.log.read()[-1].message and "GB" in run.log.read()[-1].message


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"reconstruct": "model", "held_out": 0}, "held-out windows decide"),
        ({"reconstruct": "model", "weights": "disk"}, "whole model in memory"),
        ({"reconstruct": "model block"}, "unknown value"),
        ({"reconstruct": "block", "reconstruct_windows": 3}, "--reconstruct-windows needs"),
        ({"reconstruct_rate": 0.1}, "--reconstruct-rate needs"),
        ({"phase": 4, "reconstruct": "model"}, "phase 4 continues from a run that has finished phase 3"),
        ({"phase": 4}, "has no phase 4"),
    ],
)
def test_what_contradicts_itself_is_refused(changes, word):
    with pytest.raises(SDSError, match=word):
        RunConfig.from_dict(changes)


def test_progress_counts_steps():
    started = DistillationStarted(
        steps=8, epochs=1, windows=8, rate=0.003, text={"text": "self", "sha256": ""}, precision="float32", memory=1
    )
    steps = [DistillationStep(step=n, of=8, loss=1.0, held_out=None, seconds=2.0, cpu_seconds=2.0) for n in range(4)]
    status = progress([started, *steps, DistillationSaved(step=3, sha256="")], ["fused", "distilled"])
    assert status.current.line() == "Then distilled: step 3 of 8, about 10 s left"
