"""`cached` lists what the hub cache holds as the options of a run take it."""

from sds_core.__main__ import main
from sds_core.commands import cached
from sds_core.models.hub_data_sets import CachedDataSet


def test_models_and_texts_are_listed_with_sizes(monkeypatch, capsys):
    monkeypatch.setattr(cached, "cached_models", lambda: {"someone/tiny": 2_500_000_000})
    sets = [CachedDataSet("a/b", 12_300_000, ("hub:a/b:c:train:text", "hub:a/b:c:test:text"))]
    monkeypatch.setattr(cached, "cached_data_sets", lambda: sets)
    assert main(["cached"]) == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["model", "2.5", "GB", "someone/tiny"],
        ["data", "set", "12.3", "MB", "hub:a/b:c:train:text"],
        ["data", "set", "12.3", "MB", "hub:a/b:c:test:text"],
    ]
