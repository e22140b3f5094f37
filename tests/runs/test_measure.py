"""The dense result is measured once for everything that it depends on."""

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from sds_core.errors import SDSError
from sds_core.models.structure import find_blocks
from sds_core.runs import measure as module
from sds_core.runs.events import BlockFinished, Measuring, PerplexityMeasured
from sds_core.runs.measure import DenseEvaluation, measure_dense
from sds_core.runs.model_cache import ModelCache
from sds_core.runs.new_run import create
from sds_core.runs.run_context import RunContext
from tests.small_runs import config, finish


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


def test_a_stored_result_that_cannot_be_read_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SDSError, match=f"the dense result in {tmp_path} is broken: .*Is a directory"):
        module._cached(tmp_path, None)


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


def losses_of(context: RunContext) -> list[float]:
    """The dense model's losses by window, computed plainly."""
    with torch.no_grad():
        scores = context.loaded.model(context.evaluation).logits[:, :-1].double()
    return torch.nn.functional.cross_entropy(scores.mT, context.evaluation[:, 1:], reduction="none").mean(1).tolist()


def test_it_keeps_ahead_of_a_pass_that_changes_the_model(context: RunContext) -> None:
    losses = losses_of(context)
    dense, blocks = DenseEvaluation(context), context.structure.blocks
    for block in blocks:
        dense.reach(block.index)
        for parameter in block.module.parameters():
            parameter.data.zero_()
    assert dense.found is None
    (reported,) = dense.finish()
    assert reported == Measuring(what="dense", block=len(blocks) - 1, of=len(blocks))
    assert dense.found is not None
    assert dense.found.perplexity.losses == pytest.approx(losses, rel=1e-5)
    assert result(context) == dense.found


def test_where_blocks_share_a_weight_it_ends_before_the_first_changes(context: RunContext) -> None:
    first, *_, last = context.structure.blocks
    last.module.self_attn.q_proj.weight = first.module.self_attn.q_proj.weight
    context = replace(context, structure=find_blocks(context.loaded.model))
    losses, dense = losses_of(context), DenseEvaluation(context)
    for block in context.structure.blocks:
        dense.reach(block.index)
        for linear in block.linears:
            linear.write(torch.zeros(linear.shape))
    list(dense.finish())
    assert dense.found is not None
    assert dense.found.perplexity.losses == pytest.approx(losses, rel=1e-5)


def test_the_first_block_does_not_wait_for_it(context: RunContext, runs_root: Path) -> None:
    orders = []
    for seed in (1, 2):
        finish(run := create(config(context.loaded.folder, seed=seed)))
        events = [event for event in run.log.read() if isinstance(event, BlockFinished | PerplexityMeasured)]
        orders.append([event.stage for event in events])
    blocks = ["final"] * len(context.structure.blocks)
    assert orders == [[*blocks, "dense", "final"], ["dense", *blocks, "final"]]
