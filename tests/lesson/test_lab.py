"""The Layer lab: the file it ships, how it is made, and what the walk over it shows."""

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from sds_core.errors import SDSError
from sds_core.lesson import lab
from sds_core.pruning.distribution import BINS
from sds_core.pruning.layer_problem import LayerProblem
from sds_core.pruning.methods import SDSAdmm
from sds_core.pruning.pattern import NM, Unstructured
from sds_core.pruning.registry import PRUNERS
from tests.pruning.references import correlated_inputs, random_weight, select_groups, solve_on_support

ALPHA = 0.2


@pytest.fixture(scope="module")
def small() -> lab.LabLayer:
    """A layer of 12 × 16 whose inputs go together, watched on 60 tokens and on 4,000."""
    inputs, weight = correlated_inputs(16, 4060), random_weight(12, 16)
    parts = inputs[:, :60], inputs[:, 60:]
    seen, other = (LayerProblem.from_inputs(weight, part) for part in parts)
    return lab.LabLayer(seen, other, {"layer": "small"})


def walked(layer, memory, pruner="wanda", pattern=None, **options):
    method = SDSAdmm(**{"rounds": 12, "alpha": ALPHA, **options})
    return lab.walk(layer, PRUNERS[pruner](), pattern or NM(2, 4), method, memory)


def error(change, gram, weight) -> float:
    """‖change·X‖² / ‖W·X‖²."""
    return float((change @ gram @ change.T).trace() / (weight @ gram @ weight.T).trace())


def test_the_shipped_layer_is_whole_and_says_where_it_is_from():
    layer = lab.read_lab_layer()
    rows, columns = layer.seen.weight.shape
    assert (rows, columns) == (192, 576) and torch.equal(layer.seen.weight, layer.held_out.weight)
    for problem in (layer.seen, layer.held_out):
        gram = problem.gram.matrix
        assert gram.shape == (columns, columns) and torch.equal(gram, gram.T)
        assert torch.linalg.eigvalsh(gram.double()).min() > -1e-6 * gram.diagonal().max()
    assert layer.about["layer"] == lab.LINEAR and layer.about["model"] == "demo"
    assert layer.about["seen windows"] == "8 of 512 tokens"
    assert layer.about["seen sha256"] != layer.about["held_out sha256"]
    assert layer.about["command"] == "python -m sds_core write-lab-layer"
    assert lab.ASSET.stat().st_size < 3_000_000


def test_a_layer_is_what_the_model_has_and_sees(tiny_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(lab, "CALIBRATION", 2)
    monkeypatch.setattr(lab, "HELD_OUT", 3)
    monkeypatch.setattr(lab, "LENGTH", 24)
    name, path = "model.layers.1.mlp.up_proj", tmp_path / "layer.safetensors"
    told = list(lab.write_lab_layer(str(tiny_folder), name, f"{tiny_folder}/text.txt@0-4000", path))
    assert told == ["seen: 48 tokens", "held_out: 72 tokens", str(path)]
    layer = lab.read_lab_layer(path)

    from sds_core.models.calibration import calibration_windows
    from sds_core.models.load import load_model

    windows = calibration_windows(load_model(str(tiny_folder)), f"{tiny_folder}/text.txt@0-4000", 5, 24, seed=0)
    model = AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32)
    linear = model.get_submodule(name)
    caught = []
    linear.register_forward_pre_hook(lambda module, args: caught.append(args[0].flatten(0, 1).double()))
    with torch.inference_mode():
        model(windows[:2])
        model(windows[2:])
    for problem, rows in zip((layer.seen, layer.held_out), caught, strict=True):
        torch.testing.assert_close(problem.gram.matrix.double(), rows.T @ rows / len(rows), rtol=1e-4, atol=1e-6)
    assert torch.equal(layer.seen.weight, linear.weight.detach().half().float())
    assert layer.about["command"].endswith(f"--out {path}")


def test_a_linear_that_the_model_lacks_is_refused(tiny_folder, tmp_path):
    with pytest.raises(SDSError, match="no such linear"):
        list(lab.write_lab_layer(str(tiny_folder), "model.layers.9.x", "python-docs", tmp_path / "x"))
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_refused_before_the_work(tiny_folder, tmp_path):
    with pytest.raises(SDSError, match="no such folder"):
        next(lab.write_lab_layer(str(tiny_folder), "model.layers.1.mlp.up_proj", "python-docs", tmp_path / "x" / "y"))


@pytest.mark.parametrize("kind", ["missing", "nonsense", "another file", "no metadata"])
def test_a_file_that_is_no_layer_is_a_sentence(tmp_path, kind):
    path = tmp_path / "layer.safetensors"
    if kind == "nonsense":
        path.write_bytes(b"nonsense")
    elif kind == "another file":
        save_file({"x": torch.ones(2)}, path, metadata={"a": "b"})
    elif kind == "no metadata":
        save_file({name: torch.ones(2, 2) for name in ("weight", "seen", "held_out")}, path)
    with pytest.raises(SDSError, match="cannot be read"):
        lab.read_lab_layer(path)


def test_a_walk_has_every_stage_and_every_round(small):
    found = walked(small, memory=True, rounds=3)
    stages = list(zip(found["stage"], found["round"], strict=True))
    moving = [(stage, n) for n in (1, 2, 3) for stage in ("redense", "pruned")]
    assert stages == [("dense", 0), ("sparse", 0), ("adjusted", 0), *moving, ("final", 0)]
    counts = [sum(c) + b + a + z for c, b, a, z in found[["counts", "below", "above", "zeros"]].itertuples(index=False)]
    assert counts == [12 * 16] * len(found) and all(len(c) == BINS for c in found["counts"])


def test_errors_and_masks_of_the_first_prune(small):
    found = walked(small, memory=False).set_index("stage")
    weight, grams = small.seen.weight, (small.seen.gram.matrix, small.held_out.gram.matrix)
    mask = select_groups(2, 4)(weight.abs() * grams[0].diagonal().sqrt())
    for column, gram in zip(("seen", "held_out"), grams, strict=True):
        assert found.loc["sparse", column] == pytest.approx(error(weight * mask - weight, gram, weight))
    shrunk = (1 - ALPHA) * grams[0] + ALPHA * grams[0].diagonal().diag()
    solved = solve_on_support(shrunk, weight @ shrunk, mask)
    for column, gram in zip(("seen", "held_out"), grams, strict=True):
        assert found.loc["adjusted", column] == pytest.approx(error(solved - weight, gram, weight), rel=1e-2)
    assert found.loc["dense", "seen"] == 0 and found.loc["sparse", "returned"] == 0
    assert found.loc["dense", "returned"] == 1


@pytest.mark.parametrize("pruner", ["magnitude", "wanda", "sparsegpt"])
@pytest.mark.parametrize("pattern", [NM(2, 4), Unstructured("0.5")], ids=str)
def test_without_a_memory_the_mask_stays_and_with_it_it_moves(small, pruner, pattern):
    ends = {}
    for memory in (True, False):
        found = walked(small, memory, pruner, pattern)
        ends[memory] = found[found["stage"] == "final"].iloc[0]
    assert ends[False]["changed"] < 0.03 < ends[True]["changed"]
    assert ends[True]["seen"] < ends[False]["seen"]


def test_without_a_memory_pruned_weights_return_to_their_dense_size(small):
    found = walked(small, memory=False)
    moving = found[found["stage"] == "redense"]
    assert 0.3 < moving["returned"].iloc[0] < moving["returned"].iloc[-1]
    assert moving["returned"].iloc[-1] == pytest.approx(1, abs=0.02)
    assert moving["seen"].iloc[-1] < 1e-4


def test_the_shipped_layer_shows_what_the_page_says():
    layer = lab.read_lab_layer()
    on, off = (walked(layer, memory) for memory in (True, False))
    at = lambda found, stage: found[found["stage"] == stage].iloc[-1]
    assert at(off, "final")["changed"] < 0.001 and at(off, "final")["held_out"] == pytest.approx(
        at(off, "adjusted")["held_out"], rel=1e-3
    )
    assert at(on, "final")["changed"] > 0.05
    assert at(on, "final")["held_out"] < at(on, "adjusted")["held_out"] < at(on, "sparse")["held_out"]
    assert at(on, "final")["seen"] < 0.8 * at(on, "final")["held_out"]  # it overfits, visibly
