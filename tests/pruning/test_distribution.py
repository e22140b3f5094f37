import numpy as np
import pytest
import torch

from sds_core.pruning.distribution import (
    BINS,
    JOINT,
    SPAN,
    histogram,
    joint_histogram,
    mask_change,
    mask_crop,
    statistics,
    weight_corner,
)
from sds_core.pruning.reading import read
from tests.pruning.references import random_weight


def gaussian(count=20_000):
    return random_weight(100, count // 100)


def excess_kurtosis(values):
    """Fourth over squared second central moment, less 3."""
    values = np.asarray(values, dtype=np.float64)
    centred = values - values.mean()
    return (centred**4).mean() / (centred**2).mean() ** 2 - 3


@pytest.mark.parametrize("dense_std", [1.0, 0.5, 0.125])
def test_counts_equal_numpys(dense_std):
    weight = gaussian().float() * dense_std
    weight[0, :50] *= 3
    found = read(histogram(weight, dense_std))
    expected, _ = np.histogram(weight.double().numpy() / dense_std, BINS, (-SPAN, SPAN))
    assert found.counts == expected.tolist() and len(found.counts) == BINS == 201
    assert found.below + found.above + sum(found.counts) == weight.numel()


def test_exact_zeros_are_counted_apart():
    weight = gaussian().float()
    weight[:, ::4] = 0
    found = read(histogram(weight, 1.0))
    assert found.zeros == weight.numel() // 4
    living = weight[weight != 0]
    expected, _ = np.histogram(living.double().numpy(), BINS, (-SPAN, SPAN))
    assert found.counts == expected.tolist()
    assert found.zeros + found.below + found.above + sum(found.counts) == weight.numel()


def test_outliers_are_counted_on_their_side():
    found = read(histogram(torch.tensor([-100.0, -13.0, -12.0, 12.0, 12.5, 13.0, 14.0]), 2.0))
    assert (found.below, found.above) == (2, 3)
    assert found.counts[0] == found.counts[-1] == 1 and sum(found.counts) == 2


def test_the_middle_bin_is_centred_on_zero():
    half = SPAN / BINS
    counts = read(histogram(torch.tensor([-0.9 * half, 0.9 * half, 1.1 * half, -1.1 * half]), 1.0)).counts
    assert counts[99:102] == [1, 2, 1]


@pytest.mark.parametrize("empty", [torch.zeros(0), torch.zeros(3, 0)])
def test_an_empty_weight_has_an_empty_histogram(empty):
    found = read(histogram(empty, 1.0))
    assert sum(found.counts) + found.below + found.above + found.zeros == 0


def test_a_constant_dense_weight_has_a_histogram():
    found = read(histogram(torch.zeros(4, 4), 0.0))
    assert found.zeros == 16 and sum(found.counts) == 0


def test_a_bin_holds_more_than_float32_can_count():
    count = 2**24 + 1000
    assert read(histogram(torch.full((1,), 0.01).expand(count), 1.0)).counts[BINS // 2] == count


def test_a_gaussian_has_no_excess_kurtosis():
    found = read(statistics(random_weight(400, 500), 1.0))
    assert found.kurtosis == pytest.approx(0, abs=0.05)
    assert found.std == pytest.approx(1, abs=0.01)
    assert found.near_zero == pytest.approx(0.0797, abs=0.003)
    assert found.sparsity == 0


def test_two_spikes_have_kurtosis_minus_two():
    weight = torch.tensor([[-3.0, 3.0, 0.0, 0.0], [3.0, -3.0, 0.0, 0.0]])
    found = read(statistics(weight, 1.0))
    assert found.kurtosis == pytest.approx(-2)
    assert found.std == pytest.approx(4.5**0.5)
    assert (found.near_zero, found.sparsity) == (0.5, 0.5)


@pytest.mark.parametrize("seed", range(3))
def test_kurtosis_equals_the_formula_on_nonzero_entries(seed):
    weight = random_weight(30, 40, seed).exp().float()
    weight[::3] = 0
    assert read(statistics(weight, 1.0)).kurtosis == pytest.approx(excess_kurtosis(weight[weight != 0]), rel=1e-9)
    assert read(statistics(weight, 1.0)).std == pytest.approx(np.std(weight.double().numpy()), rel=1e-9)


def test_sparsity_is_counted_on_the_mask():
    weight = torch.tensor([[0.0, 1.0, 0.0, 2.0]])
    mask = torch.tensor([[True, True, False, True]])
    assert read(statistics(weight, 1.0)).sparsity == 0.5
    assert read(statistics(weight, 1.0, mask)).sparsity == 0.25


def test_near_zero_is_measured_in_dense_standard_deviations():
    weight = torch.tensor([[0.0, 0.19, -0.19, 0.21]])
    assert read(statistics(weight, 2.0)).near_zero == 0.75
    assert read(statistics(weight, 1.0)).near_zero == 0.25
    assert read(statistics(torch.zeros(2, 2), 0.0)).near_zero == 1


@pytest.mark.parametrize("weight", [torch.zeros(2, 2), torch.full((2, 2), 3.0)])
def test_weights_without_spread_have_plain_statistics(weight):
    found = read(statistics(weight, 1.0))
    assert (found.std, found.kurtosis) == (0, 0)


def test_mask_change_is_the_share_of_lost_weights():
    first = torch.tensor([[True, True, True, True, False, False, False, False]])
    last = torch.tensor([[True, True, True, False, True, False, False, False]])
    assert read(mask_change(first, last)) == 0.25
    assert read(mask_change(first, first)) == 0
    assert read(mask_change(first, torch.ones_like(first))) == 0
    assert read(mask_change(torch.ones_like(first), first)) == 0.5
    assert read(mask_change(first, ~first)) == 1
    assert read(mask_change(first & ~first, first)) == 0, "it keeps nothing that could be lost"


def test_joint_histogram_is_numpys_without_pruned_entries():
    generator = torch.Generator().manual_seed(0)
    before = torch.randn(40, 50, generator=generator)
    after = before + 0.3 * torch.randn(40, 50, generator=generator)
    after[before.abs() < 0.5] = 0
    before[0, :3], after[0, :3] = torch.tensor([-20.0, 9.0, 1.0]), torch.tensor([7.0, -30.0, 1.0])
    kept = after != 0
    edges = np.linspace(-SPAN, SPAN, JOINT + 1)
    inside = np.clip(np.stack([before[kept].numpy(), after[kept].numpy()]), -SPAN + 1e-6, SPAN - 1e-6)
    expected, _, _ = np.histogram2d(*inside, bins=(edges, edges))
    found = np.array(read(joint_histogram(before, after, 1.0))).reshape(JOINT, JOINT)
    assert found.sum() == int(kept.sum()) and np.abs(found - expected).sum() <= 4  # edges in float32
    assert read(joint_histogram(2 * before, 2 * after, 2.0)) == read(joint_histogram(before, after, 1.0))


@pytest.mark.parametrize("shape", [(3, 8), (100, 70)])
def test_a_crop_encodes_both_masks(shape):
    generator = torch.Generator().manual_seed(0)
    first, last = (torch.rand(shape, generator=generator) > 0.5 for _ in range(2))
    code = {(False, False): 0, (True, False): 1, (False, True): 2, (True, True): 3}
    expected = [
        code[bool(first[i, j]), bool(last[i, j])] for i in range(min(shape[0], 64)) for j in range(min(shape[1], 64))
    ]
    assert read(mask_crop(first, last)) == expected


def test_weight_corner_holds_rounded_steps_and_only_true_zeros():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(70, 100, generator=generator)
    weight[0, :4] = torch.tensor([0.0, 1e-6, -1e-6, 50.0])
    steps = np.rint(weight[:64, :64].double().numpy() * 8 / 2.0)
    steps[0, :4] = [0, 1, -1, 127]
    steps[(steps == 0) & (weight[:64, :64].numpy() > 0)] = 1
    steps[(steps == 0) & (weight[:64, :64].numpy() < 0)] = -1
    assert read(weight_corner(weight, 2.0)) == steps.astype(int).flatten().tolist()
    assert read(weight_corner(torch.zeros(2, 3), 0.0)) == [0] * 6
