"""The Studio's numbers of a model that is distilled after its phases: how far it is, its curve, what it gained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pages.ui.pictures import studio
from pages.ui.pictures.measured import Change, Perplexity
from pages.ui.pictures.wire import pack_values
from sds_core.pruning.perplexity import compare
from sds_core.runs.distillation_curve import steps_of_record

if TYPE_CHECKING:
    from sds_core.runs.experiment_record import ExperimentRecord
    from sds_core.runs.variant import Variant


def distilled(record: ExperimentRecord, variant: Variant) -> studio.Distilled | None:
    """Return a variant's last phase; None where it is not to be distilled."""
    if 4 not in variant.phase_numbers:
        return None
    found, before = record.stage(variant, "distilled"), record.stage(variant, "final")
    if 3 not in variant.phase_numbers:
        before = record.stage(variant, "sparse")
    measured, one_shot = found.perplexity, before.perplexity
    steps = steps_of_record(found.record.events) if found.record else []
    change = None
    if measured and one_shot:
        gain = compare(measured.perplexity, one_shot.perplexity)
        change = Change(gain.ratio - 1, gain.ratio * gain.error, "its one-shot model")
    shown = None
    if measured:
        paired = measured.against_dense
        shown = Perplexity(measured.value, paired.ratio, paired.ratio * paired.error)
    return studio.Distilled(
        done=steps[-1].step if steps else 0,
        of=steps[-1].of if steps else 0,
        seen=pack_values(step.loss for step in steps),
        held_out=pack_values(step.held_out for step in steps),
        perplexity=shown,
        change=change,
        why=None if measured else found.reason,
    )
