"""The Walk's evidence: shares over all weights, one layer in all runs, missing examples."""

import numpy as np
import pytest

from sds_core.errors import SDSError
from sds_core.lesson.evidence import RUNS, name_of_layer
from sds_core.lesson.example_runs import open_runs
from sds_core.runs import examples


def test_a_share_is_of_weights_not_of_layers(evidence):
    rows = evidence.layer_stats["base-wanda"]
    dense = rows[rows["stage"] == "dense"]
    sizes = np.array([sum(c) + b + a + z for c, b, a, z in dense[["counts", "below", "above", "zeros"]].to_numpy()])
    assert len(set(sizes)) > 1, "with equal layers nothing would be tested"
    wanted = float(np.average(dense["near_zero"], weights=sizes))
    assert evidence.share("base-wanda", "near_zero", "dense") == pytest.approx(wanted)
    assert wanted != pytest.approx(dense["near_zero"].mean(), rel=1e-6)


def test_pictures_show_the_same_layer_of_every_run(evidence):
    assert {name_of_layer(evidence.layer(name)) for name in RUNS} == {"block 1 · up_proj"}


def test_a_missing_example_is_named(evidence, tmp_path, monkeypatch):
    monkeypatch.setattr(examples, "FOLDER", tmp_path)
    with pytest.raises(SDSError, match="missing: sds-wanda"):
        open_runs("sds-wanda")
