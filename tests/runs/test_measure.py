"""The dense result is measured once for everything that it depends on."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import torch

from sds_core.runs import measure as module
from sds_core.runs.measure import measure_dense
from sds_core.runs.model_cache import ModelCache
from sds_core.runs.run_context import RunContext
from tests.small_runs import config


@pytest.fixture
def context(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunContext:
    monkeypatch.setenv("SDS_CACHE", str(tmp_path / "cache"))
    return ModelCache(keep_dense=False).context(config(tiny_folder))


@pytest.fixture
def measured(context: RunContext, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with every evaluation of the dense model."""
    seen, evaluate = list[int](), module.evaluate

    def counted(*args: Any) -> Generator[int, None, Any]:
        seen.append(len(seen))
        return (yield from evaluate(*args))

    monkeypatch.setattr(module, "evaluate", counted)
    return seen


def result(context: RunContext) -> Any:
    *_, last = _steps(measure_dense(context))
    return last


def _steps(work: Generator[Any, None, Any]) -> Generator[Any, None, None]:
    yield (yield from work)


def test_the_same_set_up_is_measured_once(context: RunContext, measured: list[int]) -> None:
    assert result(context) == result(context) and len(measured) == 1


@pytest.mark.parametrize("name", ["code_identity", "families", "machine"])
def test_other_code_or_another_machine_is_measured_again(
    context: RunContext, measured: list[int], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    result(context)
    monkeypatch.setattr(module, name, lambda *_: ("bloom",))
    result(context)
    assert len(measured) == 2


def test_another_number_of_threads_is_measured_again(context: RunContext, measured: list[int]) -> None:
    result(context)
    torch.set_num_threads(2)
    try:
        result(context)
    finally:
        torch.set_num_threads(1)
    assert len(measured) == 2


def test_another_attention_or_matmul_precision_is_measured_again(context: RunContext, measured: list[int]) -> None:
    result(context)
    context.loaded.model.set_attn_implementation("eager")
    result(context)
    torch.set_float32_matmul_precision("high")
    try:
        result(context)
    finally:
        torch.set_float32_matmul_precision("highest")
    assert len(measured) == 3
