"""What the paper published stands beside runs in its setting, and beside no others."""

from dataclasses import replace

import pytest

from sds_core.comparison.published import WEIGHTS, beside_published
from sds_core.pruning.perplexity import Perplexity
from sds_core.runs.config import RunConfig
from sds_core.runs.new_run import create
from sds_core.runs.presets import PRESETS
from sds_core.runs.recorded_values import MeasuredPerplexity
from tests.records import model_loaded, run_result, write_log, write_result

PAPER = RunConfig.from_dict(PRESETS["paper"] | {"model": "opt-125m"})


def made(config, total=WEIGHTS, **stages):
    run = create(config)
    write_log(run, [model_loaded(families=("opt",), total=total)])
    dense = Perplexity((3.0, 3.4), 2047)
    found = {name: MeasuredPerplexity.of(Perplexity((loss, loss), 2047), dense) for name, loss in stages.items()}
    write_result(run, run_result(perplexity=found, last=list(stages)[-1]))
    return run


def test_a_run_in_the_papers_setting_stands_beside_its_table(runs_root):
    lines = beside_published([made(PAPER, dense=3.32, sparse=4.4, final=4.1)])
    printed = {line[:-21].strip(): line[-21:].split() for line in lines}
    assert printed["dense"] == ["27.66", "27.66"]
    assert printed["Wanda"] == ["82.47", "81.45"] and printed["SDS · Wanda"] == ["59.17", "60.34"]
    assert printed["SparseGPT"] == ["60.43", "–"] and printed["SDS · SparseGPT"] == ["51.30", "–"]
    assert "2408.10473" in lines[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"pattern": "4:8"},
        {"eval_windows": 64},
        {"bos": "window"},
        {"eval_rows": "stripped"},
        {"method": "sds-admm"},
        {"exclude": "*.0.*"},
        {"reconstruct": "block"},
    ],
)
def test_other_settings_have_no_published_numbers(runs_root, changes):
    assert beside_published([made(replace(PAPER, **{"options": {}} | changes), dense=3.3, sparse=4.4, final=4.1)]) == []


def test_a_base_pruner_alone_is_no_sds(runs_root):
    lines = beside_published([made(replace(PAPER, method="base", options={}), dense=3.3, sparse=4.4, final=4.1)])
    printed = {line[:-21].strip(): line[-21:].split() for line in lines}
    assert printed["Wanda"] == ["82.47", "81.45"] and printed["SDS · Wanda"] == ["59.17", "–"]


def test_of_several_seeds_it_is_the_mean(runs_root):
    first, second = made(PAPER, dense=3.32, sparse=4.4, final=4.1), made(replace(PAPER, seed=1), dense=3.32, final=4.3)
    repeated = made(replace(PAPER, seed=1), dense=3.32, final=9.0)
    printed = {line[:-21].strip(): line[-21:].split() for line in beside_published([first, second, repeated])}
    assert printed["SDS · Wanda, here the mean over 2 seeds"] == ["59.17", "66.69"]  # e to the power of 4.2
    assert printed["Wanda"] == ["82.47", "81.45"]


def test_another_model_has_none_either(runs_root):
    assert beside_published([made(PAPER, total=WEIGHTS + 1, dense=3.3, sparse=4.4, final=4.1)]) == []
