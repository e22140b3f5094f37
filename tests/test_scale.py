"""The law of `benchmarks/scale.py`: what it counts, fits and predicts."""

from dataclasses import replace

import pytest

from benchmarks import scale
from benchmarks.scale import METHODS, Shape, exponent, measure, operations, squares_and_cubes


def test_exponent_of_a_power_law_is_found() -> None:
    sizes = [100, 200, 400, 800]
    assert exponent(sizes, [3e-6 * size**2.5 for size in sizes]) == pytest.approx(2.5)
    quadratic, cubic = squares_and_cubes(sizes, [2e-6 * size**2 + 5e-9 * size**3 for size in sizes])
    assert (quadratic, cubic) == (pytest.approx(1.28 / 3.84), pytest.approx(2.56 / 3.84))
    assert squares_and_cubes(sizes, [2e-6 * size**1.8 for size in sizes]) == (1, 0)


def test_operations_of_a_square_layer_are_counted_by_hand() -> None:
    shape = Shape(width=4, inner=4, blocks=3, narrow=4)
    weights = 7 * 16
    counted = operations(shape, tokens=10, length=5, method="SparseGPT")
    assert shape.weights == weights
    assert counted["forwards"] == pytest.approx((2 * 3 - 1) * (2 * 10 * weights + 4 * 10 * 5 * 4))
    assert counted["Gram matrices"] == 3 * 10 * (4 * 16)
    assert counted["products with H"] == 3 * 2 * (7 * 64) * (scale.RECORDED + 0.5)
    assert counted["factorisations"] == 3 * 4 * 64


@pytest.mark.parametrize("method", METHODS)
def test_only_forwards_and_gram_matrices_grow_with_tokens(method: str) -> None:
    shape = Shape(64, 128, 2, 32)
    one, two = (operations(shape, tokens, 16, method) for tokens in (64, 128))
    assert {kind for kind in one if one[kind] != two[kind]} == {"forwards", "Gram matrices"}
    thrice = operations(replace(shape, blocks=6), 64, 16, method)
    thrice["forwards"] *= 1 if method == "sds-admm" else 9 / 11  # nothing is sent through the last block
    assert thrice == pytest.approx({kind: 3 * value for kind, value in one.items()})


def test_measurement_covers_every_part() -> None:
    found = measure(Shape(64, 96, 2, 64), 32, "sds-admm")
    assert set(found) == set(scale.PARTS) and all(seconds > 0 for seconds in found.values())


def test_output_names_every_method_and_model(monkeypatch, capsys) -> None:
    monkeypatch.setattr(scale, "measure", lambda shape, tokens, method: dict.fromkeys(scale.PARTS, shape.width * 1e-3))
    monkeypatch.setattr(scale, "allow_fast_matmul", lambda device: None)
    monkeypatch.setattr("sys.argv", ["scale.py"])
    scale.main()
    shown = capsys.readouterr().out
    assert all(f"| {model}, {method} |" in shown for model in scale.MODELS for method in METHODS)
    assert "1.00, 1.00, 1.00" in shown
