"""The method over a whole model: against slow plain programs, phase by phase, interrupted anywhere."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from sds_core import block_pass
from sds_core.block_pass import BlockDone, LayerResult
from sds_core.errors import SDSError
from sds_core.models.structure import Block, Linear, find_blocks
from sds_core.pruning.layer_problem import Pruned
from sds_core.pruning.methods import SDS, Adjusted, Base, Method, SDSAdmm
from sds_core.pruning.pattern import NM, Pattern, Unstructured, parse_pattern
from sds_core.pruning.registry import Magnitude, SparseGPT, Wanda
from sds_core.pruning.stages import Phase, StageWeight
from sds_core.runs import layer_stats
from sds_core.sds import Recipe, run_phase
from tests.models.families import FAMILIES, build, plain_inputs, texts

CPU = torch.device("cpu")
WINDOWS = texts(4, 24, seed=5)
MEMORY = SDSAdmm(rounds=3, beta=0.0)
MEMORY_TAUGHT = SDSAdmm(rounds=3, beta=0.3)
BLOCKWISE = SDSAdmm(rounds=3, beta=0.3, sequential=False)
TOGETHER = SDSAdmm(rounds=2, beta=0.3, block_epochs=2)
PAPER = SDS(iterations=4, adjust_iterations=5)
PAPER_TAUGHT = SDS(iterations=4, adjust_iterations=5, beta=0.3)
NEWEST: dict[Phase, str] = {"sparse": "sparse", "redense": "redense", "final": "final", "fused": "final"}


@dataclass
class Memory:
    """Results by layer and stage, kept in memory as a run keeps them on disk."""

    stages: dict[str, dict[str, StageWeight]] = field(default_factory=dict)
    phase: Phase = "fused"
    finished: int = 0

    def note(self, solved: LayerResult) -> None:
        self.stages.setdefault(solved.linear.name, {}).update({done.stage: done for done in solved.stages})

    def restore(self, block: Block) -> None:
        assert block.index < self.finished
        for linear in block.linears:
            linear.write(self.stages[linear.name][NEWEST[self.phase]].weight)

    def sparse(self, linear: Linear) -> Pruned:
        _, weight, mask = self.stages[linear.name]["sparse"]
        return Pruned(weight, mask)

    def redense(self, linear: Linear) -> Tensor:
        return self.stages[linear.name]["redense"].weight


def recipe(method: Method, pattern: str = "2:4", pruner=Wanda) -> Recipe:
    return Recipe(pruner=pruner(), method=method, pattern=parse_pattern(pattern))


def walk(
    phase: Phase, model: PreTrainedModel, how: Recipe, past: Memory | None = None
) -> Iterator[LayerResult | BlockDone]:
    return run_phase(phase, find_blocks(model), WINDOWS, how, CPU, past or Memory())


def finish(phase: Phase, how: Recipe, past: Memory, model: PreTrainedModel | None = None) -> PreTrainedModel:
    """A whole walk over a fresh dense model (or the given one), its results noted."""
    model = model or build("llama")
    past.phase, past.finished = phase, 0
    for event in walk(phase, model, how, past):
        if isinstance(event, LayerResult):
            past.note(event)
    return model


def weights(model: PreTrainedModel) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items()}


def pruned_layers(model: PreTrainedModel) -> dict[str, Linear]:
    return {linear.name: linear for block in find_blocks(model).blocks for linear in block.linears}


def matrix(module: nn.Module) -> Tensor:
    """A layer's weight as outputs by inputs; GPT-2 stores it the other way round."""
    weight = module.weight.data
    return weight if isinstance(module, nn.Linear) else weight.T


def slow_wanda(model: PreTrainedModel, groups: dict[str, list[str]], group_size: int | None) -> dict[str, Tensor]:
    """Sequential Wanda in plain words; prunes `model`, whose layers are named block by block, and returns masks."""
    masks = {}
    for names in groups.values():
        inputs = plain_inputs(model, WINDOWS, names)  # the whole model runs, earlier blocks pruned, this one dense
        for name in names:
            weight = matrix(model.get_submodule(name))
            scores = weight.double().abs() * inputs[name].square().sum(0).sqrt()
            mask = torch.zeros(weight.shape, dtype=torch.bool)
            for i, row in enumerate(scores):
                size = group_size or len(row)
                for start in range(0, len(row), size):
                    best = row[start : start + size].argsort(descending=True)[: size // 2]
                    mask[i, start + best] = True
            weight *= mask
            masks[name] = mask
    return masks


LABELS = {
    "llama": (
        "model.layers",
        "self_attn.q_proj self_attn.k_proj self_attn.v_proj self_attn.o_proj mlp.gate_proj mlp.up_proj mlp.down_proj",
    ),
    "gpt2": ("transformer.h", "attn.c_attn attn.c_proj mlp.c_fc mlp.c_proj"),
    "opt": (
        "model.decoder.layers",
        "self_attn.q_proj self_attn.k_proj self_attn.v_proj self_attn.out_proj fc1 fc2",
    ),
}


@pytest.mark.parametrize("phase", ["fused", "sparse"])
@pytest.mark.parametrize(("pattern", "group_size"), [("2:4", 4), ("50%", None)])
@pytest.mark.parametrize("name", LABELS)
def test_the_base_alone_is_sequential_wanda(name: str, pattern: str, group_size: int | None, phase: Phase) -> None:
    blocks, labels = LABELS[name]
    expected = build(name)
    masks = slow_wanda(
        expected, {f"{i}": [f"{blocks}.{i}.{label}" for label in labels.split()] for i in range(3)}, group_size
    )
    past = Memory()
    model = finish(phase, recipe(Base(), pattern), past, build(name))
    assert set(past.stages) == set(masks)
    for layer, mask in masks.items():
        assert torch.equal(past.stages[layer]["sparse"].mask, mask)
    mine, theirs = weights(model), weights(expected)
    assert all(torch.equal(mine[key], theirs[key]) for key in theirs)
    assert int(sum(mask.sum() for mask in masks.values())) * 2 == find_blocks(model).prunable


@pytest.mark.parametrize("pruner", [Magnitude, Wanda, SparseGPT])
@pytest.mark.parametrize("method", [Base(), Adjusted(), MEMORY, TOGETHER, PAPER_TAUGHT])
@pytest.mark.parametrize("pattern", ["2:4", "1:4", "50%", "30%"])
def test_a_fused_walk_prunes_exactly_what_the_pattern_says(pruner: type, method: Method, pattern: str) -> None:
    dense = build("llama")
    past = Memory()
    model = finish("fused", recipe(method, pattern, pruner), past)
    kept_of_group = {"2:4": 2, "1:4": 1}.get(pattern)
    for name, linear in pruned_layers(model).items():
        kept = past.stages[name]["final" if method.finishes else "sparse"]
        assert torch.equal(linear.read(), kept.weight)
        assert (kept.weight[~kept.mask] == 0).all()
        if kept_of_group:
            assert (kept.mask.view(-1, 4).sum(1) == kept_of_group).all()
        else:
            rows, columns = linear.shape
            percent = int(pattern.removesuffix("%"))
            exact = {"layer": rows * columns - rows * columns * percent // 100, "row": 0}
            exact["row"] = rows * (columns - columns * percent // 100)
            assert int(kept.mask.sum()) in exact.values()
    for key, value in dense.state_dict().items():
        if key.removesuffix(".weight") not in past.stages:
            assert torch.equal(model.state_dict()[key], value)


def test_events_come_layer_by_layer_and_block_by_block() -> None:
    model = build("llama")
    seen = [
        event.linear.name if isinstance(event, LayerResult) else event.block
        for event in walk("fused", model, recipe(MEMORY))
    ]
    expected = []
    for block in find_blocks(model).blocks:
        expected += [linear.name for linear in block.linears] + [block.index]
    assert seen == expected


@pytest.mark.parametrize(
    ("method", "stages"),
    [(Base(), ["sparse"]), (Adjusted(), ["sparse", "final"]), (MEMORY, ["sparse", "redense", "final"])],
)
def test_a_fused_walk_records_every_stage_of_every_layer(method: Method, stages: list[str]) -> None:
    dense = weights(build("llama"))
    for event in walk("fused", build("llama"), recipe(method)):
        if isinstance(event, LayerResult):
            assert [done.stage for done in event.stages] == stages
            assert torch.equal(event.problem.weight, dense[f"{event.linear.name}.weight"])
            assert len(event.rounds) == (3 if "redense" in stages else 0)
            assert bool(event.chosen) == method.finishes
            assert event.seconds >= 0


@pytest.mark.parametrize("method", [TOGETHER, Adjusted(block_epochs=2)])
def test_a_layer_that_is_adjusted_with_its_block_comes_once_with_each_stage(method: Method) -> None:
    found: list[tuple[str, str]] = []
    for event in walk("fused", build("llama"), recipe(method)):
        if isinstance(event, LayerResult):
            found += [(event.linear.name, done.stage) for done in event.stages]
            assert event.stages.final is None or len(list(event.stages)) == 1
        else:
            assert event.change and event.change.after < event.change.before
    stages = ["sparse", "redense", "final"] if method.redenses else ["sparse", "final"]
    assert sorted(found) == sorted((name, stage) for name in pruned_layers(build("llama")) for stage in stages)


@dataclass
class Mixed:
    """The dense model and, per layer, the weights of every stage: any mixture of them as a plain model."""

    past: Memory

    def model(self, stages: list[str]) -> PreTrainedModel:
        """Block i with the weights of stage `stages[i]`."""
        model = build("llama")
        for block, stage in zip(find_blocks(model).blocks, stages, strict=True):
            for linear in block.linears:
                if stage != "dense":
                    linear.write(self.past.stages[linear.name][stage].weight)
        return model


SEEN_IN: dict[Phase, list[list[str]]] = {
    # Phase → for every block, the stages of all blocks in the model whose inputs it is shown.
    "fused": [["dense"] * 3, ["final", "dense", "dense"], ["final", "final", "dense"]],
    "sparse": [["dense"] * 3, ["sparse", "dense", "dense"], ["sparse", "sparse", "dense"]],
    "redense": [["sparse"] * 3] * 3,
    "final": [["redense"] * 3, ["final", "redense", "redense"], ["final", "final", "redense"]],
}


@pytest.mark.parametrize("method", [MEMORY, MEMORY_TAUGHT, BLOCKWISE, PAPER_TAUGHT])
@pytest.mark.parametrize("staged", [True, False], ids=["staged", "fused"])
def test_every_phase_sees_the_inputs_of_the_right_model(method: Method, staged: bool) -> None:
    dense = build("llama")
    past = Memory()
    for phase in ("sparse", "redense", "final") if staged else ("fused",):
        solved: list[LayerResult] = []
        past.phase = phase
        for event in walk(phase, build("llama"), recipe(method), past):
            if isinstance(event, LayerResult):
                past.note(event)
                solved.append(event)
        for block, stages in enumerate(SEEN_IN[phase]):
            events = {event.linear.name: event for event in solved if event.linear.block == block}
            seen_in = Mixed(past).model(stages)
            inputs = plain_inputs(seen_in, WINDOWS, list(events))
            untouched = plain_inputs(dense, WINDOWS, list(events))
            if method.sequential and phase in ("fused", "final"):
                for group in FAMILIES["llama"].groups:  # of the block's own layers, those before are final, too
                    names = [f"model.layers.{block}.{label}" for label in group]
                    inputs |= plain_inputs(seen_in, WINDOWS, names)
                    for name in names:
                        seen_in.get_submodule(name).weight.data = past.stages[name]["final"].weight
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


@pytest.mark.parametrize("method", [MEMORY, MEMORY_TAUGHT, PAPER, PAPER_TAUGHT])
def test_phase_by_phase_the_model_holds_the_newest_stage(method: Method) -> None:
    past = Memory()
    how = recipe(method)
    for phase in ("sparse", "redense", "final"):
        model = finish(phase, how, past)
        for name, linear in pruned_layers(model).items():
            assert list(past.stages[name])[-1] == NEWEST[phase]
            newest = past.stages[name][NEWEST[phase]]
            assert torch.equal(linear.read(), newest.weight)
            zeros = float((linear.read() == 0).float().mean())
            if phase == "redense":
                assert zeros < 0.1
                assert not torch.equal(newest.weight, past.sparse(linear).weight)
            else:
                assert (~newest.mask).float().mean() == 0.5 and zeros >= 0.5
                assert (newest.mask.view(-1, 4).sum(1) == 2).all()


def test_phase_1_is_the_same_staged_and_alone() -> None:
    staged, alone = Memory(), Memory()
    finish("sparse", recipe(MEMORY), staged)
    finish("fused", recipe(Base()), alone)
    assert all(
        torch.equal(staged.stages[name]["sparse"].weight, alone.stages[name]["sparse"].weight) for name in alone.stages
    )


def test_a_fused_walk_is_the_three_phases_on_one_problem() -> None:
    """On one and the same problem the phases called one by one give what the fused walk recorded."""
    past = Memory()
    how = recipe(MEMORY_TAUGHT)
    for event in walk("fused", build("llama"), how):
        if not isinstance(event, LayerResult):
            continue
        sparse = how.pruner.solve(event.problem, how.pattern)
        fit = event.problem.shrunk(how.method.alpha)
        redense = list(how.method.redense(fit, sparse, how.pattern))[-1].dense
        chosen, final = how.method.finish(fit, sparse, redense, how.pruner, how.pattern)
        past.note(event)
        assert torch.equal(sparse.weight, event.stages.sparse.weight)
        assert torch.equal(redense, event.stages.redense)
        assert torch.equal(final.weight, event.stages.final.weight) and chosen == event.chosen
    assert len(past.stages) == 21


def test_a_staged_control_starts_its_last_phase_from_the_sparse_model() -> None:
    past = Memory()
    how = recipe(Adjusted())
    finish("sparse", how, past)
    solved = [event for event in walk("final", build("llama"), how, past) if isinstance(event, LayerResult)]
    names = [event.linear.name for event in solved if event.linear.block == 0]
    inputs = plain_inputs(Mixed(past).model(["sparse"] * 3), WINDOWS, names)
    for event in solved[: len(names)]:
        x = inputs[event.linear.name]
        gram = x.T @ x / len(x)
        assert torch.allclose(event.problem.gram.matrix.double(), gram, rtol=0, atol=1e-5 * float(gram.abs().max()))
        assert torch.equal(event.stages.final.mask, past.sparse(event.linear).mask)


@pytest.mark.parametrize("done", [1, 2, 3])
@pytest.mark.parametrize("phase", ["fused", "sparse", "redense", "final"])
@pytest.mark.parametrize(
    "method",
    [MEMORY, MEMORY_TAUGHT, TOGETHER, PAPER_TAUGHT],
    ids=["memory", "memory-taught", "together", "paper-taught"],
)
def test_a_walk_interrupted_and_resumed_is_bit_identical(method: Method, phase: Phase, done: int) -> None:
    how = recipe(method)
    before = Memory()
    for earlier in {"redense": ["sparse"], "final": ["sparse", "redense"]}.get(phase, []):
        finish(earlier, how, before)

    straight = copy.deepcopy(before)
    expected = weights(finish(phase, how, straight))

    broken = copy.deepcopy(before)
    broken.phase = phase
    events = walk(phase, build("llama"), how, broken)
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
    for event in walk(phase, model, how, broken):
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


def test_beta_changes_the_result() -> None:
    without, beside = (weights(finish("fused", recipe(method), Memory())) for method in (MEMORY, MEMORY_TAUGHT))
    key = "model.layers.2.mlp.down_proj.weight"
    assert not torch.equal(without[key], beside[key])


def test_teacher_and_block_epochs_are_refused_where_blocks_share_a_weight_that_is_pruned() -> None:
    model = build("llama")
    model.model.layers[2].mlp.up_proj.weight = model.model.layers[0].mlp.up_proj.weight
    with pytest.raises(SDSError, match=r"blocks of this model share weights.*--beta 0"):
        list(walk("fused", model, recipe(SDSAdmm(beta=0.5))))
    with pytest.raises(SDSError, match=r"blocks of this model share weights.*--block-epochs 0"):
        list(walk("fused", model, recipe(SDSAdmm(beta=0.0, block_epochs=1))))
    done = [
        event for event in walk("fused", model, recipe(SDSAdmm(beta=0.0, rounds=2))) if isinstance(event, LayerResult)
    ]
    assert len(done) == 3 * 7 - 1
    zeros = (model.model.layers[2].mlp.up_proj.weight == 0).float().mean()
    assert zeros == 0.5, "pruned once, and no further by the second block"


@pytest.mark.parametrize(
    ("pattern", "layer"),
    [(NM(3, 7), "model.layers.0.self_attn.q_proj"), (NM(1, 32), "model.layers.0.mlp.down_proj")],
)
@pytest.mark.parametrize("phase", ["fused", "sparse"])
def test_a_pattern_that_does_not_divide_is_refused_before_any_work(
    phase: Phase, pattern: Pattern, layer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(block_pass, "capture", lambda *_: pytest.fail("work was begun"))
    model = build("llama")
    before = weights(model)
    how = Recipe(pruner=Wanda(), method=MEMORY, pattern=pattern)
    with pytest.raises(SDSError, match=f"{pattern} does not divide the .* inputs of layer {layer}"):
        next(walk(phase, model, how))
    assert all(torch.equal(model.state_dict()[key], value) for key, value in before.items())


@pytest.mark.parametrize("staged", [True, False], ids=["staged", "fused"])
@pytest.mark.parametrize("method", [MEMORY_TAUGHT, TOGETHER, PAPER])
def test_a_bfloat16_model_stays_bfloat16(method: Method, staged: bool) -> None:
    past = Memory()
    for phase in ("sparse", "redense", "final") if staged else ("fused",):
        model = finish(phase, recipe(method), past, build("llama").to(torch.bfloat16))
        assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
        for name, stages in past.stages.items():
            newest = list(stages.values())[-1].weight
            assert newest.dtype == torch.float32  # solved in full, cast once
            assert torch.equal(model.get_submodule(name).weight.data, newest.bfloat16())


def test_a_transposed_layer_is_pruned_along_its_inputs() -> None:
    past = Memory()
    model = finish("fused", recipe(MEMORY), past, build("gpt2"))
    for name in past.stages:
        stored = model.get_submodule(name).weight.data  # inputs by outputs
        assert ((stored.T != 0).reshape(-1, 4).sum(1) <= 2).all()


def test_an_unstructured_ratio_of_nothing_changes_nothing_in_the_base() -> None:
    how = Recipe(pruner=Wanda(), method=Base(), pattern=Unstructured("0"))
    before = weights(build("llama"))
    after = weights(finish("fused", how, Memory()))
    assert all(torch.equal(after[key], value) for key, value in before.items())


def share(change: Tensor, dense: Tensor, inputs: Tensor) -> float:
    """Energy of the outputs of a change of weights, as a share of the dense outputs'."""
    return float((change @ inputs).square().sum() / (dense @ inputs).square().sum())


@pytest.mark.parametrize("method", [BLOCKWISE, PAPER])
def test_windows_that_are_held_out_change_no_weight_and_judge_every_layer(method):
    """The record of a layer, from the samples that flow through a model whose earlier blocks are final."""
    seen, apart = WINDOWS[:3], WINDOWS[3:]
    model, plain = build("llama"), build("llama")
    for _ in run_phase("fused", find_blocks(plain), seen, recipe(method), CPU, Memory()):
        pass
    walked = run_phase("fused", find_blocks(model), WINDOWS, recipe(method), CPU, Memory(), held_out=1)
    inputs = {}
    for event in walked:
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
        found = {(row["stage"], row["round"]): row for row in layer_stats.rows(event)}

        x = {text: found[event.linear.name].T for text, found in inputs.items()}
        final = event.stages.final
        lost = final.weight.double() - dense
        assert found["final", 0]["held_out"] == pytest.approx(share(lost, dense, x["apart"]), rel=1e-3)
        if not method.beta:
            assert found["final", 0]["loss"] == pytest.approx(share(lost, dense, x["seen"]), rel=1e-3)
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
        for one in event.rounds if len(event.rounds) > 1 else []:
            changed = (event.sparse.mask & ~one.sparse.mask).sum() / event.sparse.mask.sum()
            assert found["pruned", one.number]["mask_changed"] == pytest.approx(float(changed), abs=1e-6)
    for name, value in plain.state_dict().items():
        assert torch.equal(value, model.state_dict()[name])
