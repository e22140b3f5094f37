"""The arithmetic of the benchmark of 2:4 products; its figures need a GPU."""

import torch

from benchmarks import sparse_speed
from benchmarks.sparse_speed import Timing, prune, stored_bits, tokens_per_second


def test_speedup_below_one_is_called_slower():
    assert Timing(3.0, 2.0).speedup == 1.5 and Timing(3.0, 2.0).words == "1.50 ×"
    assert Timing(1.0, 2.0).words == "0.50 ×, slower"
    assert Timing(1.0, 1.02).words == "0.98 ×, no difference"


def test_half_the_weights_and_their_places_are_stored():
    # Of four weights of 16 bits two stay, each with its place among four, 2 bits: 36 bits of 64.
    assert stored_bits(1, 4) == 36 and stored_bits(8, 16) == 32 * 36
    assert tokens_per_second(512, 0.25) == 2048


def test_the_larger_two_of_four_are_kept():
    weight = torch.tensor([[1.0, -4.0, 3.0, 2.0, 0.5, 0.25, -0.75, 0.1]])
    assert prune(weight).tolist() == [[0, -4, 3, 0, 0.5, 0, -0.75, 0]]


def test_without_a_gpu_nothing_is_claimed(monkeypatch, capsys):
    monkeypatch.setattr(sparse_speed, "pick_device", lambda: torch.device("cpu"))
    monkeypatch.setattr("sys.argv", ["sparse_speed.py"])
    assert sparse_speed.main() == 2
    assert capsys.readouterr().out.count("\n") == 1
