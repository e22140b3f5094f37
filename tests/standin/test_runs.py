"""Whole runs on the stand-in: measured, in phases, interrupted, short of memory, without float64."""

from collections.abc import Iterator

import pytest
import torch
from safetensors.torch import load_file

from sds_core.models import device as devices
from sds_core.models import stream
from sds_core.models.hidden_states import HostHiddenStates
from sds_core.models.structure import find_blocks
from sds_core.pruning.conformance import failures
from sds_core.pruning.precision import has_float64
from sds_core.pruning.reading import fetch
from sds_core.pruning.sparsegpt import SparseGPT
from sds_core.runs.branch import as_parent, branch
from sds_core.runs.checkpoint import unpacked_mask
from sds_core.runs.new_run import create
from sds_core.runs.run_folder import Run
from tests.models.families import build, texts
from tests.small_runs import config, disk_full_at, finish, work_here
from tests.standin import runs
from tests.standin.device import NAME, Standin

STAGED = {"method": "sds-admm", "options": {"rounds": 2}, "schedule": "staged"}


@pytest.fixture
def place(device: Standin, monkeypatch: pytest.MonkeyPatch, runs_root) -> str:
    """The stand-in's name, by which it can be picked like any accelerator."""
    monkeypatch.setattr(devices, "ACCELERATORS", (NAME,))
    return NAME


def agree(one: Run, other: Run) -> None:
    """Check that two runs stored and measured the same, but for rounding, by which near ties may fall otherwise.

    Weights of a row in which none did are near, for an earlier layer may have another mask; where masks are not
    stored, most rows are.
    """
    paths = [path.relative_to(one.folder) for path in sorted(one.folder.glob("phase?/*.safetensors"))]
    assert len(paths) >= 3
    for path in paths:
        mine, its = load_file(one.folder / path), load_file(other.folder / path)
        assert mine.keys() == its.keys()
        for name in (name for name in mine if name.endswith(".weight")):
            far = ((mine[name] - its[name]).abs() > 0.1 * mine[name].std()).any(1)
            if (mask := name.replace(".weight", ".mask")) in mine:
                moved = unpacked_mask(mine[mask], mine[name].shape) != unpacked_mask(its[mask], its[name].shape)
                assert moved.double().mean() <= 0.01, (path, name)
                assert not far[~moved.any(1)].any(), (path, name)
            else:
                assert far.double().mean() < 0.1, (path, name)
    for stage, measured in one.result().perplexity.items():
        assert measured.losses == pytest.approx(other.result().perplexity[stage].losses, rel=1e-4), stage


def test_interrupted_phases_give_the_cpus_weights_and_perplexities(place, tiny_folder, monkeypatch) -> None:
    expected = finish(create(config(tiny_folder, device="cpu", **STAGED)))
    run = create(config(tiny_folder, device=place, **STAGED, phase=1))
    with disk_full_at("block-001"):
        work_here([run])
    assert run.state() == "failed"
    finish(run)
    for phase in (2, 3):
        run = finish(create(branch(run.config, {}, as_parent(run, phase - 1))))
    assert run.model().device == f"{NAME}:0"
    agree(expected, run)


def test_weights_on_disk_change_nothing(place, tiny_folder) -> None:
    chosen = {"method": "sds-admm", "options": {"rounds": 2}, "samples": 4, "held_out": 1}
    expected = finish(create(config(tiny_folder, device="cpu", **chosen)))
    agree(expected, finish(create(config(tiny_folder, device=place, weights="disk", **chosen))))


def test_hidden_states_that_do_not_fit_wait_on_the_host(device: Standin, monkeypatch) -> None:
    windows = texts(6, 16, seed=2)
    streams = []
    for free in (1 << 40, 0):
        monkeypatch.setattr(stream, "available_memory", lambda _, free=free: free)
        streams.append(
            stream.capture(find_blocks(build("llama")), stream.batches(windows, device.device), device.device)
        )
    here, there = streams
    assert isinstance(here.hidden, list) and isinstance(there.hidden, HostHiddenStates)
    fork = there.fork()
    for one in streams:
        one.advance()
    for own, other in zip(here.hidden, there.hidden, strict=True):
        assert own.device == other.device == device.device and torch.equal(own.cpu(), other.cpu())
    assert not torch.equal(fork.hidden[0].cpu(), there.hidden[0].cpu()) and len(there.hidden.empty()) == 0


def test_batches_keep_held_out_windows_apart(device: Standin, monkeypatch) -> None:
    monkeypatch.setattr(stream, "BATCH", 40)
    windows = texts(7, 16)
    parts = stream.batches(windows, device.device, held_out=2)
    assert [len(part) for part in parts] == [2, 2, 1, 2] and torch.equal(torch.cat(parts), windows)
    assert [len(part) for part in stream.batches(windows, torch.device("cpu"), held_out=2)] == [1] * 7


def test_tensors_of_all_kinds_travel_together(device: Standin) -> None:
    tensors = [torch.tensor([1.5, -2.0]), torch.tensor(7, dtype=torch.uint8), torch.tensor([[3], [4]]), torch.empty(0)]
    device.reset()
    found = fetch([tensor.to(device.device) for tensor in tensors] + tensors[:1])
    assert device.counts()[::2] == (8 + 1 + 16, 1)
    assert all(
        torch.equal(mine, its) and mine.dtype == its.dtype
        for mine, its in zip(found, [*tensors, tensors[0]], strict=True)
    )


@pytest.fixture
def without_float64(device: Standin) -> Iterator[torch.device]:
    """The stand-in, which refuses float64."""
    has_float64.cache_clear()
    with device.without_float64():
        yield device.device
    has_float64.cache_clear()


@pytest.mark.parametrize("case", [("base", "sparsegpt", "2:4", {}), ("sds-admm", "wanda", "2:4", {"rounds": 4})])
def test_what_needs_float64_is_done_on_the_cpu(without_float64: torch.device, case) -> None:
    assert not has_float64(without_float64)
    *names, options = case
    expected, found = runs.on_cpu(*names, tuple(options.items())), runs.prune(without_float64, *names, options)
    for name, weight in expected.weights.items():
        assert torch.allclose(found.weights[name], weight, rtol=0, atol=1e-4 * float(weight.abs().max())), name
    for mine, its in zip(found.rows, expected.rows, strict=True):
        assert mine.loss == pytest.approx(its.loss, rel=1e-3, abs=1e-5)
        assert mine.kurtosis == pytest.approx(its.kurtosis, rel=1e-3)


def test_the_conformance_suite_runs_without_float64(without_float64: torch.device) -> None:
    assert not failures(SparseGPT(), without_float64)
