"""What the Walk says is what the records say, by formulas of its own."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from sds_core.comparison import references
from sds_core.comparison.study import StudySpread
from sds_core.lesson import findings
from sds_core.lesson.evidence import RUNS, Evidence
from sds_core.lesson.findings import between
from sds_core.lesson.questions import STEPS, Choice
from sds_core.pruning.distribution import histogram
from sds_core.pruning.pattern import NM
from sds_core.pruning.perplexity import format_perplexity
from sds_core.pruning.reading import read


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.title)
def test_a_step_answers_what_it_asks(evidence, step):
    some = Evidence(
        {name: evidence.runs[name] for name in step.runs}, {name: evidence.layer_stats[name] for name in step.runs}
    )
    found = step.find(some)
    assert found.said.endswith(".") and found.details.endswith(".") and "nan" not in found.said + found.details
    if isinstance(step.guess, Choice):
        assert found.value is None and 0 <= found.right < len(step.guess.options)
    else:
        assert found.right is None and found.value > 0 and any(c.isdigit() for c in found.said)


def test_the_shape_is_named_as_the_option(evidence):
    found = findings.removed(evidence)
    assert found.said.startswith(STEPS[1].guess.options[found.right][0] + ":")
    assert len(found.picture.sketches) == len(STEPS[1].guess.options)


@pytest.mark.parametrize(("value", "place"), [(0.0, 0), (0.0199, 0), (0.02, 1), (0.1, 1), (0.2, 2), (0.9, 2)])
def test_ranges_meet_at_their_edges(value, place):
    assert between(value, 0.02, 0.2) == place


def test_the_larger_half_is_counted_from_histograms():
    generator = torch.Generator().manual_seed(3)
    weight = torch.randn(128, 256, generator=generator)
    norms = torch.rand(256, generator=generator) + 0.2
    mask = NM(keep=2, group=4).mask(weight.abs() * norms, "row")
    std = float(weight.std(correction=0))
    stages = {"dense": weight, "sparse": weight * mask}
    layer = pd.DataFrame([{"stage": s, **vars(read(histogram(w, std)))} for s, w in stages.items()])
    pruned = weight[~mask].abs()
    wanted = float((pruned > weight.abs().median()).float().mean())
    assert 0.1 < wanted < 0.5
    assert findings.larger_half(layer) == pytest.approx(wanted, abs=0.05)


def test_the_cost_is_the_ratio_of_perplexities(evidence):
    perplexity = evidence.runs["base-wanda"].result().perplexity
    ratio = perplexity["sparse"].value / perplexity["dense"].value
    found = findings.cost(evidence)
    assert f"{ratio:.2f} times" in found.said and found.value == perplexity["sparse"].value
    (wanda,) = found.picture.asked
    assert (wanda.kind, wanda.ratio) == ("wanda", pytest.approx(ratio))
    assert wanda.error == pytest.approx(ratio * perplexity["sparse"].error)


def sure(differences: np.ndarray) -> bool:
    """Whether windows and a spread over seeds of 0.05 together leave no doubt."""
    return abs(differences.mean()) > 2 * math.hypot(differences.std(ddof=1) / math.sqrt(len(differences)), 0.05)


@pytest.fixture
def known_seeds(monkeypatch):
    """Let the shipped study know how far seeds move the tiny model's ratios."""
    monkeypatch.setattr(references, "study_spread", lambda *_: StudySpread(0.05, "a study"))


def losses(evidence) -> dict[str, np.ndarray]:
    results = {name: run.finished_result() for name, run in evidence.runs.items()}
    return {name: np.array(result.last_perplexity.losses) for name, result in results.items()}


def test_the_repair_is_judged_by_windows_and_seeds(evidence, known_seeds):
    found, measured = findings.repair(evidence), losses(evidence)
    gain = measured["base-sparsegpt"] - measured["base-wanda"]
    assert ("lower" in found.said) == (gain.mean() < 0) and ("not clearly" in found.said) != sure(gain)
    assert f"{math.exp(gain.mean()):.3f} ±" in found.details


def test_best_is_the_lowest_perplexity_or_none(evidence, known_seeds):
    found, measured = findings.best(evidence), losses(evidence)
    first, second = sorted(measured, key=lambda name: measured[name].mean())[:2]
    assert found.right == (RUNS.index(first) if sure(measured[first] - measured[second]) else 4)
    assert format_perplexity(math.exp(measured[first].mean())) in found.said + found.details


def test_nothing_is_sure_where_seeds_are_unknown(evidence):
    assert "not clearly" in findings.repair(evidence).said and findings.best(evidence).right == 4
    assert "error over seeds unknown" in findings.best(evidence).details


@pytest.mark.parametrize(("find", "stage", "number"), [(findings.filled_in, "pruned", 1), (findings.dual, "final", 0)])
def test_mask_corner_is_that_of_the_requested_prune(evidence, find, stage, number):
    found = find(evidence).picture
    row = evidence.stage("sds-admm-wanda", stage, number)
    assert found.codes == list(row["crop"])[: found.rows * found.columns] and set(found.codes) <= {0, 1, 2, 3}
    assert found.columns == min(64, row["columns"])
