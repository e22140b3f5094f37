import math

import numpy as np
import pytest

from sds_core.comparison.compare import records, reference_lines, side_by_side, sort_out, sweeps, table
from sds_core.errors import SDSError
from sds_core.runs.config import Parent, RunConfig
from sds_core.runs.new_run import create
from tests.by_hand import made


def test_runs_are_paired_with_dense_base_and_control():
    base, control, sds = (3.0, 3.6, 4.1), (2.8, 3.3, 3.9), (2.6, 3.2, 3.5)  # the default α and β of both are equal
    rows = side_by_side([made(base), made(control, method="adjusted"), made(sds, method="sds")])
    assert [set(row.against) for row in rows] == [{"dense"}, {"dense", "base"}, {"dense", "base", "control"}]
    for name, reference in {"dense": (2.0, 2.5, 3.0), "base": base, "control": control}.items():
        differences = np.subtract(sds, reference)
        claim = rows[2].against[name].claim
        assert claim.ratio == pytest.approx(math.exp(differences.mean()))
        assert claim.window_error == pytest.approx(differences.std(ddof=1) / math.sqrt(3))
    assert rows[2].perplexity == pytest.approx(math.exp(np.mean(sds)))


def test_unpairable_runs_are_refused_unfinished_ones_skipped():
    first = made((3.0, 3.0, 3.0))
    assert len(side_by_side([first, create(RunConfig())])) == 1
    with pytest.raises(SDSError, match="another evaluation text"):
        side_by_side([first, made((3, 3, 3), evaluation="python-docs")])


def test_table_shows_ratios_with_both_errors_and_their_references():
    base, sds = made((3.0, 3.6, 4.1)), made((2.6, 3.2, 3.5), method="sds")
    lines = table(side_by_side([base, sds])).splitlines()
    assert lines[1].startswith("Wanda") and "0.627 ± 0.042 ± 0.021" in lines[2]
    assert lines[3] == f"× base of SDS · Wanda: Wanda · {base.id[-6:]} ({base.id})"


def test_the_base_stays_the_same_whatever_is_shown():
    first, second, sds = made((3, 3.5, 4)), made((3.2, 3.4, 4.1)), made((2.6, 3.2, 3.5), method="sds")
    for shown in ([sds], [second, sds], [first, second, sds]):
        (row,) = (row for row in side_by_side(shown) if row.run == sds.id)
        assert row.against["base"].run == first.id
    assert len(reference_lines(side_by_side([first, second, sds]))) == 1


def test_a_redense_model_is_no_row():
    phase2 = made((1, 1, 1.1), method="sds", schedule="staged", phase=2, parent=Parent("x", 1, "0"))
    base = made((3, 3, 3))
    kept, reasons = sort_out([base, phase2])
    assert kept == [base] and "re-dense" in reasons[phase2.id]
    assert [row.run for row in side_by_side([base, phase2])] == [base.id]
    assert reference_lines(side_by_side([base, phase2])) == []


def test_dense_losses_tell_models_of_one_size_apart():
    runs = [made((3, 3, 3)), made((3, 3, 3), dense=(2.01, 2.5, 3.0)), made((3, 3, 3), dense=(2.0, 2.5, 3.2))]
    kept, reasons = sort_out(runs)
    assert kept == runs[:2], "a hundredth is precision"
    assert list(reasons) == [runs[2].id] and "another model" in reasons[runs[2].id]
    with pytest.raises(SDSError, match="another model"):
        side_by_side(runs)


def test_largest_pairable_set_is_kept_first_on_ties():
    other, first, second = made((3, 3, 3), evaluation="python-docs"), made((3, 3, 3)), made((2, 2, 2))
    kept, reasons = sort_out([other, first, second])
    assert kept == [first, second] and "another evaluation text" in reasons[other.id]
    assert sort_out([other, first])[0] == [other]
    assert sort_out([]) == ([], {})


def test_the_set_with_the_first_run_asked_for_is_kept():
    small = [made((3, 3, 3), evaluation="python-docs"), made((2, 2, 2), evaluation="python-docs")]
    large, begun = [made((3, 3, 3)) for _ in range(3)], create(RunConfig())
    runs = [*large, *small, begun]
    kept, reasons = sort_out(runs, [begun.id, small[1].id, large[0].id])
    assert kept == small and set(reasons) == {run.id for run in (*large, begun)}
    assert sort_out(runs, [begun.id])[0] == sort_out(runs)[0] == large


def test_an_unreadable_log_of_an_unfinished_run_is_a_reason():
    sound, begun = made((3, 3, 3)), create(RunConfig())
    begun.log.path.write_text("[]\n")
    kept, reasons = sort_out([begun, sound])
    assert kept == [sound] and list(reasons) == [begun.id] and "not finished" not in reasons[begun.id]


def test_unfinished_and_broken_runs_are_excluded_with_reasons():
    begun, broken = create(RunConfig()), made((3, 3, 3))
    (broken.folder / "result.json").write_text("{")
    kept, reasons = sort_out([begun, broken])
    assert kept == [] and "not finished: new" in reasons[begun.id] and "broken" in reasons[broken.id]


def test_a_sweep_differs_in_its_ratio_only():
    ratios = [made((3, 3, 3), pattern=p, threads=t) for p, t in (("70%", 0), ("0.3", 2), ("50%", 1))]
    others = [made((3, 3, 3), pattern="50%", method="sds"), made((3, 3, 3)), made((3, 3, 3), pattern="30%", seed=1)]
    (found,) = sweeps(side_by_side([*ratios, *others]))
    assert [row.run for row in found] == [ratios[1].id, ratios[2].id, ratios[0].id]
    assert sweeps(side_by_side([ratios[0], ratios[0]])) == []


def test_a_sweep_may_hold_partial_runs():
    runs = [made((3, 3, 3), pattern="30%"), made((3, 3, 4), pattern="50%", partial=True)]
    (found,) = sweeps(side_by_side(runs))
    assert [row.run for row in found] == [run.id for run in runs]


def test_records_are_the_paired_numbers_at_full_precision():
    base, sds = (3.0, 3.6, 4.1), (2.6, 3.2, 3.5)
    first, mine = made(base), made(sds, method="sds", title="mine")
    _, found = records(side_by_side([first, mine]))
    differences = np.subtract(sds, base)
    assert found["log_ratio_base"] == pytest.approx(differences.mean(), rel=1e-12)
    assert found["window_error_base"] == pytest.approx(differences.std(ddof=1) / math.sqrt(3), rel=1e-12)
    assert (found["seed_error_base"], found["verdict_base"]) == (0.034, "clearly better")
    assert (found["reference_base"], found["reference_dense"]) == (first.id, "dense")
    assert found["ratio_control"] is None and found["title"] == "mine" and found["name"] == "SDS · Wanda"
    assert (found["windows"], found["tokens"], found["sparsity"]) == (3, 31, 0.5)


def test_phase_1_run_is_recorded_as_its_base_pruner():
    (found,) = records(side_by_side([made((3, 3, 3.1), method="sds", schedule="staged", phase=1)]))
    assert (found["name"], found["method"]) == ("Wanda", "base")
