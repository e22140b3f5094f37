"""The mixture that benchmarks make of the demo model, made of a tiny one."""

import pytest
import torch

from benchmarks.mixture_split import balanced_clusters, best_subsets, convert
from sds_core.models.structure import find_blocks
from tests.models.families import build, plain_logits, texts


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
