"""Adjust a pruned block as a whole: the kept weights of all its layers together, towards the dense block's output.

A layer that is solved by itself aims at its own output; what layers do to one another (a gate multiplies, a softmax
divides, all add up in the residual stream) is seen here only. Masks stay. The idea is block reconstruction, as in EBFT
(Guo et al., arXiv 2402.12419), with another target and another measure of the error.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from sds_core.errors import SDSError
from sds_core.models.block_change import BlockChange
from sds_core.models.hidden_states import HiddenStates
from sds_core.models.linear import Linear
from sds_core.models.stream import Stream, on_device
from sds_core.models.structure import Block, hidden_of
from sds_core.pruning.layer_problem import Pruned

RATE = 0.0015
"""Length of the first steps, in units of the root mean square of a layer's kept weights; it falls to 0 by a cosine."""
WORSE = 1e300
"""Stands for an error that is not finite, which no record could hold."""
LOUDER = 1024.0
"""Factor on what is differentiated: Adam's steps do not feel it, and small gradients survive in float16."""


def wanted_outputs(stream: Stream, teacher: Stream | None, beta: float) -> HiddenStates:
    """Return the target outputs of the next, still dense block for every window, (1, T, C) each, in float32.

    As for layers (`LayerProblem.shift`), a share of what it adds is the teacher's: h + (1 − β)·F(h) + β·F(h_dense),
    where F is what the dense block adds, h the hidden states in the pruned model and h_dense those in the dense one.
    """
    block, store = stream.structure.blocks[stream.position].module, stream.structure.store
    wanted = store.hidden_states()
    with on_device(block, stream.device, store):
        for window, hidden in enumerate(stream.hidden):
            output = stream.replay(window, block).float().cpu()
            if teacher is not None:
                taught = teacher.replay(window, block).float().cpu() - teacher.hidden[window].float()
                output += beta * (taught - (output - hidden.float()))
            wanted.append(output)
    return wanted


def adjust_block(
    stream: Stream, block: Block, pruned: Mapping[str, Pruned], wanted: HiddenStates, *, epochs: int, held_out: int
) -> tuple[dict[str, Pruned], BlockChange]:
    """Steps of Adam, one a window, on the kept weights of a block together.

    The weights move in float32 and are cast to the model's precision wherever they are used, so that they move towards
    what the model will do with them. Judged on the windows that were held out, where there are any.

    Args:
        stream: in front of the block; not advanced.
        block: its layers pruned.
        pruned: its layers' weights and masks, by label.
        wanted: what it should make of every window (`wanted_outputs`).
        epochs: passes over the calibration windows.
        held_out: so many of the last windows are for judging only.

    Returns:
        Its layers' weights and masks by label, those that were given if they were the better ones, and the errors.

    Raises:
        SDSError: the error is not finite to begin with.
    """
    seen = len(wanted) - held_out
    judged = range(seen, len(wanted)) or range(seen)
    with on_device(block.module, stream.device, stream.structure.store), _frozen(block.module), torch.enable_grad():
        free = {linear: pruned[linear.label].weight.float().clone().requires_grad_() for linear in block.linears}

        def error(window: int) -> Tensor:
            masked = {linear: weight * pruned[linear.label].mask for linear, weight in free.items()}
            target = wanted[window].to(stream.device)
            args, kwargs = stream.arguments(window)
            made = hidden_of(torch.func.functional_call(block.module, _parameters(masked), args, kwargs)).float()
            return ((made - target).square().sum(-1) / target.square().sum(-1).clamp_min(1e-12)).mean()

        def judge() -> float:
            with torch.no_grad():
                return sum(float(error(window)) for window in judged) / len(judged)

        before = judge()
        if not math.isfinite(before):
            raise SDSError(
                f"the outputs of {block.name} are not finite, so it cannot be adjusted as a whole",
                cure="load the model in float32, or leave blocks as they are: --block-epochs 0",
            )
        _descend(free, error, seen, epochs, block.index)
        after = judge()
        change = BlockChange(before, after if math.isfinite(after) else WORSE)
    if not change.kept:
        return dict(pruned), change
    found = {linear.label: weight.detach() * pruned[linear.label].mask for linear, weight in free.items()}
    return {label: Pruned(weight, pruned[label].mask) for label, weight in found.items()}, change


def _parameters(weights: Mapping[Linear, Tensor]) -> dict[str, Tensor]:
    """Return a block's parameters by name, given weights (R, C) of its linears; other experts' are as they are."""
    found: dict[str, Tensor] = {}
    experts: dict[str, list[Tensor]] = {}
    for linear, weight in weights.items():
        stored = linear.laid_out(weight.to(linear.weight.dtype))
        if linear.expert is None:
            found[linear.place] = stored
        else:
            experts.setdefault(linear.place, list(linear.parameter.data))[linear.expert] = stored
    return found | {place: torch.stack(slices) for place, slices in experts.items()}


def _descend(
    free: Mapping[Linear, Tensor], error: Callable[[int], Tensor], windows: int, epochs: int, seed: int
) -> None:
    """Adam on the weights of the layers, in place, on the first `windows` windows, shuffled anew in every epoch."""
    rates = [{"params": [weight], "lr": RATE * _size(weight.detach())} for weight in free.values()]
    optimiser = torch.optim.Adam(rates, betas=(0.9, 0.95))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=epochs * windows)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for window in torch.randperm(windows, generator=generator).tolist():
            optimiser.zero_grad()
            (LOUDER * error(window)).backward()
            gradients = [weight.grad for weight in free.values() if weight.grad is not None]  # none: an expert at rest
            if all(gradient.isfinite().all() for gradient in gradients):  # float16 may overflow in one window
                optimiser.step()
            schedule.step()


def _size(weight: Tensor) -> float:
    """Root mean square of the weights that are not zero."""
    return float(weight.norm()) / max(int(weight.count_nonzero()), 1) ** 0.5


@contextmanager
def _frozen(block: nn.Module) -> Iterator[None]:
    """No gradients are computed for a block's own parameters inside the `with`."""
    asked = [parameter for parameter in block.parameters() if parameter.requires_grad]
    for parameter in asked:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in asked:
            parameter.requires_grad_(True)
