"""Passes over the blocks: events, observed inputs, resumption, held-out windows."""

import copy
import functools
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from sds_core import block_pass
from sds_core.block_pass import BlockDone
from sds_core.errors import SDSError
from sds_core.layer_result import LayerResult
from sds_core.models.structure import find_blocks
from sds_core.pruning.layer_problem import LayerProblem, Pruned
from sds_core.pruning.methods import SDS, Adjusted, Base, Method, SDSAdmm
from sds_core.pruning.pattern import NM, Pattern
from sds_core.pruning.reconstruction import Reconstruction
from sds_core.pruning.registry import Wanda
from sds_core.pruning.stages import Phase
from sds_core.runs import layer_stats
from sds_core.sds import Recipe, run_phase
from tests.models.families import FAMILIES, build, plain_inputs, texts
from tests.passes import (
    ADMM,
    ADMM_TAUGHT,
    BLOCK,
    BLOCKWISE,
    CPU,
    PAPER_SDS,
    SDS_TAUGHT,
    SHORT_ADMM,
    SUBMODULE,
    WINDOWS,
    Results,
    finish,
    make_recipe,
    mixed_model,
    pruned_layers,
    run,
    weights,
)


def test_every_layer_then_its_block_is_reported() -> None:
    model = build("llama")
    seen = [
        event.linear.name if isinstance(event, LayerResult) else event.block
        for event in run("fused", model, make_recipe(ADMM))
    ]
    expected = []
    for block in find_blocks(model).blocks:
        expected += [linear.name for linear in block.linears] + [block.index]
    assert seen == expected


@pytest.mark.parametrize(
    ("method", "stages"),
    [(Base(), ["sparse"]), (Adjusted(), ["sparse", "final"]), (ADMM, ["sparse", "redense", "final"])],
)
def test_a_fused_pass_returns_every_stage(method: Method, stages: list[str]) -> None:
    dense = weights(build("llama"))
    for event in run("fused", build("llama"), make_recipe(method)):
        if isinstance(event, LayerResult):
            assert [done.stage for done in event.stages] == stages
            assert torch.equal(event.problem.weight, dense[f"{event.linear.name}.weight"])
            assert len(event.rounds) == (3 if "redense" in stages else 0)
            assert bool(event.chosen) == method.finishes
            assert event.seconds >= 0


@pytest.mark.parametrize("method", [SDSAdmm(rounds=18, beta=0.0), SDS(iterations=18, adjust_iterations=0)])
def test_shown_rounds_and_the_last_are_returned(method: Method) -> None:
    for event in run("fused", build("llama"), make_recipe(method)):
        if isinstance(event, LayerResult):
            assert [one.number for one in event.rounds] == [1, 2, 4, 8, 16, 18]
            assert event.rounds[-1].dense is event.stages.redense
            rows = [(row.stage, row.round) for row in layer_stats.rows(event) if row.round]
            assert rows == [(stage, one.number) for one in event.rounds for stage in ("redense", "pruned")]
            return


@pytest.mark.parametrize("together", [BLOCK, SUBMODULE])
@pytest.mark.parametrize("method", [SHORT_ADMM, Adjusted(), Base(), PAPER_SDS])
def test_an_adjusted_layer_returns_each_stage_once(method: Method, together: Reconstruction) -> None:
    found: list[tuple[str, str]] = []
    for event in run("fused", build("llama"), make_recipe(method, reconstruction=together)):
        if isinstance(event, LayerResult):
            found += [(event.linear.name, done.stage) for done in event.stages]
            assert event.stages.final is None or len(list(event.stages)) == 1
        else:
            assert event.change and event.change.after < event.change.before
    stages = ["sparse", "redense", "final"] if method.redenses else ["sparse", "final"]
    assert sorted(found) == sorted((name, stage) for name in pruned_layers(build("llama")) for stage in stages)


SEEN_IN: dict[Phase, list[list[str]]] = {
    # Phase → for every block, the stages of all blocks in the model whose inputs it is shown.
    "fused": [["dense"] * 3, ["final", "dense", "dense"], ["final", "final", "dense"]],
    "sparse": [["dense"] * 3, ["sparse", "dense", "dense"], ["sparse", "sparse", "dense"]],
    "redense": [["sparse"] * 3] * 3,
    "final": [["redense"] * 3, ["final", "redense", "redense"], ["final", "final", "redense"]],
}


@pytest.mark.parametrize("method", [ADMM, ADMM_TAUGHT, BLOCKWISE, SDS_TAUGHT])
@pytest.mark.parametrize("staged", [True, False], ids=["staged", "fused"])
def test_every_phase_observes_the_right_model(method: Method, staged: bool) -> None:
    dense = build("llama")
    prior = Results()
    for phase in ("sparse", "redense", "final") if staged else ("fused",):
        solved: list[LayerResult] = []
        prior.phase = phase
        for event in run(phase, build("llama"), make_recipe(method), prior):
            if isinstance(event, LayerResult):
                prior.note(event)
                solved.append(event)
        for block, stages in enumerate(SEEN_IN[phase]):
            events = {event.linear.name: event for event in solved if event.linear.block == block}
            seen_in = mixed_model(prior, stages)
            inputs = plain_inputs(seen_in, WINDOWS, list(events))
            untouched = plain_inputs(dense, WINDOWS, list(events))
            if method.sequential and phase in ("fused", "final"):
                for group in FAMILIES["llama"].groups:  # of the block's own layers, those before are final, too
                    names = [f"model.layers.{block}.{label}" for label in group]
                    inputs |= plain_inputs(seen_in, WINDOWS, names)
                    for name in names:
                        seen_in.get_submodule(name).weight.data = prior.stages[name]["final"].weight
            for name, event in events.items():
                x, x_dense = inputs[name], untouched[name]
                gram = x.T @ x / len(x)
                size = float(gram.abs().max())
                assert torch.allclose(event.problem.gram.matrix.double(), gram, rtol=0, atol=1e-5 * size)
                weight = dense.get_submodule(name).weight.data
                assert torch.equal(event.problem.weight, weight)
                if method.beta == 0 or phase == "sparse":  # a base pruner looks at no target
                    assert event.problem.shift is None
                    continue
                shift = method.beta * weight.double() @ (x_dense.T @ x - x.T @ x) / len(x)
                close = 1e-4 * float((weight.double() @ gram).abs().max())
                assert torch.allclose(event.problem.shift.double(), shift, rtol=0, atol=close)


@functools.cache
def uninterrupted(
    method: Method, together: Reconstruction | None, phase: Phase
) -> tuple[Results, Results, dict[str, Tensor]]:
    """What is there before a phase, and after it, with the model's weights; nobody changes them."""
    recipe = make_recipe(method, reconstruction=together)
    before = Results()
    for earlier in {"redense": ["sparse"], "final": ["sparse", "redense"]}.get(phase, []):
        finish(earlier, recipe, before)
    straight = copy.deepcopy(before)
    return before, straight, weights(finish(phase, recipe, straight))


PHASES: tuple[Phase, ...] = ("fused", "sparse", "redense", "final")
RESUMED = {
    "admm": (ADMM, None, PHASES),
    "admm-taught": (ADMM_TAUGHT, None, PHASES),
    "block": (SHORT_ADMM, BLOCK, PHASES),
    "submodule": (SHORT_ADMM, SUBMODULE, PHASES),
    "sds-taught": (SDS_TAUGHT, None, ("redense", "final")),
}


@pytest.mark.parametrize("done", [1, 3])
@pytest.mark.parametrize(
    ("method", "together", "phase"),
    [
        pytest.param(method, together, phase, id=f"{name}-{phase}")
        for name, (method, together, phases) in RESUMED.items()
        for phase in phases
    ],
)
def test_a_resumed_pass_is_bit_identical(
    method: Method, together: Reconstruction | None, phase: Phase, done: int
) -> None:
    recipe = make_recipe(method, reconstruction=together)
    before, straight, expected = uninterrupted(method, together, phase)
    broken = copy.deepcopy(before)
    broken.phase = phase
    events = run(phase, build("llama"), recipe, broken)
    while broken.finished < done:
        event = next(events)
        if isinstance(event, LayerResult):
            broken.note(event)
        else:
            broken.finished = event.block + 1
    next(events, None)  # begun, but lost
    events.close()

    model = build("llama")
    again: list[LayerResult] = []
    for event in run(phase, model, recipe, broken):
        if isinstance(event, LayerResult):
            broken.note(event)
            again.append(event)
        else:
            assert event.block >= done
    assert {event.linear.block for event in again} == set(range(done, 3))
    resumed = weights(model)
    assert all(torch.equal(resumed[key], value) for key, value in expected.items())
    for name, stages in straight.stages.items():
        for stage, result in stages.items():
            assert torch.equal(broken.stages[name][stage].weight, result.weight)


@pytest.mark.parametrize(
    ("pattern", "layer"),
    [(NM(3, 7), "model.layers.0.self_attn.q_proj"), (NM(1, 32), "model.layers.0.mlp.down_proj")],
)
@pytest.mark.parametrize("phase", ["fused", "sparse"])
def test_an_indivisible_width_is_refused_before_any_work(
    phase: Phase, pattern: Pattern, layer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(block_pass, "capture", lambda *_: pytest.fail("work was begun"))
    model = build("llama")
    before = weights(model)
    recipe = Recipe(pruner=Wanda(), method=ADMM, pattern=pattern)
    with pytest.raises(SDSError, match=f"{pattern} does not divide the .* inputs of layer {layer}"):
        next(run(phase, model, recipe))
    assert all(torch.equal(model.state_dict()[key], value) for key, value in before.items())


def share(change: Tensor, dense: Tensor, inputs: Tensor) -> float:
    """Energy of the outputs of a change of weights, as a share of the dense outputs'."""
    return float((change @ inputs).square().sum() / (dense @ inputs).square().sum())


@pytest.mark.parametrize("method", [BLOCKWISE, PAPER_SDS])
def test_held_out_windows_only_judge(method):
    """The record of a layer, from the samples that flow through a model whose earlier blocks are final."""
    seen, apart = WINDOWS[:3], WINDOWS[3:]
    model, plain = build("llama"), build("llama")
    for _ in run_phase("fused", find_blocks(plain), seen, make_recipe(method), CPU, Results()):
        pass
    events = run_phase("fused", find_blocks(model), WINDOWS, make_recipe(method), CPU, Results(), held_out=1)
    inputs = {}
    for event in events:
        if isinstance(event, BlockDone):
            inputs = {}
            continue
        if not inputs:  # the block is dense still
            names = [linear.name for linear in find_blocks(model).blocks[event.linear.block].linears]
            before = build("llama")
            before.load_state_dict(model.state_dict())
            before.get_submodule(event.linear.name).weight.data = event.problem.weight.clone()
            inputs = {text: plain_inputs(before, part, names) for text, part in (("seen", seen), ("apart", apart))}
        dense = event.problem.weight.double()
        found = {(row.stage, row.round): vars(row) for row in layer_stats.rows(event)}

        x = {text: found[event.linear.name].T for text, found in inputs.items()}
        final = event.stages.final
        lost = final.weight.double() - dense
        assert found["final", 0]["held_out"] == pytest.approx(share(lost, dense, x["apart"]), rel=1e-3)
        for stage, weight in (("sparse", event.sparse.weight), ("final", final.weight)):
            error = share(weight.double() - dense, dense, x["seen"])
            assert found[stage, 0]["loss"] == pytest.approx(error, rel=1e-3)
        redense = event.stages.redense
        scores = redense.double().abs() * x["seen"].square().sum(1).sqrt()
        groups = scores.view(len(scores), -1, 4)
        lowest = torch.zeros_like(groups, dtype=torch.bool).scatter_(2, groups.argsort(2)[..., :2], True)
        removed = redense.double() * lowest.view(scores.shape)
        assert found["redense", 0]["prune_energy"] == pytest.approx(
            share(removed, dense, x["seen"]), rel=2e-2, abs=1e-6
        )
        changed = (event.sparse.mask & ~final.mask).sum() / event.sparse.mask.sum()
        assert found["final", 0]["mask_changed"] == pytest.approx(float(changed), abs=1e-6)
        for one in event.rounds:
            changed = (event.sparse.mask & ~one.sparse.mask).sum() / event.sparse.mask.sum()
            assert found["pruned", one.number]["mask_changed"] == pytest.approx(float(changed), abs=1e-6)
            for stage, weight in (("redense", one.dense), ("pruned", one.sparse.weight)):
                error = share(weight.double() - dense, dense, x["seen"])
                assert found[stage, one.number]["loss"] == pytest.approx(error, rel=1e-3)
    for name, value in plain.state_dict().items():
        assert torch.equal(value, model.state_dict()[name])


def test_no_adjusted_block_learns_from_held_out_windows() -> None:
    """They judge alone: with another one the same weights are found, though their errors are others."""
    changes, found = [], []
    for windows in (WINDOWS, torch.cat([WINDOWS[:3], texts(1, 24, seed=6)])):
        model, recipe = build("llama"), make_recipe(Adjusted(), reconstruction=BLOCK)
        events = run_phase("fused", find_blocks(model), windows, recipe, CPU, Results(), held_out=1)
        changes.append([event.change for event in events if isinstance(event, BlockDone)])
        found.append(weights(model))
    for one, other in zip(*changes, strict=True):
        assert one.kept and other.kept and one.before != other.before
    assert all(torch.equal(value, found[1][key]) for key, value in found[0].items())


@pytest.fixture
def two_threads() -> Iterator[None]:
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


@pytest.mark.parametrize("phase_method", [("sparse", ADMM), ("fused", ADMM_TAUGHT), ("fused", PAPER_SDS)])
def test_layers_solved_side_by_side_come_in_order_with_the_same_numbers(phase_method, two_threads) -> None:
    phase, method = phase_method
    together = [event for event in run(phase, build("llama"), make_recipe(method)) if isinstance(event, LayerResult)]
    again = [event for event in run(phase, build("llama"), make_recipe(method)) if isinstance(event, LayerResult)]
    torch.set_num_threads(1)
    in_turn = [event for event in run(phase, build("llama"), make_recipe(method)) if isinstance(event, LayerResult)]
    assert [event.linear.name for event in together] == [event.linear.name for event in in_turn]
    for one, other, alone in zip(together, again, in_turn, strict=True):
        assert torch.equal(one.stages.newest.weight, other.stages.newest.weight)
        torch.testing.assert_close(one.stages.newest.weight, alone.stages.newest.weight, rtol=1e-4, atol=1e-5)
        assert vars(layer_stats.rows(one)[-1])["counts"] == vars(layer_stats.rows(other)[-1])["counts"]


@dataclass(frozen=True, kw_only=True)
class Lonely:
    """Prunes by magnitude, and notes in which thread."""

    threads: list[int]

    def solve(self, problem: LayerProblem, pattern: Pattern) -> Pruned:
        self.threads.append(threading.get_ident())
        mask = pattern.mask(problem.weight.abs(), "row")
        return Pruned(problem.weight * mask, mask)


def test_a_pruner_that_is_not_built_in_works_in_one_thread(two_threads) -> None:
    recipe = Recipe(pruner=Lonely(threads=[]), method=Base(), pattern=NM(2, 4))
    solved = [event for event in run("sparse", build("llama"), recipe) if isinstance(event, LayerResult)]
    assert recipe.pruner.threads == [threading.get_ident()] * len(solved)


def test_an_error_while_layers_are_solved_side_by_side_ends_the_pass(two_threads, monkeypatch) -> None:
    def fail(*_: object) -> Pruned:
        raise SDSError("no")

    monkeypatch.setattr(Wanda, "solve", fail)
    with pytest.raises(SDSError, match="no"):
        list(run("sparse", build("llama"), make_recipe(Base())))
