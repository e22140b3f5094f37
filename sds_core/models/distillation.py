"""Distil a pruned model: all its kept weights together, towards the dense model's next-token distributions.

The teacher is the model itself with its dense weights; the student is the same model called with other parameters.
Masks stay: gradients of pruned weights are zero, and so is what Adam makes of them.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sds_core.errors import SDSError
from sds_core.models.block_reconstruction import LOSS_SCALE, frozen, kept_size
from sds_core.models.device import available_memory
from sds_core.models.divergence import divergence
from sds_core.models.free_parameters import free_parameters
from sds_core.models.linear import Linear
from sds_core.models.placement import moved
from sds_core.models.structure import ModelStructure
from sds_core.pruning.layer_problem import Pruned
from sds_core.pruning.reconstruction import Distillation

POINTS = 8
"""Times that the held-out windows are read on the way."""
PIECE = 256
"""Tokens of a step: longer windows are cut, for more and cheaper steps gain more than longer contexts."""
WARM_UP = 0.1
"""Share of the steps that grow to their full length, while Adam knows too little of the gradients."""
STATE = ("weight", "exp_avg", "exp_avg_sq")
"""Tensors of a checkpoint for each parameter: its weight, and Adam's means of gradients and of their squares."""
WEIGHT_BYTES = 27
"""Bytes for each prunable weight: weight, gradient, two means, the best so far (4 each), the mask; in half precision
the student's weight, its gradient and the teacher's weight (2 each)."""
LOGITS = 4
"""Copies of a window's logits, in float32 at most: both models', a gradient before and after its scaling."""


@dataclass(frozen=True)
class Step:
    """One step of distillation and its losses."""

    number: int
    """From 1; 0 is the pruned model as it was."""
    loss: float | None
    """KL divergence of the student from the teacher on the step's piece, nats per token, before the step; None where it
    is not finite."""
    held_out: float | None
    """The same on held-out windows after the step, where it was measured."""


def pieces(length: int) -> tuple[int, int]:
    """Return into how many pieces a window is cut, and the tokens of each."""
    count = max(1, length // PIECE)
    return count, length // count


def memory_needed(structure: ModelStructure, length: int, device: torch.device) -> int:
    """Return the bytes that distilling takes besides the dense model, which a GPU has to hold, too."""
    weights = WEIGHT_BYTES * structure.prunable
    shapes = [linear.shape for block in structure.blocks for linear in block.linears]
    passed = 4 * pieces(length)[1] * sum(rows + columns for rows, columns in shapes)
    logits = 4 * LOGITS * length * structure.model.config.get_text_config().vocab_size
    there = 0 if device.type == "cpu" else structure.total * structure.model.dtype.itemsize
    return weights + passed + logits + there


def require_memory(structure: ModelStructure, length: int, device: torch.device) -> None:
    """Refuse a model that cannot be distilled in the memory that is free.

    Raises:
        SDSError: it is too large, or its weights rest on disk.
    """
    needed, free = memory_needed(structure, length, device) / 1e9, available_memory(device) / 1e9
    cure = "take a smaller model, shorter windows or more memory, or leave it one-shot: --reconstruct without model"
    if structure.store.kind == "disk":
        raise SDSError(
            f"distilling needs the whole model in memory and {needed:.1f} GB beside it; its weights rest on disk",
            cure=cure,
        )
    if needed > free:
        raise SDSError(f"distilling needs {needed:.1f} GB of memory, {free:.1f} GB are free", cure=cure)


class Distiller:
    """A distillation under way; `advance` takes a step, and `state` is all that it needs to go on elsewhere."""

    def __init__(
        self,
        structure: ModelStructure,
        pruned: Callable[[Linear], Pruned],
        windows: Tensor,
        held_out: Tensor,
        plan: Distillation,
        device: torch.device,
        autocast: torch.dtype | None = None,
    ):
        """
        Args:
            structure: the model, its weights dense; they stay.
            pruned: gives each linear's weight and mask to begin with.
            windows: token ids (n, T) to learn from, one piece of a window a step.
            held_out: token ids (m, T) that decide which weights are kept.
            plan: how far to go.
            device: where the work is done.
            autocast: the precision of products in a float32 model, where it is another one.
        """
        self._structure, self._pruned, self._plan = structure, pruned, plan
        count, tokens = pieces(windows.shape[1])
        self._pieces = windows[:, : count * tokens].reshape(-1, tokens)
        self._held_out, self._device, self._autocast = held_out, device, autocast
        self._free = free_parameters(structure, pruned, device, autocast)
        self._teacher: dict[str, Tensor] = {}
        groups = [
            {"params": [one.weight], "size": kept_size(one.weight.detach() * one.mask)} for one in self._free.values()
        ]
        self._adam = torch.optim.Adam(groups, lr=0.0, betas=(0.9, 0.95), eps=1e-8 * LOSS_SCALE, fused=True)
        self.step, self.steps = 0, plan.epochs * len(self._pieces)
        self.before, self.best_at, self.best = math.nan, 0, math.inf
        self._best: dict[str, Tensor] = {}
        for one in self._free.values():
            means = {key: torch.zeros_like(one.weight, requires_grad=False) for key in STATE[1:]}
            self._adam.state[one.weight] = {"step": torch.tensor(0.0, device=device), **means}

    @contextmanager
    def on_device(self) -> Iterator[None]:
        """The dense model is on the device inside the `with`, without gradients."""
        model = self._structure.model
        with frozen(model), moved(model.modules(), self._device):
            for name, one in self._free.items():  # rounded once, where autocast would round them in every step
                dense = model.get_parameter(name)
                if dense.dtype != one.used.dtype:
                    self._teacher[name] = dense.detach().to(one.used.dtype)
            yield
            self._teacher.clear()

    def begin(self) -> Step:
        """Measure the pruned model as it is.

        Raises:
            SDSError: its divergence from the dense model is not finite.
        """
        self.before = self.best = self._judge()
        if not math.isfinite(self.before):
            raise SDSError("the pruned model's logits are not finite, so it cannot be distilled", cure="use float32")
        return Step(0, None, self.before)

    def advance(self) -> Step:
        """Take one step on one piece; every now and then, and after the last, read the held-out windows."""
        for group in self._adam.param_groups:
            falling = 0.5 * (1 + math.cos(math.pi * self.step / self.steps))
            rising = min(1.0, (self.step + 1) / (WARM_UP * self.steps + 1))
            group["lr"] = self._plan.rate * group["size"] * falling * rising
        with torch.enable_grad():
            loss = self._divergence(self._pieces[self._piece()])
            if loss.requires_grad:  # else none of its tokens reaches the layers, which are experts
                (LOSS_SCALE * loss).backward()
        sums = torch.stack([one.receive().sum() for one in self._free.values()])
        if sums.isfinite().all():  # float16 may overflow in one window
            self._adam.step()
        self._adam.zero_grad()
        for one in self._free.values():
            one.renew()
        self.step += 1
        return Step(self.step, _finite(loss.item()), self._measured())

    def state(self) -> dict[str, Tensor]:
        """All that changes on the way, as tensors by name."""
        found: dict[str, Tensor] = {}
        for name, one in self._free.items():
            kept = {"weight": one.weight.detach(), **self._adam.state[one.weight]}
            found |= {f"{name}.{key}": kept[key].cpu() for key in STATE}
        if self.best_at not in (0, self.step):
            found |= {f"{name}.best": weight.cpu() for name, weight in self._best.items()}
        taken = next(iter(self._adam.state.values()))["step"]
        numbers = [self.step, float(taken), self.best_at, self.before, self.best]
        return found | {"numbers": torch.tensor(numbers, dtype=torch.float64)}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a `state`."""
        step, taken, best_at, self.before, self.best = state["numbers"].tolist()
        self.step, self.best_at = int(step), int(best_at)
        with torch.no_grad():
            for name, one in self._free.items():
                one.weight.copy_(state[f"{name}.weight"])
                one.renew()
                own = self._adam.state[one.weight]
                own["step"].fill_(taken)
                for key in STATE[1:]:
                    own[key].copy_(state[f"{name}.{key}"])
                if self.best_at:
                    self._best[name] = state.get(f"{name}.best", one.weight.detach()).to(self._device, copy=True)

    def result(self, linear: Linear) -> Pruned:
        """Return a linear's weights at the best point, and its mask."""
        given = self._pruned(linear)
        if self.best_at == 0:
            return given
        stored = self._best[linear.parameter_name].cpu()
        found = Pruned(linear.view(stored).clone(), given.mask)
        assert bool((found.weight[~found.mask] == 0).all()), f"a pruned weight of {linear.name} has moved"
        return found

    def _piece(self) -> int:
        """Return the piece of the next step: all of them, shuffled anew in every epoch."""
        epoch, place = divmod(self.step, len(self._pieces))
        generator = torch.Generator().manual_seed(epoch)
        return int(torch.randperm(len(self._pieces), generator=generator)[place])

    def _measured(self) -> float | None:
        if self.step < self.steps and self.step % math.ceil(self.steps / POINTS):
            return None
        error = self._judge()
        if error < self.best:
            self.best, self.best_at = error, self.step
            self._best = {name: one.weight.detach().clone() for name, one in self._free.items()}
        return _finite(error)

    def _judge(self) -> float:
        with torch.no_grad():
            return sum(float(self._divergence(window)) for window in self._held_out) / len(self._held_out)

    def _divergence(self, window: Tensor) -> Tensor:
        """KL(dense ‖ pruned) of the next-token distributions, the mean over the tokens of a window (T,)."""
        with torch.autocast(self._device.type, self._autocast, enabled=self._autocast is not None):
            with torch.no_grad():
                wanted = self._logits(self._teacher, window)
            made = self._logits({name: one.used for name, one in self._free.items()}, window)
        return divergence(made, wanted)

    def _logits(self, parameters: dict[str, Tensor], window: Tensor) -> Tensor:
        """Logits (T, vocabulary) of the model with other parameters."""
        asked: dict[str, Any] = {"use_cache": False}
        found: Tensor = torch.func.functional_call(
            self._structure.model, parameters, (window[None].to(self._device),), asked
        ).logits[0]
        return found


def _finite(loss: float) -> float | None:
    return loss if math.isfinite(loss) else None
