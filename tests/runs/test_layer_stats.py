import gc
import random
import weakref

import numpy as np
import pytest

from sds_core.errors import SDSError
from sds_core.layer_result import LayerResult
from sds_core.models.structure import find_blocks
from sds_core.runs import distribution_files, layer_stats
from sds_core.sds import run_phase
from tests.models.families import build
from tests.passes import ADMM, CPU, WINDOWS, Results, make_recipe


def test_finished_run_holds_four_stages_and_all_rounds(finished):
    frame = layer_stats.load(finished.folder)
    stages = frame[frame["round"] == 0].groupby(["block", "linear"])["stage"].agg(list)
    assert len(stages) == 3 * 7
    assert all(found == ["dense", "sparse", "redense", "final"] for found in stages)
    rounds = frame[(frame["round"] > 0) & (frame["stage"] == "redense")]
    assert sorted(set(rounds["round"])) == [1, 2, 4, 8, 12]
    assert len(rounds) == 5 * 3 * 7
    assert not frame.duplicated(["block", "linear", "stage", "round"]).any()


def test_every_histogram_accounts_for_every_weight(finished):
    frame = layer_stats.load(finished.folder)
    sizes = frame["counts"].map(sum) + frame["below"] + frame["above"] + frame["zeros"]
    queries = frame["linear"] == "self_attn.q_proj"
    assert set(sizes[queries]) == {32 * 32}
    final = frame[(frame["stage"] == "final") & queries]
    assert (final["sparsity"] == 0.5).all()
    assert (frame[(frame["stage"] == "dense")]["loss"] == 0).all()


def test_stages_hold_a_corner_and_rounds_their_masks(finished):
    frame = layer_stats.load(finished.folder)
    stages, rounds = frame[frame["round"] == 0], frame[frame["round"] > 0]
    assert (stages["norms"].map(len) == stages["columns"].clip(upper=64)).all()
    assert set(stages["corner"].map(len)) == {16 * 32, 32 * 32, 48 * 32}
    assert rounds["corner"].isna().all() and rounds["norms"].isna().all()
    pruned = stages[stages["stage"].isin(["sparse", "final"])]
    for corner in pruned["corner"]:
        groups = (np.array(corner).reshape(-1, 4) != 0).sum(axis=1)
        assert (groups <= 2).all(), "2:4 leaves two of four"
    assert rounds.loc[rounds["stage"] == "pruned", "crop"].notna().all()
    assert rounds.loc[rounds["stage"] == "redense", "crop"].isna().all()


def test_a_broken_distribution_file_is_named(tmp_path):
    (tmp_path / "distributions").mkdir()
    (tmp_path / "distributions" / "fused-000.parquet").write_bytes(b"PAR1 cut short")
    with pytest.raises(SDSError, match=r"fused-000\.parquet"):
        layer_stats.load(tmp_path)


def test_no_record_yet_is_an_empty_table(tmp_path):
    assert layer_stats.load(tmp_path).empty


def test_no_flipped_bit_gives_other_numbers(finished, tmp_path):
    (path, *_) = (path for _, path in distribution_files.files(finished.folder))
    stored, sound = path.read_bytes(), distribution_files.read(path)
    dice, unseen = random.Random(0), 0
    for _ in range(60):
        place = dice.randrange(len(stored))
        flipped = stored[:place] + bytes([stored[place] ^ 1 << dice.randrange(8)]) + stored[place + 1 :]
        (tmp_path / "flipped.parquet").write_bytes(flipped)
        try:
            unseen += not distribution_files.read(tmp_path / "flipped.parquet").equals(sound)
        except SDSError:
            continue
    assert unseen == 0


def test_a_recorded_layer_is_freed_without_the_collector():
    recorded: list[weakref.ref] = []
    gc.collect()
    gc.disable()
    try:
        for event in run_phase("fused", find_blocks(build("llama")), WINDOWS, make_recipe(ADMM), CPU, Results()):
            assert all(reference() is None for reference in recorded)
            if isinstance(event, LayerResult):
                layer_stats.rows(event)
                recorded.append(weakref.ref(event.problem))
            del event
    finally:
        gc.enable()
    assert len(recorded) == 3 * 7
