import json
import math
from dataclasses import replace

import numpy as np
import pytest

from sds_core.errors import SDSError
from sds_core.runs.compare import names, records, side_by_side, sort_out, sweeps, table, verdicts
from sds_core.runs.config import Parent, RunConfig
from sds_core.runs.run_folder import create


def made(losses, dense=(2.0, 2.5, 3.0), **changes):
    """A finished run by hand."""
    run = create(RunConfig(**{"method": "base", **changes}))
    stage = run.config.written_by(run.config.phases[-1])
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
    runs = [made((3, 3, 3), method="adjusted"), made((2, 2, 2), method="sds-admm", options={"beta": 0.3})]
    assert "control" not in side_by_side(runs)[1].against
    for sequential in (False, True):  # it has to see what the other one saw, too
        runs = [made((3, 3, 3), method="adjusted", options={"beta": 0.3, "sequential": sequential}), runs[1]]
        assert ("control" in side_by_side(runs)[1].against) == sequential
    runs[0] = made((3, 3, 3), method="adjusted", options={"beta": 0.3, "sequential": True, "block_epochs": 2})
    assert "control" not in side_by_side(runs)[1].against


def test_what_cannot_be_paired_is_refused_and_what_is_unfinished_left_out():
    first = made((3.0, 3.0, 3.0))
    assert len(side_by_side([first, create(RunConfig())])) == 1
    with pytest.raises(SDSError, match="another evaluation text"):
        side_by_side([first, made((3, 3, 3), evaluation="python-docs")])


def test_the_table_shows_the_ratio_with_its_error():
    told = table(side_by_side([made((3.0, 3.6, 4.1)), made((2.6, 3.2, 3.5), method="sds")]))
    assert "0.6271 ± 0.0418" in told.splitlines()[2]


def test_a_model_of_the_same_size_is_another_one_by_its_dense_losses():
    runs = [made((3, 3, 3)), made((3, 3, 3), dense=(2.01, 2.5, 3.0)), made((3, 3, 3), dense=(2.0, 2.5, 3.2))]
    kept, reasons = sort_out(runs)
    assert kept == runs[:2], "a hundredth is precision"
    assert list(reasons) == [runs[2].id] and "another model" in reasons[runs[2].id]
    with pytest.raises(SDSError, match="another model"):
        side_by_side(runs)


def test_the_largest_set_that_can_be_paired_stays_and_of_equal_ones_the_first():
    other, first, second = made((3, 3, 3), evaluation="python-docs"), made((3, 3, 3)), made((2, 2, 2))
    kept, reasons = sort_out([other, first, second])
    assert kept == [first, second] and "another evaluation text" in reasons[other.id]
    assert sort_out([other, first])[0] == [other]
    assert sort_out([]) == ([], {})


def test_unfinished_and_broken_runs_are_sorted_out_with_their_reason():
    begun, broken = create(RunConfig()), made((3, 3, 3))
    (broken.folder / "result.json").write_text("{")
    kept, reasons = sort_out([begun, broken])
    assert kept == [] and "not finished: new" in reasons[begun.id] and "broken" in reasons[broken.id]


def test_a_verdict_is_paired_between_the_best_and_each_other_by_pattern():
    best, near, far = (2.6, 3.2, 3.5), (2.7, 3.1, 3.6), (3.0, 3.6, 4.1)
    runs = [made(far), made(best, method="sds"), made(near, method="adjusted")]
    (found,) = verdicts(side_by_side([*runs, made(far, pattern="50%")]))
    assert found.pattern == "2:4" and found.best.run == runs[1].id
    assert [row.run for row, _ in found.others] == [runs[2].id, runs[0].id]
    for (_, paired), losses, sure in zip(found.others, (near, far), (False, True), strict=True):
        differences = np.subtract(best, losses)
        assert paired.log_ratio == pytest.approx(differences.mean())
        assert paired.sure is sure is bool(abs(differences.mean()) > 2 * differences.std(ddof=1) / math.sqrt(3))


def test_equal_ratios_are_one_pattern_however_they_are_written():
    (found,) = verdicts(side_by_side([made((3, 3, 3.1), pattern="0.5"), made((2, 2, 2.2), pattern="50%")]))
    assert found.pattern == "50%"


def test_a_run_that_ends_dense_again_is_no_winner():
    rows = side_by_side([made((3, 3, 3)), made((2, 2, 2.1), method="sds")])
    phase2 = RunConfig(method="sds", schedule="staged", phase=2, parent=Parent("x", 1, "0"))
    assert verdicts([rows[0], replace(rows[1], config=phase2)]) == []


def test_a_sweep_differs_in_its_ratio_only():
    ratios = [made((3, 3, 3), pattern=p, threads=t) for p, t in (("70%", 0), ("0.3", 2), ("50%", 1))]
    others = [made((3, 3, 3), pattern="50%", method="sds"), made((3, 3, 3)), made((3, 3, 3), pattern="30%", seed=1)]
    (found,) = sweeps(side_by_side([*ratios, *others]))
    assert [row.run for row in found] == [ratios[1].id, ratios[2].id, ratios[0].id]
    assert sweeps(side_by_side([ratios[0], ratios[0]])) == []


def test_names_tell_runs_apart():
    rows = side_by_side([made((3, 3, 3)), made((3, 3, 3), method="sds"), made((2, 2, 2), method="sds")])
    called = names(rows)
    assert called[rows[0].run] == "base pruner · wanda"
    assert len(set(called.values())) == 3 and called[rows[1].run] == f"SDS · wanda · {rows[1].run[-6:]}"
    assert set(names(side_by_side([made((3, 3, 3)), made((3, 3, 3), pattern="0.5")])).values()) == {
        "base pruner · wanda · 2:4",
        "base pruner · wanda · 50%",
    }


def test_names_say_which_options_set_runs_apart():
    changes = [{}, {"block_epochs": 2}, {"sequential": True}]
    rows = side_by_side([made((3, 3, 3), method="adjusted", options=options) for options in changes])
    assert [names(rows)[row.run] for row in rows] == [
        "base + adjustment · wanda · sequential no · block epochs 0",
        "base + adjustment · wanda · sequential no · block epochs 2",
        "base + adjustment · wanda · sequential yes · block epochs 0",
    ]
    seeds = side_by_side([made((3, 3, 3), seed=seed) for seed in (0, 1)])
    assert list(names(seeds).values()) == ["base pruner · wanda · seed 0", "base pruner · wanda · seed 1"]


def test_records_are_the_paired_numbers_at_full_precision():
    base, sds = (3.0, 3.6, 4.1), (2.6, 3.2, 3.5)
    _, found = records(side_by_side([made(base), made(sds, method="sds", title="mine")]))
    differences = np.subtract(sds, base)
    assert found["log_ratio_base"] == pytest.approx(differences.mean(), rel=1e-12)
    assert found["error_base"] == pytest.approx(differences.std(ddof=1) / math.sqrt(3), rel=1e-12)
    assert found["ratio_control"] is None and found["title"] == "mine"
    assert (found["windows"], found["tokens"], found["sparsity"]) == (3, 31, 0.5)
