"""`prune`: a run from Python gives what the command line gives, and leaves nothing behind."""

import json
import re
import subprocess
import sys
from pathlib import Path

import plotly.graph_objects as go
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import sds_core
from sds_core import library, prune
from sds_core.errors import SDSError
from sds_core.library import PrunedModel
from sds_core.pruning.stages import STAGE_NAMES
from sds_core.runs.events import BlockFinished, of_kind
from sds_core.runs.new_run import create
from sds_core.runs.pruned_model import pruned_model
from sds_core.runs.run_folder import Run
from tests import notebook
from tests.small_runs import config, finish


@pytest.fixture(scope="module")
def sizes(tiny_folder: Path) -> dict:
    """Options of a run that takes a second."""
    small = config(tiny_folder)
    names = ("calibration", "evaluation", "samples", "length", "eval_windows", "eval_length", "threads")
    return {name: getattr(small, name) for name in names}


@pytest.fixture(scope="module")
def pruned(tiny_folder: Path, sizes: dict) -> PrunedModel:
    """The tiny model, pruned; read only."""
    return prune(tiny_folder, pruner="wanda", method="sds-admm", pattern="2:4", rounds=3, **sizes)


def linears(model):
    """Weights of the linear layers inside blocks, by name."""
    return {name: weight for name, weight in model.named_parameters() if "proj" in name}


def test_model_is_the_one_that_the_command_line_makes(pruned, tiny_folder, runs_root):
    expected = pruned_model(finish(create(config(tiny_folder, options={"rounds": 3})))).model
    found = linears(pruned.model)
    assert len(found) == 21 and all(torch.equal(found[name], weight) for name, weight in linears(expected).items())


def test_every_group_of_four_keeps_two(pruned):
    for weight in linears(pruned.model).values():
        assert ((weight.reshape(-1, 4) != 0).sum(1) == 2).all()


def test_record_holds_every_layer_and_perplexity(pruned):
    final = pruned.layers[(pruned.layers["stage"] == "final") & (pruned.layers["round"] == 0)]
    assert len(final) == len(linears(pruned.model))
    assert list(pruned.perplexity.index) == ["dense", "final"]
    ratio = pruned.perplexity["perplexity"]["final"] / pruned.perplexity["perplexity"]["dense"]
    assert pruned.perplexity["ratio"]["final"] == pytest.approx(ratio, rel=1e-6)


def test_figures_are_plotly_figures(pruned):
    assert isinstance(pruned.error_map(), go.Figure)
    drawn = pruned.weights(block=1, linear="mlp.down_proj")
    assert drawn.data[0].name == STAGE_NAMES["dense"] and len(drawn.data) > 3
    assert isinstance(pruned.weights(), go.Figure)
    with pytest.raises(SDSError, match=r"no such block: got '9'; allowed: 0, 1, 2"):
        pruned.weights(block=9)


def test_loaded_pair_is_left_as_it_is(tiny_folder, sizes, pruned):
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tiny_folder), AutoTokenizer.from_pretrained(tiny_folder)
    before = {name: weight.clone() for name, weight in linears(model).items()}
    result = prune((model, tokenizer), rounds=3, **sizes)
    assert all(torch.equal(weight, before[name]) for name, weight in linears(model).items())
    found = linears(pruned.model)
    assert all(torch.equal(weight, found[name]) for name, weight in linears(result.model).items())


def test_nothing_is_kept_unless_a_folder_is_named(tiny_folder, sizes, tmp_path, runs_root, monkeypatch):
    monkeypatch.chdir(tmp_path)
    prune(tiny_folder, method="base", **sizes)
    assert list(tmp_path.iterdir()) == []
    prune(tiny_folder, method="base", runs="kept", **sizes)
    (folder,) = (tmp_path / "kept").iterdir()
    assert Run(folder).state() == "finished" and not runs_root.exists()


def test_settings_of_torch_are_given_back(tiny_folder, sizes):
    precision = torch.get_float32_matmul_precision()
    torch.set_num_threads(2)
    torch.set_float32_matmul_precision("high")
    try:
        prune(tiny_folder, method="base", **sizes)
        assert (torch.get_num_threads(), torch.get_float32_matmul_precision()) == (2, "high")
    finally:
        torch.set_num_threads(1)
        torch.set_float32_matmul_precision(precision)


def test_unknown_option_is_reported(tiny_folder):
    with pytest.raises(SDSError, match="has no option sampels"):
        prune(tiny_folder, sampels=3)


def test_a_model_without_weights_is_refused_before_the_work(tiny_folder, tmp_path):
    with pytest.raises(SDSError, match="prune returns a model, so its weights are kept"):
        prune(tiny_folder, keep_weights=False, runs=tmp_path / "kept")
    with pytest.raises(SDSError, match="prune returns a model in memory"):
        prune(tiny_folder, weights="disk", runs=tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


def test_a_folder_that_cannot_be_is_one_sentence(tiny_folder):
    with pytest.raises(SDSError, match="not a path: Could not determine home directory: got '~nobody9'"):
        prune(tiny_folder, runs="~nobody9")


def test_progress_names_the_work_and_counts_blocks(tiny_folder, sizes, capsys):
    prune(tiny_folder, method="base", **sizes)
    shown = capsys.readouterr().err
    assert "Perplexity, sparse: 100%" in shown and "3/3" in shown


def test_importing_the_package_loads_neither_torch_nor_pandas():
    code = "import sds_core, sys; sys.exit(bool({'torch', 'transformers', 'pandas'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=notebook.ROOT).returncode == 0


def test_package_has_no_other_attributes():
    with pytest.raises(AttributeError, match="has no attribute 'prun'"):
        _ = sds_core.prun


def test_notebook_runs_and_shows_what_it_did(tiny_folder, sizes):
    """Its cells in order, on a model that takes a second; what is written into it is of the same kinds."""
    cells = notebook.code_cells(json.loads(notebook.NOTEBOOK.read_text("utf-8")))
    names: dict = {}
    shown = list(notebook.run(cells, names, {"model": str(tiny_folder), "sizes": sizes}))
    assert list(names["base"].perplexity.index) == ["dense", "sparse"]
    assert names["written"].shape[1] > names["prompt"]["input_ids"].shape[1]
    for cell, found in zip(cells, shown, strict=True):
        kept = [output["data"] for output in cell["outputs"]]
        assert [set(data) - {"image/png"} for data in kept] == ([set(found)] if found else [])
        assert all(("image/png" in data) is (notebook.PLOTLY in data) for data in kept)
        for data in kept:
            if "text/html" in data:  # the same columns
                assert (
                    found
                    and re.findall("<th>([a-z_]+)</th>", data["text/html"])[:4]
                    == re.findall("<th>([a-z_]+)</th>", found["text/html"])[:4]
                )
    assert notebook.NOTEBOOK.stat().st_size < 300_000


@pytest.mark.parametrize("error", [SDSError("there is no more room"), RuntimeError("a defect")])
def test_failed_run_that_is_kept_says_why(error, tiny_folder, sizes, tmp_path, monkeypatch):
    def fails(*_):
        raise error
        yield

    monkeypatch.setattr(library, "until_cancelled", fails)
    with pytest.raises(type(error)):
        prune(tiny_folder, runs=tmp_path, **sizes)
    (run,) = map(Run, tmp_path.iterdir())
    last = run.log.read()[-1]
    assert run.state() == "failed" and str(error) in last.message and last.internal is isinstance(error, RuntimeError)


def test_run_that_is_kept_can_be_cancelled_from_elsewhere(tiny_folder, sizes, tmp_path, monkeypatch):
    def cancels(bar, event):
        if isinstance(event, BlockFinished):
            (run,) = map(Run, tmp_path.iterdir())
            run.cancel()

    monkeypatch.setattr(library, "_show", cancels)
    with pytest.raises(SDSError, match="finished blocks are kept"):
        prune(tiny_folder, runs=tmp_path, **sizes)
    (run,) = map(Run, tmp_path.iterdir())
    assert run.state() == "cancelled" and len(of_kind(run.log.read(), BlockFinished)) == 1
