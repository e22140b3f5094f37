"""Excluded layers: every one is counted, and only existing ones are named."""

from sds_core.runs.excluded_layers import ExcludedLayers, excluded_layers


def test_run_without_any_reports_nothing():
    assert excluded_layers({}) == []


def test_by_reason_the_commonest_first_and_blocks_together():
    gates = {f"layers.{i}.mlp.gate": "it chooses" for i in (0, 1, 2, 4)}
    one = {"layers.2.head": "it has one output"}
    assert excluded_layers(one | gates) == [
        ExcludedLayers("it chooses", 4, ["layers.0–2,4.mlp.gate"]),
        ExcludedLayers("it has one output", 1, ["layers.2.head"]),
    ]


def test_names_merge_only_if_all_combinations_exist():
    whole = [f"layers.{i}.experts.{j}.up" for i in (0, 1) for j in (0, 1, 2)]
    (found,) = excluded_layers(dict.fromkeys(whole, "it is never called"))
    assert found == ExcludedLayers("it is never called", 6, ["layers.0–1.experts.0–2.up"])
    (found,) = excluded_layers(dict.fromkeys(whole[:5], "it is never called"))
    assert found.names == whole[:5]


def test_names_may_begin_or_end_with_numbers():
    (found,) = excluded_layers(dict.fromkeys(["h.10", "h.9", "h", "3.x"], "why"))
    assert found.names == ["h.9–10", "h", "3.x"]
