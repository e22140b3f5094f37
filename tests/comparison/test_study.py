"""The study's spread, worked out again from the tables in docs/results.md."""

import itertools
import re
from pathlib import Path

import numpy as np
import pytest

from sds_core.comparison.study import SPREAD, WIDEST, study_spread
from sds_core.runs.config import RunConfig

TABLES = " ".join((Path(__file__).parents[2] / "docs" / "results.md").read_text(encoding="utf-8").split())
ROWS = {
    ("sds:wanda", "base:wanda"): "| `sds` | Wanda | 106.27 |",
    ("adjusted:wanda", "base:wanda"): "| `adjusted`, β 0.2, `--sequential` | Wanda | 96.33 |",
    ("sds:sparsegpt", "base:sparsegpt"): "| `sds` | SparseGPT | 105.30 |",
    ("sds-admm:wanda", "adjusted:wanda"): "| `sds-admm` | Wanda | 84.19 |",
}


def seed_by_seed() -> dict[str, np.ndarray]:
    """Perplexities by seed."""
    names = {"base:wanda": "Wanda has", "base:sparsegpt": "SparseGPT", "sds-admm:wanda": "`sds-admm`"}
    numbers = r"([\d.]+), ([\d.]+) and ([\d.]+)"
    start = TABLES[TABLES.index("(by seed, Wanda has") :]
    found = {method: re.search(f"{name} {numbers}", start) for method, name in names.items()}
    return {method: np.array(match.groups(), float) for method, match in found.items()}


def test_spread_is_that_of_the_documented_perplexities():
    logs = {method: np.log(values) for method, values in seed_by_seed().items()} | {"dense": np.zeros(3)}
    pairs = [pair for pair in SPREAD if pair not in ROWS]
    assert {frozenset(pair) for pair in pairs} == set(map(frozenset, itertools.combinations(logs, 2)))
    for mine, reference in pairs:
        assert SPREAD[mine, reference] == pytest.approx(np.std(logs[mine] - logs[reference], ddof=1), abs=5e-4)


def test_spread_is_the_bracketed_deviation_over_its_ratio():
    for pair, start in ROWS.items():
        row = TABLES[TABLES.index(start) :].split("|")[4:7]
        ratio, deviation = re.findall(r"([\d.]+) ± [\d.]+ \[([\d.]+)\]", " ".join(row))[-1]
        assert SPREAD[pair] == pytest.approx(float(deviation) / float(ratio), abs=5e-4)


SDS, WANDA = RunConfig(method="sds"), RunConfig(method="base")


def test_study_pairs_have_a_spread_in_either_order():
    assert study_spread(SDS, WANDA) == study_spread(WANDA, SDS)
    assert study_spread(SDS, WANDA) == (SPREAD["sds:wanda", "base:wanda"], "seeds of the shipped study")
    assert study_spread(WANDA, None).value == SPREAD["base:wanda", "dense"]
    control = RunConfig(method="adjusted", options={"beta": 0.2, "sequential": True})
    assert study_spread(RunConfig(method="sds-admm"), control).value == SPREAD["sds-admm:wanda", "adjusted:wanda"]


def test_another_pair_has_the_widest():
    widest = (WIDEST, "seeds, the widest of the shipped study")
    assert study_spread(RunConfig(method="swaps"), WANDA) == widest
    assert study_spread(RunConfig(method="sds", options={"l1": 0.5}), WANDA) == widest


@pytest.mark.parametrize(
    "changes",
    [{"model": "other"}, {"pattern": "4:8"}, {"pattern": "50%"}, {"calibration": "python-docs"}, {"exclude": "*.0.*"}],
)
def test_study_covers_only_its_own_model_and_pattern(changes):
    base = RunConfig(method="base", **changes)
    assert study_spread(RunConfig(method="sds", **changes), base) is None
