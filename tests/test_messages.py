"""The table of error messages holds what the product says today."""

from pathlib import Path

import pytest
import torch

from benchmarks.messages import FAULTS, message

PAGE = (Path(__file__).parents[1] / "docs" / "messages.md").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("SDS_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("SDS_CACHE", str(tmp_path / "cache"))
    precision = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(precision)


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_gives_the_message_in_the_table(fault, tmp_path):
    assert f"| {fault} | {message(fault, tmp_path)} |\n" in PAGE


def test_table_has_one_row_per_fault():
    assert PAGE.count("\n| ") == len(FAULTS) + 1
