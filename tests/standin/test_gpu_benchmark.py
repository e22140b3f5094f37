"""Every part of `benchmarks/gpu.py`, in small, on the stand-in."""

import re

import pytest
import torch

from benchmarks import gpu
from tests.standin.device import Standin

TINY = {"vocab_size": 96, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}


def test_without_a_gpu_it_says_so(monkeypatch, capsys) -> None:
    monkeypatch.setattr(gpu, "pick_device", lambda: torch.device("cpu"))
    monkeypatch.setattr("sys.argv", ["gpu.py"])
    assert gpu.main() == 2
    assert capsys.readouterr().out.startswith("There is no GPU here")


def test_peak_and_forward_are_timed(device: Standin) -> None:
    model = gpu.random_model(device.device, torch.bfloat16, TINY)
    assert model.device.type == "cpu" and model.dtype == torch.bfloat16
    assert gpu.bf16_peak(device.device, 16) > 0
    seconds, speed = gpu.forward_speed(gpu.find_blocks(model), gpu.drawn(model, 3, 16), device.device)
    assert seconds > 0 and speed > 0


def test_cpu_and_device_agree(device: Standin, monkeypatch) -> None:
    monkeypatch.setattr(gpu, "SMALL", TINY)
    equal, worst = gpu.agreement(device.device, "base", "wanda")
    assert equal == 1 and worst < 1e-4


def test_every_method_gets_a_row_while_there_is_time(device: Standin, monkeypatch, capsys) -> None:
    monkeypatch.setattr(gpu, "METHODS", gpu.METHODS[1:3])
    model = gpu.random_model(device.device, torch.float32, TINY)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    left = iter([100.0, 0.0])
    gpu.large(device.device, model, gpu.drawn(model, 6, 16), lambda: next(left))
    rows = [line for line in capsys.readouterr().out.splitlines() if " from " in line]
    assert len(rows) == 2 and "no time left" in rows[1]
    assert all(re.fullmatch(r"\| base from \w+ \|( [\d.]+ \|){4} not known \|", row) for row in rows[:1])
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(("equal", "passed", "code"), [(1.0, 0, 0), (0.9, 0, 1), (1.0, 1, 1)])
def test_exit_code_says_whether_it_is_right(device: Standin, monkeypatch, capsys, equal, passed, code) -> None:
    monkeypatch.setattr(gpu, "pick_device", lambda: device.device)
    monkeypatch.setattr(gpu, "describe", lambda device: "a stand-in")
    monkeypatch.setattr(gpu, "allow_fast_matmul", lambda device: "highest")
    monkeypatch.setattr(gpu.subprocess, "run", lambda *args, **kwargs: gpu.subprocess.CompletedProcess(args, passed))
    monkeypatch.setattr(gpu, "agreement", lambda *args: (equal, 0.0))
    monkeypatch.setattr(gpu, "LARGE", TINY)
    monkeypatch.setattr(gpu, "bf16_peak", lambda *args: 1e9)
    monkeypatch.setattr(gpu, "forward_speed", lambda *args: (1.0, 5e8))
    monkeypatch.setattr(gpu, "large", lambda *args: None)
    monkeypatch.setattr("sys.argv", ["gpu.py"])
    assert gpu.main() == code
    assert "50% of it" in capsys.readouterr().out
