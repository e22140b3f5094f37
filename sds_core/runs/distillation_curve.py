"""The curve of a distillation, from a run's record; importing this stays cheap, for pages poll it."""

from collections.abc import Sequence

from sds_core.runs.events import DistillationStarted, DistillationStep, Event, first, of_kind
from sds_core.runs.run_result import DistillationSummary


def steps_of_record(events: Sequence[Event]) -> list[DistillationStep]:
    """Return the steps so far, in order, without those that were lost in an interruption."""
    found: list[DistillationStep] = []
    for event in of_kind(events, DistillationStep):
        while found and found[-1].step >= event.step:
            found.pop()
        found.append(event)
    return found


def summary(events: Sequence[Event]) -> DistillationSummary | None:
    """Return what the steps came to; None where the held-out windows were never read."""
    judged = [(one.held_out, one.step) for one in steps_of_record(events) if one.held_out is not None]
    started = first(events, DistillationStarted)
    if started is None or not judged:
        return None
    after, kept = min(judged)
    return DistillationSummary(
        steps=started.steps,
        windows=started.windows,
        precision=started.precision,
        before=judged[0][0],
        after=after,
        kept=kept,
    )
