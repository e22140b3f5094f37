"""Where a layer's weights went, read from the record: against the weights themselves."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from sds_core.errors import SDSError
from sds_core.layer_result import LayerResult
from sds_core.pruning.bins import CORNER_STEP, JOINT, SPAN
from sds_core.pruning.layer_problem import LayerProblem, Pruned
from sds_core.pruning.pattern import NM
from sds_core.pruning.redense import Round
from sds_core.pruning.stages import Stages
from sds_core.runs import layer_details, layer_stats
from sds_core.runs.layer_details import dense_cells, gone, read_layer
from sds_core.runs.layer_numbers import block_files

PATTERN = NM(2, 4)


def cells(values: Tensor, dense: Tensor) -> np.ndarray:
    """Cell numbers, by NumPy's own binning."""
    edges = np.linspace(-SPAN, SPAN, JOINT + 1)
    scaled = values.numpy() / float(dense.std(correction=0))
    return np.histogram(scaled.clip(-SPAN, SPAN), bins=edges)[0]


@pytest.fixture
def weights() -> dict[str, Tensor]:
    """A layer at every stage: pruned, then all weights moved, then pruned otherwise."""
    torch.manual_seed(0)
    dense = torch.randn(70, 96)
    sparse = dense * PATTERN.mask(dense.abs())
    redense = sparse + 0.1 * torch.randn(70, 96)
    return {"dense": dense, "sparse": sparse, "redense": redense, "final": redense * PATTERN.mask(redense.abs())}


def record(folder, weights: dict[str, Tensor], *stages: str, rounds=()) -> dict[str, layer_details.LayerDetails]:
    """The record of some stages, read back."""
    pruned = {name: Pruned(weights[name], weights[name] != 0) for name in ("sparse", "final")}
    given = {name: pruned.get(name, weights[name]) for name in stages}
    solved = LayerResult(
        linear=SimpleNamespace(label="mlp.up", name="blocks.3.mlp.up", block=3),
        problem=LayerProblem.from_gram(weights["dense"], torch.eye(96)),
        held_out=None,
        pattern=PATTERN,
        rounds=rounds,
        stages=Stages(**given),
    )
    (folder / "distributions").mkdir()
    layer_stats.save(folder / "distributions" / "fused-003.parquet", layer_stats.rows(solved))
    return read_layer(folder, 3, "mlp.up").stages


def test_statistics_are_those_of_the_weights(tmp_path, weights):
    found = record(tmp_path, weights, "sparse", "redense", "final")
    assert list(found) == ["dense", "sparse", "redense", "final"]
    for stage, one in found.items():
        assert (one.total, one.zeros) == (70 * 96, int((weights[stage] == 0).sum()))
        relative = weights[stage].std(correction=0) / weights["dense"].std(correction=0)
        assert one.spread == pytest.approx(float(relative), rel=1e-5)
    assert found["final"].crop.shape == (64, 64) and found["redense"].crop is None
    first, last = ((weights[stage] != 0)[:64, :64].numpy() for stage in ("sparse", "final"))
    np.testing.assert_array_equal(found["final"].crop, first + 2 * last)


def test_the_corner_holds_the_weights_within_a_step(tmp_path, weights):
    found = record(tmp_path, weights, "sparse", "redense", "final")
    step = CORNER_STEP * float(weights["dense"].std(correction=0))
    for stage, one in found.items():
        expected = weights[stage][:64, :64].numpy()
        assert abs(one.corner - expected).max() <= step and ((one.corner == 0) == (expected == 0)).all()
        assert one.norms == pytest.approx(np.ones(64))


def test_rounds_keep_the_codes_of_their_masks(tmp_path, weights):
    mask = weights["sparse"] != 0
    pruned = Pruned(weights["final"], weights["final"] != 0)
    rounds = (Round(4, weights["redense"], lambda: pruned, lambda: 0.0),)
    record(tmp_path, weights, "sparse", "redense", "final", rounds=rounds)
    (codes,) = read_layer(tmp_path, 3, "mlp.up").rounds.items()
    assert codes[0] == 4
    np.testing.assert_array_equal(codes[1], (mask.long() + 2 * pruned.mask.long())[:64, :64].numpy())


def test_new_zeros_are_counted_exactly_given_a_full_stage(tmp_path, weights):
    found = record(tmp_path, weights, "sparse", "redense", "final")
    dense = dense_cells(found)
    np.testing.assert_array_equal(dense[0], cells(weights["dense"], weights["dense"]))
    for stage in ("sparse", "final"):
        lost = weights["dense"][weights[stage] == 0]
        np.testing.assert_array_equal(gone(found[stage], dense), cells(lost, weights["dense"]))


def test_base_pruner_cells_come_from_the_histogram(tmp_path, weights):
    found = record(tmp_path, weights, "sparse")
    assert not found["sparse"].moved
    lost = gone(found["sparse"], dense_cells(found))
    expected = cells(weights["dense"][weights["sparse"] == 0], weights["dense"])
    assert lost.sum() == pytest.approx(expected.sum(), rel=1e-6)
    assert abs(lost - expected).max() < 0.05 * expected.sum()


def test_cells_with_negligible_loss_are_dropped(tmp_path, weights):
    weights["sparse"] *= 1.3
    found = record(tmp_path, weights, "sparse")
    dense = dense_cells(found)
    lost = gone(found["sparse"], dense)
    assert found["sparse"].moved and not dense[1]
    assert ((lost == 0) | (lost > 0.1 * dense[0])).all() and lost.sum() > 0.9 * found["sparse"].zeros


def test_a_layer_that_is_not_recorded_is_nothing(tmp_path, weights):
    record(tmp_path, weights, "sparse")
    assert not read_layer(tmp_path, 3, "mlp.down").stages and not read_layer(tmp_path, 4, "mlp.up").stages


def test_a_file_that_goes_meanwhile_is_a_sentence(tmp_path, weights, monkeypatch):
    record(tmp_path, weights, "sparse")
    (path,) = block_files(tmp_path)[3]
    path.unlink()
    monkeypatch.setattr("sds_core.runs.layer_details.block_files", lambda _: {3: [path]})
    with pytest.raises(SDSError, match=f"{path.name} is gone"):
        read_layer(tmp_path, 3, "mlp.up")


def test_a_broken_file_is_named(tmp_path):
    (tmp_path / "distributions").mkdir()
    (tmp_path / "distributions" / "fused-003.parquet").write_bytes(b"nonsense")
    with pytest.raises(SDSError, match=r"fused-003\.parquet"):
        read_layer(tmp_path, 3, "mlp.up")
