"""The table of faults says what is said today."""

from pathlib import Path

import pytest
import torch

from benchmarks.faults import FAULTS, said

PAGE = (Path(__file__).parents[1] / "docs" / "faults.md").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("SDS_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("SDS_CACHE", str(tmp_path / "cache"))
    precision = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(precision)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_gives_the_sentence_in_the_table(fault, tmp_path):
    assert f"| {fault} | {said(fault, tmp_path)} |\n" in PAGE


def test_the_table_holds_no_fault_that_is_not_made():
    assert PAGE.count("\n| ") == len(FAULTS) + 1
