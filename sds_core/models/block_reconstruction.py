"""Adjust parts of a pruned block: the kept weights of all layers in a window together, towards its dense output.

A layer that is solved by itself aims at its own output; only here do the interactions of layers count (a gate
multiplies, a softmax divides, all add up in the residual stream). Masks stay. The idea is block reconstruction, as in
EBFT (Guo et al., arXiv 2402.12419), with another target and another measure of the error.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import fmean

import torch
from torch import Tensor, nn

from sds_core.errors import SDSError
from sds_core.models.block_change import BlockChange
from sds_core.models.block_parts import Part, output_of, parameters_of, parts_of, target_outputs
from sds_core.models.hidden_states import HiddenStates
from sds_core.models.linear import Linear
from sds_core.models.placement import on_device
from sds_core.models.stream import Stream
from sds_core.models.structure import Block
from sds_core.pruning.layer_problem import Pruned
from sds_core.pruning.reconstruction import Reconstruction

WORSE = 1e300
"""Recorded for an error that is not finite."""
LOSS_SCALE = 1024.0
"""Loss scale: Adam's steps are invariant to it, and small gradients survive in float16."""


def adjust_block(
    stream: Stream,
    block: Block,
    dense: Mapping[str, Tensor],
    pruned: Mapping[str, Pruned],
    plan: Reconstruction,
    *,
    teacher_outputs: Sequence[HiddenStates] | None = None,
    beta: float = 0.0,
    held_out: int = 0,
) -> tuple[dict[str, Pruned], BlockChange]:
    """Adjust the kept weights of a block, part by part; each sees the parts before it as they have become.

    Args:
        stream: in front of the block; not advanced.
        block: its layers pruned.
        dense: its layers' dense weights, by label.
        pruned: its layers' weights and masks, by label.
        plan: the window, and how far it is adjusted.
        teacher_outputs: outputs of its parts in the dense model.
        beta: the teacher's share of the target.
        held_out: number of windows, the last ones, that the optimiser does not see.

    Returns:
        Its layers' weights and masks by label, for each part the given ones if these were better; and
        the errors, the mean over parts.

    Raises:
        SDSError: an error is not finite to begin with.
    """
    found, changes = dict(pruned), list[BlockChange]()
    parts = parts_of(block, plan.window, stream)
    for number, part in enumerate(parts):
        weights = {linear: found[linear.label].weight for linear in block.linears}
        aim = weights | {linear: dense[linear.label] for linear in part.linears}
        targets = target_outputs(stream, block, part, aim, teacher_outputs[number] if teacher_outputs else None, beta)
        better, change = _adjust_part(stream, block, part, found, targets, plan, held_out)
        found |= better
        changes.append(change)
    if len(changes) == 1:
        return found, changes[0]
    after = fmean(change.after if change.kept else change.before for change in changes)
    return found, BlockChange(fmean(change.before for change in changes), after)


def _adjust_part(
    stream: Stream,
    block: Block,
    part: Part,
    pruned: Mapping[str, Pruned],
    targets: HiddenStates,
    plan: Reconstruction,
    held_out: int,
) -> tuple[dict[str, Pruned], BlockChange]:
    """Take steps of Adam, one per window; return the part's layers, none if the error did not fall.

    The weights move in float32 and are cast to the model's precision wherever they are used, so that they move towards
    what the model will do with them. Judged on the windows that were held out, where there are any.
    """
    seen = len(targets) - held_out
    judged = range(seen, len(targets)) or range(seen)
    with on_device(block.module, stream.device, stream.structure.store), frozen(block.module), torch.enable_grad():
        free = {linear: pruned[linear.label].weight.float().clone().requires_grad_() for linear in part.linears}
        others = {linear: pruned[linear.label].weight for linear in block.linears if linear not in free}

        def error(window: int) -> Tensor:
            masked = {linear: weight * pruned[linear.label].mask for linear, weight in free.items()}
            target = targets[window].to(stream.device)
            output = output_of(
                block.module, part.module, parameters_of(others | masked), *stream.arguments(window)
            ).float()
            return ((output - target).square().sum(-1) / target.square().sum(-1).clamp_min(1e-12)).mean()

        def judge() -> float:
            with torch.no_grad():
                return sum(torch.stack([error(window) for window in judged]).tolist()) / len(judged)

        before = judge()
        if not math.isfinite(before):
            raise SDSError(
                f"the outputs of {block.name} are not finite, so it cannot be adjusted as a whole",
                cure="load the model in float32, or leave blocks as they are: --reconstruct matrix",
            )
        _descend(free, error, seen, plan, block.index)
        after = judge()
        change = BlockChange(before, after if math.isfinite(after) else WORSE)
    if not change.kept:
        return {}, change
    masks = {linear.label: pruned[linear.label].mask for linear in part.linears}
    return {one.label: Pruned(w.detach() * masks[one.label], masks[one.label]) for one, w in free.items()}, change


def _descend(
    free: Mapping[Linear, Tensor], error: Callable[[int], Tensor], windows: int, plan: Reconstruction, seed: int
) -> None:
    """Adam on the weights of the layers, in place, on the first `windows` windows, shuffled anew in every epoch."""
    rates = [{"params": [weight], "lr": plan.rate * kept_size(weight.detach())} for weight in free.values()]
    optimiser = torch.optim.Adam(rates, betas=(0.9, 0.95))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=plan.epochs * windows)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(plan.epochs):
        for window in torch.randperm(windows, generator=generator).tolist():
            optimiser.zero_grad()
            loss = LOSS_SCALE * error(window)
            if loss.requires_grad:  # else no token of the window reaches these layers, which are experts
                loss.backward()
            gradients = [weight.grad for weight in free.values() if weight.grad is not None]  # none: an expert at rest
            finite = [gradient.isfinite().all() for gradient in gradients]  # float16 may overflow in one window
            if not finite or torch.stack(finite).all():
                optimiser.step()
            schedule.step()


def kept_size(weight: Tensor) -> float:
    """Return the root mean square of the weights that are not zero."""
    return float(weight.norm()) / max(int(weight.count_nonzero()), 1) ** 0.5


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """No gradients are computed for a module's own parameters inside the `with`."""
    asked = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in asked:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in asked:
            parameter.requires_grad_(True)
