"""Calibration text, and the shipped examples, made with the tiny model."""

import os

import pandas as pd
import pytest

from sds_core.__main__ import main
from sds_core.commands import make
from sds_core.lesson.lab_layer import read_lab_layer, write_lab_layer
from sds_core.runs import examples, layer_stats
from sds_core.runs.experiment import experiments
from sds_core.runs.run_folder import ids, open_run
from sds_core.runs.typed_json import parse
from sds_core.runs.variant import Variant
from sds_core.texts import job
from sds_core.texts.query import TextResult


@pytest.mark.usefixtures("in_this_process")
def test_write_text_supplies_the_source_self(tiny_folder, small, capsys):
    assert main(["write-text", "--model", str(tiny_folder), "--windows", "4", "--length", "32"]) == 0
    assert "4 of 4 windows" in capsys.readouterr().out
    assert main(["run", *small("--method", "base", "--calibration", "self")]) == 0


@pytest.mark.parametrize(
    "command", [["write-text"], ["write-lab-layer"], ["text", "run", "--prompt", "a"]], ids=lambda words: words[0]
)
def test_a_file_that_exists_is_not_overwritten(command, tmp_path, runs_root, capsys, monkeypatch):
    monkeypatch.setattr(make, "write_lab_layer", lambda *_: pytest.fail("made"))
    (tmp_path / "mine").write_text("mine")
    assert main([*command, "--out", str(tmp_path / "mine")]) == 1
    assert "the output file already exists" in capsys.readouterr().err
    assert (tmp_path / "mine").read_text() == "mine"


@pytest.fixture
def assets(tiny_folder, tmp_path, monkeypatch):
    """A folder in place of the shipped one, holding an example that is no longer made; the tiny model for the demo."""
    text = f"{tiny_folder}/text.txt"
    tiny = {"model": str(tiny_folder), "calibration": text, "evaluation": text, "samples": 2, "length": 32}
    tiny |= {"eval_windows": 3, "eval_length": 32, "threads": 1}
    monkeypatch.setattr(examples, "DEMO_SETTINGS", tiny)
    monkeypatch.setattr(examples, "PRUNERS", ("wanda", "magnitude"))
    monkeypatch.setattr(examples, "METHODS", ("sds", "sds-admm"))
    monkeypatch.setattr(examples, "FOLDER", tmp_path)
    monkeypatch.setattr(examples, "PROMPTS", ("The model", "A text"))
    monkeypatch.setattr(make, "ASSET", tmp_path / "lab-layer.safetensors")
    monkeypatch.setattr(make, "EXAMPLE", tmp_path / "example-text.json")
    monkeypatch.setattr("sds_core.lesson.lab_layer.LENGTH", 32)
    linear = "model.layers.1.self_attn.v_proj"
    monkeypatch.setattr(make, "write_lab_layer", lambda *_: write_lab_layer(str(tiny_folder), linear, text, make.ASSET))
    (tmp_path / "swaps-wanda.zip").touch()
    return tmp_path


def _table(run):
    return layer_stats.load(run.folder).sort_values(["block", "linear", "stage", "round"], ignore_index=True)


def test_examples_remakes_every_shipped_file(assets, in_this_process, runs_root, monkeypatch):
    here = lambda command, locks, *_, stay: job.work(command[1], os.dup(locks[0]))  # the launcher closes its own
    monkeypatch.setattr(job, "start_process", here)
    assert main(["examples"]) == 0
    made = {path.name for path in assets.iterdir() if path.is_file()}
    packed = {f"{method}-{pruner}.zip" for method in ("base", "sds", "sds-admm") for pruner in ("wanda", "magnitude")}
    assert made == {*packed, "lab-layer.safetensors", "example-text.json"}
    assert read_lab_layer(make.ASSET).about["layer"] == "model.layers.1.self_attn.v_proj"
    result = parse(TextResult, make.EXAMPLE.read_text(encoding="utf-8"))
    assert result.prompts == ("The model", "A text") and len(result.readings) == 5
    here = {name: _table(open_run(name)) for name in ids()}
    monkeypatch.setenv("SDS_RUNS", str(runs_root.parent / "elsewhere"))
    taken = examples.unpack_all()
    assert len(taken) == 6 and all(run.id in here for run in taken)
    for run in taken:
        pd.testing.assert_frame_equal(_table(run), here[run.id])
    experiment, *others = experiments()
    assert not others and experiment.next_phase(experiment.variants) is None
    assert experiment.next_phase([Variant("adjusted", "wanda")]) == 1, "the shipped runs hold no weights to go on from"


def test_failed_example_leaves_shipped_files_alone(assets, in_this_process, monkeypatch, capsys):
    monkeypatch.setitem(examples.DEMO_SETTINGS, "model", "/nowhere/model")
    assert main(["examples"]) == 1
    assert [path.name for path in assets.iterdir() if path.is_file()] == ["swaps-wanda.zip"]
    assert "no such model" in capsys.readouterr().err
