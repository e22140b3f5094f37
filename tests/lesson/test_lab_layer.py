"""The file of the Layer lab: what is shipped, how it is made, and broken ones."""

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from sds_core.errors import SDSError
from sds_core.lesson import lab_layer as lab


def test_the_shipped_layer_is_whole_and_names_its_origin():
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


def test_a_layer_holds_weight_and_inputs_of_the_model(tiny_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(lab, "CALIBRATION", 2)
    monkeypatch.setattr(lab, "HELD_OUT", 3)
    monkeypatch.setattr(lab, "LENGTH", 24)
    name, path = "model.layers.1.mlp.up_proj", tmp_path / "layer.safetensors"
    lines = list(lab.write_lab_layer(str(tiny_folder), name, f"{tiny_folder}/text.txt@0-4000", path))
    assert lines == ["seen: 48 tokens", "held_out: 72 tokens", str(path)]
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


def test_an_unknown_linear_is_refused(tiny_folder, tmp_path):
    with pytest.raises(SDSError, match="no such linear"):
        list(lab.write_lab_layer(str(tiny_folder), "model.layers.9.x", "python-docs", tmp_path / "x"))
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_is_refused_before_the_work(tiny_folder, tmp_path):
    with pytest.raises(SDSError, match="folder does not exist"):
        next(lab.write_lab_layer(str(tiny_folder), "model.layers.1.mlp.up_proj", "python-docs", tmp_path / "x" / "y"))


@pytest.mark.parametrize("kind", ["missing", "nonsense", "another file", "no metadata"])
def test_a_broken_file_is_refused_with_a_cure(tmp_path, kind):
    path = tmp_path / "layer.safetensors"
    if kind == "nonsense":
        path.write_bytes(b"nonsense")
    elif kind == "another file":
        save_file({"x": torch.ones(2)}, path, metadata={"a": "b"})
    elif kind == "no metadata":
        save_file({name: torch.ones(2, 2) for name in ("weight", "seen", "held_out")}, path)
    with pytest.raises(SDSError, match=r"cannot be read.*remake it with"):
        lab.read_lab_layer(path)


def test_half_of_a_symmetric_matrix_is_stored():
    root = torch.arange(9.0).reshape(3, 3)
    matrix = root + root.T
    half = lab._triangle(matrix)
    assert half.tolist() == [0, 4, 8, 8, 12, 16] and torch.equal(lab._square(half, 3), matrix)
