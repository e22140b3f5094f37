"""What a result must hold before anybody reads it."""

import json
from dataclasses import replace

import pytest

from sds_core.models.block_change import BlockChange
from sds_core.models.route_change import BlockRoutes, RouteChange
from sds_core.runs.run_result import ReconstructionSummary, RunResult
from sds_core.runs.typed_json import to_json
from tests.records import run_result

PLAIN = to_json(run_result())


def test_a_result_survives_its_file():
    result = run_result(other_differing_tensors=("norm",), chosen={"adjusted": 2})
    assert RunResult.parse(json.dumps(to_json(result))) == result


def test_shares_are_those_of_the_counts():
    result = run_result(pruned=30, prunable=60, total=120, zeros=90)
    assert result.sparsity == 0.5 and result.model_sparsity == 0.25 and result.zero_share == 0.75


@pytest.mark.parametrize(
    ("scarce", "said"),
    [
        ({}, ""),
        ({"few tokens": 1}, "1 expert layer got fewer calibration tokens than inputs"),
        ({"no tokens": 2}, "2 expert layers got no calibration tokens"),
    ],
)
def test_experts_with_scarce_tokens_are_reported(scarce, said):
    result = run_result(scarce=scarce)
    assert RunResult.parse(json.dumps(to_json(result))) == result
    assert result.scarce_tokens.startswith(said) and bool(result.scarce_tokens) == bool(said)


def test_routes_of_a_mixture_survive_and_are_told():
    routes = RouteChange((BlockRoutes(0, 0.25), BlockRoutes(2, 0.75)))
    plain = run_result()
    measured = plain.perplexity | {"final": replace(plain.last_perplexity, routes=routes)}
    result = run_result(perplexity=measured, scarce={"no tokens": 2})
    assert RunResult.parse(json.dumps(to_json(result))) == result
    assert result.experts == f"{result.scarce_tokens} {routes.sentence}" and plain.experts == ""


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"perplexity": {"dense": PLAIN["perplexity"]["dense"]}}, "perplexity.final is missing"),
        ({"perplexity": {"final": PLAIN["perplexity"]["final"]}}, "perplexity.dense is missing"),
        ({"perplexity": {"lost": PLAIN["perplexity"]["final"]}}, "perplexity.lost is not one of"),
        ({"perplexity": PLAIN["perplexity"] | {"final": PLAIN["perplexity"]["final"] | {"losses": [1.0]}}}, "windows"),
        ({"last": "sparse"}, "perplexity.sparse is missing"),
        ({"prunable": 0}, "prunable"),
        ({"prunable": 101}, "prunable"),
        ({"zeros": 101}, "zeros is not between 0 and total"),
        ({"pruned": "40"}, "pruned is not a whole number"),
        ({"software": {}}, "software.version is missing"),
    ],
)
def test_an_incomplete_result_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        RunResult.parse(json.dumps(PLAIN | changes))


def test_block_that_did_not_gain_counts_as_it_was():
    summary = ReconstructionSummary.of_blocks([BlockChange(0.2, 0.1), BlockChange(0.4, 1e300)])
    assert summary == ReconstructionSummary(improved=1, of=2, before=pytest.approx(0.3), after=pytest.approx(0.25))
    assert ReconstructionSummary.of_blocks([]) is None
