"""The mixture that benchmarks make of the demo model, made of a tiny one."""

import copy
import itertools
from pathlib import Path

import pytest
import torch

from benchmarks import mixture_distil
from benchmarks.mixture_distil import distil
from benchmarks.mixture_scarce import shrinking_towards_means
from benchmarks.mixture_split import balanced_clusters, best_subsets, convert
from sds_core.models.observation import observe
from sds_core.models.stream import capture
from sds_core.models.structure import find_blocks
from tests.models.families import build, plain_logits, texts
from tests.models.test_expert_modules import inputs_of_experts, routed
from tests.models.test_stream import CPU


def test_clusters_are_of_one_size_and_hold_what_is_near() -> None:
    order = torch.Generator().manual_seed(1)
    points = torch.eye(3)[torch.arange(12) % 3] + 0.01 * torch.randn(12, 3, generator=order)
    cluster = balanced_clusters(points, 3)
    assert cluster.bincount().tolist() == [4, 4, 4]
    assert all(len(set(cluster[first::3].tolist())) == 1 for first in range(3))


def test_the_best_experts_sum_nearest_to_all() -> None:
    parts = torch.randn(5, 4, 3, generator=torch.Generator().manual_seed(0))
    chosen = best_subsets(parts, 2)
    assert (chosen.sum(1) == 2).all()
    for token, mine in zip(parts, chosen, strict=True):
        errors = [(token.sum(0) - token[a] - token[b]).norm() for a in range(4) for b in range(a)]
        assert (token.sum(0) - mine @ token).norm() == pytest.approx(float(min(errors)), rel=1e-5)


@torch.no_grad()
def test_a_llama_becomes_a_mixture_nearer_to_it_the_more_experts_are_active() -> None:
    windows, errors = texts(6, 24), {}
    dense = plain_logits(build("llama"), windows)
    for active in (1, 4):
        mixture = convert(build("llama"), windows, experts=4, active=active, shared=16)
        errors[active] = float((plain_logits(mixture, windows) - dense).norm() / dense.norm())
        routed = [linear for linear in find_blocks(mixture).blocks[0].linears if linear.routed]
        assert len(routed) == 8 and routed[0].shape == (16, 32)
    assert errors[4] < 0.1 and errors[4] < errors[1] / 2


def test_an_interrupted_distillation_goes_on_to_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixture_distil, "EVERY", 2)
    teacher, windows = build("llama"), texts(6, 24)
    with torch.no_grad():
        mixture = convert(build("llama"), windows, experts=4, active=2, shared=16)
    whole, first, again = mixture, copy.deepcopy(mixture), copy.deepcopy(mixture)
    lines = list(distil(whole, teacher, windows, 0.01, tmp_path / "whole"))
    assert list(itertools.islice(distil(first, teacher, windows, 0.01, tmp_path / "state"), 3)) == lines[:3]
    assert list(distil(again, teacher, windows, 0.01, tmp_path / "state")) == lines[2:]
    other = dict(again.named_parameters())
    assert all(torch.equal(parameter, other[name]) for name, parameter in whole.named_parameters())


def test_scarce_experts_shrink_towards_the_mean_of_all_tokens() -> None:
    model, windows = routed(), texts(6, 24)
    stream = capture(find_blocks(model), windows, CPU)
    with shrinking_towards_means():
        seen, _ = observe(stream)
    inputs = inputs_of_experts(model, windows, 0)
    few = 0
    for part in ("gate_proj", "down_proj"):
        own = {label: x for label, x in inputs.items() if label.endswith(part)}
        together = torch.cat(list(own.values()))
        for label, x in own.items():
            share = min(1.0, len(x) / x.shape[1])
            expected = share * x.T @ x / len(x) + (1 - share) * together.T @ together / len(together)
            torch.testing.assert_close(seen[label].gram.matrix.double(), expected, rtol=1e-4, atol=1e-5)
            few += share < 1
    assert few
