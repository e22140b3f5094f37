"""The numbers of the Layer lab's picture, from a layer's way through the dense phase."""

from __future__ import annotations

from pages.ui.pictures import lab
from pages.ui.pictures.wire import pack_curve
from sds_core.lesson.curves import HIGH, LOW
from sds_core.lesson.lab import Course, State


def numbers(found: Course, view: int, present: bool) -> lab.Lab:
    """Return them.

    Args:
        found: the layer by round.
        view: the round to show; an unknown one means the last.
        present: whether it is for a projector.
    """
    return lab.Lab(
        view=lab.View(view),
        dense=pack_curve(found.dense.curve),
        low=LOW,
        high=HIGH,
        first=lab.Errors(found.first.seen, found.first.held_out),
        solved=lab.Errors(found.solved.seen, found.solved.held_out),
        rounds=tuple(lab.Round(one.number, _state(one.redense), _state(one.pruned)) for one in found.rounds),
        present=present,
    )


def _state(state: State) -> lab.State:
    return lab.State(pack_curve(state.curve), state.seen, state.held_out, state.zeros, state.changed)
