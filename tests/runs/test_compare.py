import json
import math

import numpy as np
import pytest

from sds_core.errors import SDSError
from sds_core.runs.compare import side_by_side, table
from sds_core.runs.config import RunConfig
from sds_core.runs.store import create


def made(losses, dense=(2.0, 2.5, 3.0), **changes):
    """A finished run by hand."""
    run = create(RunConfig(**{"method": "base", **changes}))
    stage = run.config.written_by(run.config.walks[-1])
    result = {
        "last": stage,
        "perplexity": {
            stage: {"losses": list(losses), "tokens": 31},
            "dense": {"losses": list(dense), "tokens": 31},
        },
        "sparsity": 0.5,
        "model_sparsity": 0.39,
        "evaluation_sha256": changes.get("evaluation", "x"),
        "total": 100,
    }
    (run.folder / "result.json").write_text(json.dumps(result))
    return run


def test_runs_are_paired_with_dense_base_and_control():
    base, control, sds = (3.0, 3.6, 4.1), (2.8, 3.3, 3.9), (2.6, 3.2, 3.5)  # the default α and β of both are equal
    rows = side_by_side([made(base), made(control, method="adjusted"), made(sds, method="sds")])
    assert [set(row.against) for row in rows] == [{"dense"}, {"dense", "base"}, {"dense", "base", "control"}]
    for name, reference in {"dense": (2.0, 2.5, 3.0), "base": base, "control": control}.items():
        differences = np.subtract(sds, reference)
        paired = rows[2].against[name]
        assert paired.ratio == pytest.approx(math.exp(differences.mean()))
        assert paired.error == pytest.approx(differences.std(ddof=1) / math.sqrt(3))
    assert rows[2].perplexity == pytest.approx(math.exp(np.mean(sds)))


def test_a_base_of_another_pruner_or_pattern_is_no_reference():
    runs = [made((3, 3, 3), pruner="magnitude"), made((3, 3, 3), pattern="50%"), made((2, 2, 2), method="sds")]
    assert set(side_by_side(runs)[2].against) == {"dense"}


def test_a_control_with_another_share_of_the_teacher_is_no_reference():
    runs = [made((3, 3, 3), method="adjusted"), made((2, 2, 2), method="sds-memory", options={"beta": 0.3})]
    assert "control" not in side_by_side(runs)[1].against
    runs = [made((3, 3, 3), method="adjusted", options={"beta": 0.3}), runs[1]]
    assert "control" in side_by_side(runs)[1].against


def test_what_cannot_be_paired_is_refused_and_what_is_unfinished_left_out():
    first = made((3.0, 3.0, 3.0))
    assert len(side_by_side([first, create(RunConfig())])) == 1
    with pytest.raises(SDSError, match="differ in model or evaluation text"):
        side_by_side([first, made((3, 3, 3), evaluation="python-docs")])


def test_the_table_shows_the_ratio_with_its_error():
    told = table(side_by_side([made((3.0, 3.6, 4.1)), made((2.6, 3.2, 3.5), method="sds")]))
    assert "0.6271 ± 0.0418" in told.splitlines()[2]
