"""Runs are called after what made their last weights."""

import pytest

from sds_core.runs.config import Parent, RunConfig
from sds_core.runs.names import called, id_prefix, made_by, name_of, pattern_of

PARENT = {2: Parent("one", 1, "0"), 3: Parent("two", 2, "0")}


def phase(number: int, **changes) -> RunConfig:
    return RunConfig(
        **{"method": "sds", "schedule": "staged", "phase": number, "parent": PARENT.get(number), **changes}
    )


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (RunConfig(method="base"), "Wanda"),
        (RunConfig(method="base", pruner="sparsegpt"), "SparseGPT"),
        (RunConfig(method="sds", pruner="magnitude"), "SDS · Magnitude"),
        (RunConfig(method="adjusted", schedule="staged"), "base + adjustment · Wanda"),
        (phase(1), "Wanda"),
        (phase(1, method="sds-admm", pruner="sparsegpt"), "SparseGPT"),
        (phase(2), "SDS · Wanda, re-dense"),
        (phase(3), "SDS · Wanda"),
        (RunConfig(method="checkpoint", checkpoint="x", pruner="none", weights="memory"), "existing checkpoint"),
    ],
)
def test_a_run_is_called_after_its_last_weights(config, name):
    assert name_of(config) == name


def test_what_is_left_dense_is_named_alike_however_it_is_written():
    one, other = RunConfig(pattern="50%", exclude="*up *.0.*"), RunConfig(pattern="0.5", exclude="*.0.* *up  *up")
    assert pattern_of(one) == pattern_of(other) == "50% without *.0.* *up"


@pytest.mark.parametrize(
    ("config", "prefix"),
    [
        (phase(1), "base-wanda-2-4"),
        (phase(2), "sds-redense-wanda-2-4"),
        (phase(3), "sds-wanda-2-4"),
        (RunConfig(method="sds-admm", pattern="50%"), "sds-admm-wanda-50pc"),
    ],
)
def test_an_id_begins_with_what_the_run_ends_with(config, prefix):
    assert id_prefix(config) == prefix


def test_phase_1_is_the_base_pruner_alone():
    assert made_by(phase(1, options={"l1": 0.5}), "sparse") == RunConfig(method="base")


def test_phase_3_is_its_method_staged():
    assert made_by(phase(3), "final") == RunConfig(method="sds", schedule="staged")


def test_runs_of_one_name_are_told_apart():
    configs = {
        "a-000001": RunConfig(method="base"),
        "a-000002": RunConfig(method="sds"),
        "a-000003": RunConfig(method="sds"),
    }
    assert list(called(configs).values()) == ["Wanda", "SDS · Wanda · 000002", "SDS · Wanda · 000003"]
    patterns = {"a": RunConfig(method="base"), "b": RunConfig(method="base", pattern="0.5")}
    assert list(called(patterns).values()) == ["Wanda · 2:4", "Wanda · 50%"]


def test_options_and_seeds_that_set_runs_apart_are_named():
    changes = [{}, {"reconstruct": "block"}, {"options": {"sequential": True}}]
    configs = {str(n): RunConfig(method="adjusted", **options) for n, options in enumerate(changes)}
    assert list(called(configs).values()) == [
        "base + adjustment · Wanda · reconstruct matrix · sequential no",
        "base + adjustment · Wanda · reconstruct block · sequential no",
        "base + adjustment · Wanda · reconstruct matrix · sequential yes",
    ]
    seeds = {str(seed): RunConfig(method="base", seed=seed) for seed in (0, 1)}
    assert list(called(seeds).values()) == ["Wanda · seed 0", "Wanda · seed 1"]


def test_phase_1_run_is_named_like_its_base_pruner():
    names = called({"a-000001": RunConfig(method="base"), "a-000002": phase(1)})
    assert list(names.values()) == ["Wanda · 000001", "Wanda · 000002"]
