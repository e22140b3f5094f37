from fractions import Fraction

import pytest
import torch

from sds_core.models import outliers
from sds_core.models.input_sums import Observed
from sds_core.models.observation import observe
from sds_core.models.outliers import owl
from sds_core.models.structure import find_blocks
from sds_core.pruning.gram import Gram
from sds_core.pruning.owl import outlier_share, owl_ratios
from tests.models.families import build, plain_inputs, texts

WINDOWS = texts(3, 24, seed=5)
UNREACHED = "mlp.down_proj"


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
        shares.append(float((scores > 5 * scores.mean()).double().mean()))
        counts.append(len(scores))
    assert_ratios(structure, shares, counts)


def test_an_expert_that_no_token_reached_has_no_outliers(monkeypatch):
    structure = find_blocks(build("llama"))
    blocks = [(block, [linear for linear in block.linears if linear.input != UNREACHED]) for block in structure.blocks]

    def observe_most(stream):
        seen, outputs = observe(stream)
        columns = len(seen[UNREACHED].gram.norms)
        none = Observed(Gram(torch.eye(columns), UNREACHED), None, None, "no tokens")
        return {**seen, UNREACHED: none}, outputs

    shares = []
    for _, linears in blocks:
        inputs = plain_inputs(structure.model, WINDOWS, [linear.name for linear in linears])
        scores = [linear.read().abs() * inputs[linear.name].square().mean(0).sqrt() for linear in linears]
        shares.append(outlier_share(scores))
    monkeypatch.setattr(outliers, "observe", observe_most)
    assert_ratios(structure, shares, [sum(one.read().numel() for one in block.linears) for block, _ in blocks])


def assert_ratios(structure, shares, counts):
    model = structure.model
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
