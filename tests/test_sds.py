"""The phases against slow plain programs, and against each other."""

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from sds_core.errors import SDSError
from sds_core.layer_result import LayerResult
from sds_core.models.structure import find_blocks
from sds_core.pruning.methods import Adjusted, Base, Method, SDSAdmm
from sds_core.pruning.pattern import Unstructured
from sds_core.pruning.reconstruction import Reconstruction
from sds_core.pruning.registry import Magnitude, SparseGPT, Wanda
from sds_core.pruning.stages import Phase
from sds_core.sds import Recipe
from tests.models.families import build, plain_inputs
from tests.passes import (
    ADMM,
    ADMM_TAUGHT,
    BLOCK,
    NEWEST,
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
    prior = Results()
    model = finish(phase, make_recipe(Base(), pattern), prior, build(name))
    assert set(prior.stages) == set(masks)
    for layer, mask in masks.items():
        assert torch.equal(prior.stages[layer]["sparse"].mask, mask)
    mine, theirs = weights(model), weights(expected)
    assert all(torch.equal(mine[key], theirs[key]) for key in theirs)
    assert int(sum(mask.sum() for mask in masks.values())) * 2 == find_blocks(model).prunable


@pytest.mark.parametrize("pruner", [Magnitude, Wanda, SparseGPT])
@pytest.mark.parametrize(
    ("method", "together"),
    [
        (Base(), None),
        (Adjusted(), None),
        (ADMM, None),
        (SDS_TAUGHT, None),
        (Base(), SUBMODULE),
        (SHORT_ADMM, BLOCK),
        (PAPER_SDS, BLOCK),
    ],
)
@pytest.mark.parametrize("pattern", ["2:4", "30%"])
def test_fused_pruning_obeys_the_pattern_exactly(
    pruner: type, method: Method, together: Reconstruction | None, pattern: str
) -> None:
    dense, model = build("llama", num_hidden_layers=2), build("llama", num_hidden_layers=2)
    prior = Results()
    finish("fused", make_recipe(method, pattern, pruner, together), prior, model)
    for name, linear in pruned_layers(model).items():
        kept = prior.stages[name]["final" if method.finishes or together else "sparse"]
        assert torch.equal(linear.read(), kept.weight)
        assert (kept.weight[~kept.mask] == 0).all()
        if pattern == "2:4":
            assert (kept.mask.view(-1, 4).sum(1) == 2).all()
        else:
            rows, columns = linear.shape
            percent = int(pattern.removesuffix("%"))
            exact = {"layer": rows * columns - rows * columns * percent // 100, "row": 0}
            exact["row"] = rows * (columns - columns * percent // 100)
            assert int(kept.mask.sum()) in exact.values()
    for key, value in dense.state_dict().items():
        if key.removesuffix(".weight") not in prior.stages:
            assert torch.equal(model.state_dict()[key], value)


@pytest.mark.parametrize("method", [ADMM, ADMM_TAUGHT, PAPER_SDS, SDS_TAUGHT])
def test_after_each_phase_the_model_holds_its_stage(method: Method) -> None:
    prior = Results()
    recipe = make_recipe(method)
    for phase in ("sparse", "redense", "final"):
        model = finish(phase, recipe, prior)
        for name, linear in pruned_layers(model).items():
            assert list(prior.stages[name])[-1] == NEWEST[phase]
            newest = prior.stages[name][NEWEST[phase]]
            assert torch.equal(linear.read(), newest.weight)
            zeros = float((linear.read() == 0).float().mean())
            if phase == "redense":
                assert zeros < 0.1
                assert not torch.equal(newest.weight, prior.sparse(linear).weight)
            else:
                assert (~newest.mask).float().mean() == 0.5 and zeros >= 0.5
                assert (newest.mask.view(-1, 4).sum(1) == 2).all()


def test_phase_1_equals_the_base_alone() -> None:
    staged, alone = Results(), Results()
    finish("sparse", make_recipe(ADMM), staged)
    finish("fused", make_recipe(Base()), alone)
    assert all(
        torch.equal(staged.stages[name]["sparse"].weight, alone.stages[name]["sparse"].weight) for name in alone.stages
    )


def test_fused_is_three_phases_on_one_problem() -> None:
    """On one and the same problem the phases called one by one give what the fused pass returned."""
    prior = Results()
    recipe = make_recipe(ADMM_TAUGHT)
    for event in run("fused", build("llama"), recipe):
        if not isinstance(event, LayerResult):
            continue
        sparse = recipe.pruner.solve(event.problem, recipe.pattern)
        fit = event.problem.shrunk(recipe.method.alpha)
        redense = list(recipe.method.redense(fit, sparse, recipe.pattern))[-1].dense
        chosen, final = recipe.method.finish(fit, sparse, redense, recipe.pruner, recipe.pattern)
        prior.note(event)
        assert torch.equal(sparse.weight, event.stages.sparse.weight)
        assert torch.equal(redense, event.stages.redense)
        assert torch.equal(final.weight, event.stages.final.weight) and chosen == event.chosen
    assert len(prior.stages) == 21


def test_staged_control_continues_from_the_sparse_model() -> None:
    prior = Results()
    recipe = make_recipe(Adjusted())
    finish("sparse", recipe, prior)
    solved = [event for event in run("final", build("llama"), recipe, prior) if isinstance(event, LayerResult)]
    names = [event.linear.name for event in solved if event.linear.block == 0]
    inputs = plain_inputs(mixed_model(prior, ["sparse"] * 3), WINDOWS, names)
    for event in solved[: len(names)]:
        x = inputs[event.linear.name]
        gram = x.T @ x / len(x)
        assert torch.allclose(event.problem.gram.matrix.double(), gram, rtol=0, atol=1e-5 * float(gram.abs().max()))
        assert torch.equal(event.stages.final.mask, prior.sparse(event.linear).mask)


def test_shared_weights_refuse_teacher_and_reconstruction() -> None:
    model = build("llama")
    model.model.layers[2].mlp.up_proj.weight = model.model.layers[0].mlp.up_proj.weight
    with pytest.raises(SDSError, match=r"blocks of this model share weights.*--beta 0"):
        list(run("fused", model, make_recipe(SDSAdmm(beta=0.5))))
    with pytest.raises(SDSError, match=r"blocks of this model share weights.*--reconstruct matrix"):
        list(run("fused", model, make_recipe(SDSAdmm(beta=0.0), reconstruction=BLOCK)))
    done = [
        event
        for event in run("fused", model, make_recipe(SDSAdmm(beta=0.0, rounds=2)))
        if isinstance(event, LayerResult)
    ]
    assert len(done) == 3 * 7 - 1
    zeros = (model.model.layers[2].mlp.up_proj.weight == 0).float().mean()
    assert zeros == 0.5, "pruned once, and no further by the second block"


@pytest.mark.parametrize("staged", [True, False], ids=["staged", "fused"])
@pytest.mark.parametrize(
    ("method", "together"), [(ADMM_TAUGHT, None), (SHORT_ADMM, BLOCK), (SHORT_ADMM, SUBMODULE), (PAPER_SDS, None)]
)
def test_a_bfloat16_model_stays_bfloat16(method: Method, together: Reconstruction | None, staged: bool) -> None:
    prior = Results()
    for phase in ("sparse", "redense", "final") if staged else ("fused",):
        model = finish(phase, make_recipe(method, reconstruction=together), prior, build("llama").to(torch.bfloat16))
        assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
        for name, stages in prior.stages.items():
            newest = list(stages.values())[-1].weight
            assert newest.dtype == torch.float32  # solved in full, cast once
            assert torch.equal(model.get_submodule(name).weight.data, newest.bfloat16())


def test_a_transposed_layer_is_pruned_along_its_inputs() -> None:
    prior = Results()
    model = finish("fused", make_recipe(ADMM), prior, build("gpt2"))
    for name in prior.stages:
        stored = model.get_submodule(name).weight.data  # inputs by outputs
        assert ((stored.T != 0).reshape(-1, 4).sum(1) <= 2).all()


def test_a_ratio_of_zero_changes_nothing() -> None:
    recipe = Recipe(pruner=Wanda(), method=Base(), pattern=Unstructured("0"))
    before = weights(build("llama"))
    after = weights(finish("fused", recipe, Results()))
    assert all(torch.equal(after[key], value) for key, value in before.items())
