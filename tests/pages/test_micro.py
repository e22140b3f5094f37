"""Micro: predict and reveal, every step of every pruner, and wrong addresses."""

import json

import pytest

from sds_core.lesson import micro
from sds_core.pruning.registry import PRUNERS
from tests.pages.test_studio_runs import address, texts
from tests.pruning.references import select_groups

PAGE = "pages/micro.py"


def matrices(at) -> dict[str, dict]:
    """The matrices on the page, by their keys."""
    (picture,) = at.get("bidi_component")
    return {one["key"]: one for one in json.loads(picture.proto.json)[0]["matrices"]}


def keys(at) -> list[str]:
    return list(matrices(at))


def numbers(at, key: str) -> list[float]:
    """The values of a matrix, row by row."""
    return [value for row in matrices(at)[key]["rows"] for value in row]


def wanda_keeps(seed: int) -> tuple[int, list[int]]:
    """The row to predict and the inputs (from 1) that Wanda keeps there, by the paper's formula."""
    problem = micro.example(seed)
    scores = problem.weight.abs() * problem.gram.matrix.diagonal().sqrt()
    row = micro.telling_row(problem)
    return row, [j + 1 for j in select_groups(2, 4)(scores)[row].nonzero().flatten().tolist()]


def predict(at, seed: int, guess: list[int]):
    for group in (0, 4):
        chosen = [j for j in guess if group < j <= group + 4]
        at.pills(key=f"micro-guess-wanda-{seed}-{group}").set_value(chosen)
    return at.run()


def test_it_opens_with_a_question_only(runs, app):
    at = app(PAGE)
    assert not at.exception and any("What does each pruner look at?" in part.proto.body for part in at.get("html"))
    assert keys(at) == ["norms", "weight"]
    row, _ = wanda_keeps(10)
    assert f"the framed row {row + 1}" in texts(at)
    assert not at.metric and "keeps inputs" not in texts(at)


@pytest.mark.parametrize("wrong", [0, 1])
def test_a_prediction_is_judged(runs, app, wrong):
    row, kept = wanda_keeps(3)
    guess = list(kept)
    if wrong:
        guess[0] = next(j for j in range(1, 5) if j not in kept)
    at = app(PAGE, seed="3")
    assert at.button(key="micro-next").label == "Reveal without a guess"
    at = predict(at, 3, guess)
    assert at.button(key="micro-next").label == "Reveal"
    at.button(key="micro-next").click().run()
    assert not at.exception and address(at, "step") == "prune"
    truth = f"Row {row + 1} keeps inputs {', '.join(map(str, kept))}."
    assert truth in texts(at) and ("3 of 4" if wrong else "all right") in texts(at)


def test_without_a_guess_the_answer_is_shown(runs, app):
    row, _ = wanda_keeps(10)
    at = app(PAGE)
    at.button(key="micro-next").click().run()
    assert f"Row {row + 1} keeps inputs" in texts(at) and "You said" not in texts(at)


def test_the_weights_on_the_page_are_the_examples(runs, app):
    at = app(PAGE, seed="77")
    weight = micro.example(77).weight.flatten().tolist()
    assert numbers(at, "weight") == pytest.approx(weight)


@pytest.mark.parametrize("pruner", PRUNERS)
def test_every_step_of_every_pruner_is_drawn(runs, app, pruner):
    at = app(PAGE, pruner=pruner)
    seen = [at.segmented_control(key="micro-step").value]
    while any(button.key == "micro-next" for button in at.button):
        at.button(key="micro-next").click().run()
        assert not at.exception and not at.error
        seen.append(address(at, "step"))
    middle = ["columns"] if pruner == "sparsegpt" else []
    assert seen == ["predict", "prune", *middle, "dense", "again"]
    assert keys(at) == ["first", "final"]


@pytest.mark.parametrize("pruner", PRUNERS)
def test_the_source_beside_it_is_the_pruners_own(runs, app, pruner):
    at = app(PAGE, pruner=pruner, step="prune")
    assert f"class {PRUNERS[pruner].__name__}:" in at.code[0].value and "def solve(" in at.code[0].value


def test_the_error_is_that_of_the_formula(runs, app):
    at = app(PAGE, step="prune", seed="5")
    problem = micro.example(5)
    weight, gram = problem.weight, problem.gram.matrix
    lost = weight * ~select_groups(2, 4)(weight.abs() * gram.diagonal().sqrt())
    error = float((lost @ gram @ lost.T).trace() / (weight @ gram @ weight.T).trace())
    assert f"output error is now **{100 * error:.1f}\N{NO-BREAK SPACE}%** (squared)" in texts(at)


def test_the_sweep_goes_column_by_column(runs, app):
    at = app(PAGE, pruner="sparsegpt", step="columns", column="3")
    assert at.slider(key="micro-column").value == 3
    states = micro.columns(micro.example(10))
    assert numbers(at, "now")[:3] == pytest.approx(states[2].weight[0, :3].tolist())
    pushed = numbers(at, "pushed")
    assert all(pushed[8 * i + j] == 0 for i in range(8) for j in range(3))
    assert any(pushed)
    at.slider(key="micro-column").set_value(8).run()
    assert address(at, "column") == "8"
    assert set(numbers(at, "pushed")) == {0} and "No column is left" in texts(at)
    at.slider(key="micro-column").set_value(0).run()
    assert not at.exception and "Nothing is pruned yet" in texts(at)


def test_the_dual_starts_empty_and_fills(runs, app):
    at = app(PAGE, step="dense")
    assert set(numbers(at, "dual")) == {0}
    at.slider(key="micro-round").set_value(5).run()
    assert address(at, "round") == "5" and len(set(numbers(at, "dual"))) > 10


def test_the_last_step_shows_three_errors_and_the_masks(runs, app):
    at = app(PAGE, step="again", seed="10")
    values = [float(metric.value.rstrip("%\N{NO-BREAK SPACE}")) for metric in at.metric]
    first = PRUNERS["wanda"]().solve(micro.example(10), micro.PATTERN)
    assert len(values) == 3 and values[0] > values[1] > values[2]
    assert matrices(at)["first"]["faded"] == (~first.mask).flatten().nonzero().flatten().tolist()
    assert numbers(at, "first").count(0) >= int((~first.mask).sum())


def test_the_widgets_write_the_address(runs, app):
    at = app(PAGE)
    at.segmented_control(key="micro-pruner").set_value("magnitude")
    at.number_input(key="micro-seed").set_value(42)
    at.segmented_control(key="micro-step").set_value("prune")
    at.run()
    assert (address(at, "pruner"), address(at, "seed"), address(at, "step")) == ("magnitude", "42", "prune")
    at.button(key="micro-another").click().run()
    assert not at.exception and 0 <= int(address(at, "seed")) <= micro.SEEDS
    assert int(address(at, "seed")) == at.number_input(key="micro-seed").value


def test_leaving_sparsegpt_leaves_its_columns(runs, app):
    at = app(PAGE, pruner="sparsegpt", step="columns")
    at.segmented_control(key="micro-pruner").set_value("wanda").run()
    assert not at.exception and not at.error and address(at, "step") == "prune"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pruner", "owl"),
        ("pruner", "x" * 300),
        ("seed", "-1"),
        ("seed", "10000"),
        ("seed", "²"),
        ("seed", "1" * 300),
        ("step", "../x"),
        ("step", ""),
    ],
)
def test_wrong_address_is_reported(runs, app, name, value):
    at = app(PAGE, **{name: value})
    assert not at.exception and keys(at) == ["norms", "weight"]
    assert f"“{name}={value[:40]}” in the address" in at.error[0].value and len(at.error[0].value) < 200


@pytest.mark.parametrize(("step", "name"), [("columns", "column"), ("dense", "round")])
def test_a_column_or_round_that_is_none_is_refused(runs, app, step, name):
    at = app(PAGE, pruner="sparsegpt", step=step, **{name: "99"})
    assert not at.exception and f"“{name}=99”" in at.error[0].value and keys(at)
