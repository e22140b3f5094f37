"""ExcludedLayers layers: which, why, and that what is left still shares the right Gram matrices."""

from fnmatch import fnmatchcase
from fractions import Fraction

import pytest
import torch

from sds_core.errors import SDSError
from sds_core.models.exclude import exclude_layers
from sds_core.models.observation import observe
from sds_core.models.outliers import owl
from sds_core.models.stream import capture
from sds_core.models.structure import find_blocks
from tests.models.families import build, plain_inputs, texts
from tests.models.test_structure import shared_query


def labels(structure, block=1):
    return [linear.label for linear in structure.blocks[block].linears]


@pytest.mark.parametrize(
    ("patterns", "first", "second"),
    [
        ([], 7, 7),
        (["*.0.*"], 0, 7),
        (["*down_proj"], 6, 6),
        (["model.layers.[!1].*", "*.v_proj"], 0, 6),
        (["*.?_proj"], 3, 3),
    ],
)
def test_patterns_are_those_of_a_shell_over_whole_names(patterns, first, second):
    whole = find_blocks(build("llama"))
    left = exclude_layers(whole, patterns)
    assert (len(left.blocks[0].linears), len(left.blocks[1].linears)) == (first, second)
    names = {linear.name for block in whole.blocks for linear in block.linears}
    kept = {linear.name for block in left.blocks for linear in block.linears}
    assert set(left.excluded) == names - kept
    for name, why in left.excluded.items():
        first_that_fits = next(pattern for pattern in patterns if fnmatchcase(name, pattern))
        assert why == f"excluded by --exclude {first_that_fits}"
    assert left.total == whole.total and left.matrices == whole.matrices
    assert whole.prunable - left.prunable == sum(
        linear.weight.numel() for block in whole.blocks for linear in block.linears if linear.name not in kept
    )


@pytest.mark.parametrize("pattern", ["*q_proj", "*[qk]_proj", "*gate_proj"])
def test_rest_of_a_group_keeps_its_gram_matrix(pattern):
    model = build("llama")
    structure, windows = exclude_layers(find_blocks(model), [pattern]), texts()
    seen, _ = observe(capture(structure, windows, torch.device("cpu")))
    inputs = plain_inputs(model, windows, [linear.name for linear in structure.blocks[0].linears])
    for linear in structure.blocks[0].linears:
        x = inputs[linear.name]
        torch.testing.assert_close(seen[linear.input].gram.matrix.double(), x.T @ x / len(x), rtol=1e-4, atol=1e-5)
    heads = {linear.input for linear in structure.blocks[0].linears}
    assert heads <= set(labels(structure, 0)) and len(heads) == 4


@pytest.mark.parametrize("pattern", ["model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj"])
def test_shared_weight_is_excluded_by_either_name(pattern):
    left = exclude_layers(find_blocks(shared_query()), [pattern])
    assert left.excluded == {f"model.layers.{i}.self_attn.q_proj": f"excluded by --exclude {pattern}" for i in (0, 1)}
    assert "self_attn.q_proj" not in labels(left, 0) + labels(left, 1)


def test_a_pattern_that_fits_nothing_is_refused_with_names():
    with pytest.raises(SDSError, match=r"matches --exclude: got '\*down'; allowed: such as model\.layers"):
        exclude_layers(find_blocks(build("llama")), ["*.0.*", "*down"])


def test_something_must_be_left():
    with pytest.raises(SDSError, match="every prunable layer is excluded"):
        exclude_layers(find_blocks(build("llama")), ["*attn*", "*mlp*"])


def test_owl_shares_the_ratio_among_pruned_blocks():
    structure = exclude_layers(find_blocks(build("llama")), ["*.1.*", "model.layers.2.mlp.*"])
    looking = owl(structure, texts(), Fraction(6, 10), torch.device("cpu"))
    while True:
        try:
            next(looking)
        except StopIteration as done:
            ratios = done.value
            break
    counts = [sum(linear.weight.numel() for linear in block.linears) for block in structure.blocks]
    assert counts[1] == 0 and len(ratios) == 3
    assert sum(r * n for r, n in zip(ratios, counts, strict=True)) / sum(counts) == Fraction(6, 10)
    assert ratios[0] != ratios[2]
