"""The first page's example: read from packed runs, whichever way their phases were run."""

import json
import zipfile
from pathlib import Path

import pytest

from sds_core.errors import SDSError
from sds_core.lesson import opening
from sds_core.lesson.opening import BLOCK, LINEAR, read_opening
from sds_core.pruning.stages import LAYER_STAGES
from sds_core.runs import examples, typed_json
from sds_core.runs.archive import unpack
from sds_core.runs.experiment import find
from sds_core.runs.experiment_record import ExperimentRecord
from sds_core.runs.variant import Variant
from tests.runs.archives import damaged


def repacked(source: Path, target: Path, stages: dict[str, str], **config) -> None:
    """Write a packed run with another configuration, and its perplexities under other stages: new name to old."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            text = old.read(name)
            if name.endswith("config.json"):
                text = json.dumps(typed_json.load(text) | config).encode()
            if name.endswith("result.json"):
                result = typed_json.load(text)
                measured = {stage: result["perplexity"][known] for stage, known in stages.items()}
                text = json.dumps(result | {"perplexity": measured, "last": list(stages)[-1]}).encode()
            new.writestr(name, text)


def test_it_is_what_the_experiment_says(runs_root):
    examples.unpack_all()
    record = ExperimentRecord(find(examples.EXPERIMENT), [Variant("sds", "wanda")])
    found = read_opening(examples.FOLDER)
    assert found is not None and found.perplexity["dense"] == record.dense_perplexity()
    assert found.layers["dense"].zeros == pytest.approx(record.dense_layer(BLOCK, LINEAR).zeros)
    for _, stage in record.stages():
        layer = stage.record.layer(BLOCK, LINEAR, stage.stage)
        assert found.layers[stage.stage].zeros == pytest.approx(layer.zeros)
        if stage.perplexity:
            assert found.perplexity[stage.stage] == stage.perplexity


def test_phases_in_runs_of_their_own_are_put_together(walk_examples, tmp_path, runs_root):
    folder = tmp_path / "phases"
    folder.mkdir()
    base, method = (walk_examples / f"{name}-wanda.zip" for name in ("base", "sds"))
    repacked(base, folder / "c.zip", {"dense": "dense", "sparse": "sparse"}, phase=1)
    repacked(method, folder / "b.zip", {"dense": "dense", "redense": "dense"}, phase=2)
    repacked(method, folder / "a.zip", {"dense": "dense", "final": "final"}, phase=3)
    repacked(method, folder / "d.zip", {"dense": "dense", "final": "dense"}, phase=3, pruner="magnitude")
    found = read_opening(folder)
    known = [unpack(path).finished_result().perplexity for path in (base, method)]
    assert found is not None and found.perplexity == {**known[0], "redense": known[0]["dense"], **known[1]}
    assert set(found.layers) == set(LAYER_STAGES) and found.layers["sparse"].zeros == pytest.approx(0.5)


def test_without_the_example_there_is_nothing(tmp_path):
    assert read_opening(tmp_path) is None


def test_a_broken_example_is_named(tmp_path):
    (tmp_path / "sds-wanda.zip").write_bytes(b"PK")
    with pytest.raises(SDSError, match=r"sds-wanda\.zip is broken"):
        read_opening(tmp_path)
    damaged(examples.FOLDER / "sds-wanda.zip", tmp_path / "sds-wanda.zip", "config.json")
    with pytest.raises(SDSError, match=r"sds-wanda\.zip is broken"):
        read_opening(tmp_path)


def test_the_folder_is_that_of_the_examples():
    assert opening.FOLDER == examples.FOLDER
