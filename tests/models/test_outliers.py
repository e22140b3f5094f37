from fractions import Fraction

import pytest
import torch

from sds_core.models.outliers import owl
from sds_core.models.structure import find_blocks
from sds_core.pruning.owl import OUTLIER, owl_ratios
from tests.models.families import build, plain_inputs, texts

WINDOWS = texts(3, 24, seed=5)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_outliers_are_counted_in_the_dense_model(family):
    model = build(family)
    structure = find_blocks(model)
    shares, counts = [], []
    for block in structure.blocks:
        names = [linear.name for linear in block.linears]
        inputs = plain_inputs(model, WINDOWS, names)
        scores = torch.cat(
            [
                (linear.read().double().abs() * inputs[linear.name].double().square().mean(0).sqrt()).flatten()
                for linear in block.linears
            ]
        )
        shares.append(float((scores > OUTLIER * scores.mean()).double().mean()))
        counts.append(len(scores))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    looking = owl(structure, WINDOWS, Fraction("0.6"), torch.device("cpu"))
    seen = []
    while True:
        try:
            seen.append(next(looking))
        except StopIteration as done:
            found = done.value
            break
    assert seen == list(range(len(structure.blocks))) and len(set(shares)) > 1
    assert found == owl_ratios(shares, counts, Fraction("0.6"))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
