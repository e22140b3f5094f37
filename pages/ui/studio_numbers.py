"""The numbers of the Studio's picture, from an experiment's record and what is chosen in the address."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from pages.ui.model_layers import Model, cell, round_number
from pages.ui.pictures import studio
from pages.ui.pictures.measured import Cell, Change, Perplexity, Round, Stage
from pages.ui.pictures.wire import pack_values
from pages.ui.studio_distilled import distilled
from pages.ui.variant_labels import base_title, colors, keys, titles
from sds_core.pruning.titles import BASE
from sds_core.runs.events import Measuring
from sds_core.runs.experiment_record import PHASE_OF, StageRecord
from sds_core.runs.layer_numbers import HIGH, LOW, LayerNumbers
from sds_core.runs.progress import duration
from sds_core.runs.recorded_values import MeasuredPerplexity
from sds_core.runs.run_record import RunRecord
from sds_core.runs.variant import Variant

if TYPE_CHECKING:
    from sds_core.runs.experiment_record import ExperimentRecord

STAGES: tuple[Stage, ...] = ("sparse", "redense", "final")
QUANTITIES = (
    ("loss", "output error", "of the layer, on the calibration text, as a share of its dense output", True),
    ("held_out", "held-out error", "of the layer, on text that no solver has seen", True),
    ("mask_changed", "mask changed", "share of the first prune’s kept weights that are not kept here", False),
)
NO_ROUNDS = "Rounds appear here once phase 2 has finished this block."


class Reader:
    """Turns an experiment's record into the picture's numbers."""

    def __init__(self, record: ExperimentRecord, model: Model, dense: Callable[[int, str], LayerNumbers | None]):
        """
        Args:
            record: of the experiment.
            model: its layers.
            dense: gives a layer of the dense model where no run has recorded it yet.
        """
        self.record, self.model, self.dense = record, model, dense
        self.keys, self.colors = keys(record.variants), colors(record.variants)
        self.names = titles(record.variants)

    def view(self, asked: Mapping[str, str]) -> studio.View:
        """Return what is shown: what the address asks for where that exists, else the layer with the largest error."""
        run = asked.get("run", "")
        if run not in self.keys:
            run = self._newest()
        variant = self.record.variants[self.keys.index(run)]
        stages = [stage for stage in STAGES if PHASE_OF[stage] in variant.phase_numbers]
        done = [stage for stage in stages if self.record.stage(variant, stage).done]
        working = self._working_on()
        current = done[-1] if done else stages[0]
        if working and working[0] == run and working[1].stage in STAGES:
            current = working[1].stage
        stage = asked.get("stage", "")
        stage = stage if stage in STAGES else current
        follow = working is not None and asked.get("follow", "1") == "1"
        at = self._layer(asked, variant, done)
        if follow and working and (newest := working[1].done):
            at = (newest - 1) * len(self.model.linears) + at % len(self.model.linears)
        quantity = asked.get("show", "")
        quantity = quantity if quantity in [one[0] for one in QUANTITIES] else QUANTITIES[0][0]
        return studio.View(
            run=run,
            stage=stage,
            at=at,
            quantity=quantity,
            round=round_number(asked.get("round", "")),
            follow=follow,
        )

    def numbers(self, asked: Mapping[str, str], present: bool = False) -> studio.Studio:
        """Return the picture's numbers."""
        record, view = self.record, self.view(asked)
        variant = record.variants[self.keys.index(view.run)]
        stage: Stage = next((one for one in STAGES if one == view.stage), "sparse")
        if PHASE_OF[stage] not in variant.phase_numbers:
            stage = "sparse"
        block, linear = self.model.at(view.at)
        dense = record.dense_layer(block, linear) or self.dense(block, linear)
        measured = record.dense_perplexity()
        return studio.Studio(
            view=view,
            blocks=self.model.blocks,
            linears=self.model.linears,
            quantities=tuple(
                studio.Quantity(key, name, about, self._available(variant, stage, key), roots)
                for key, name, about, roots in QUANTITIES
            ),
            layer=studio.Layer(
                at=view.at,
                low=LOW,
                high=HIGH,
                dense=cell(dense, self.model.blocks if dense else 0),
                std=dense.dense_std if dense else None,
            ),
            map=self._map(view, variant, stage),
            runs=tuple(self._column(i, block, linear) for i in range(len(record.variants))),
            dense=Perplexity(measured.value) if measured else None,
            rounds=self._rounds(view.run, variant, block, linear),
            no_rounds=NO_ROUNDS if any(2 in one.phase_numbers for one in record.variants) else None,
            working=self._working(),
            live=self._working_on() is not None,
            present=present,
        )

    def _newest(self) -> str:
        """Return the variant that is worked on, else the last one that has gone furthest."""
        if working := self._working_on():
            return working[0]
        far = [
            sum(self.record.stage(one, s).done for s in STAGES if PHASE_OF[s] in one.phase_numbers) for one in self._all
        ]
        return self.keys[max(range(len(far)), key=lambda i: (far[i], i))]

    @property
    def _all(self) -> list[Variant]:
        return self.record.variants

    def _layer(self, asked: Mapping[str, str], variant: Variant, done: Sequence[Stage]) -> int:
        """Return the number of the layer that is asked for, else of the one with the largest error."""
        if (found := self.model.number(asked.get("layer", ""))) is not None:
            return found
        pruned = [stage for stage in done if stage != "redense"]
        values = self.record.values(self.record.stage(variant, pruned[-1]), "loss") if pruned else []
        known = [(value, at) for at, value in enumerate(values) if value is not None]
        return max(known, default=(0.0, 0))[1]

    def _column(self, i: int, block: int, linear: str) -> studio.RunColumn:
        variant, gain = self._all[i], self.record.gain(self._all[i])
        base = base_title(variant)
        cells: dict[Stage, Cell] = {}
        for stage in STAGES:
            if PHASE_OF[stage] in variant.phase_numbers:
                same = base if stage == "sparse" else None
                cells[stage] = self._stage_cell(self.record.stage(variant, stage), block, linear, same)
        return studio.RunColumn(
            key=self.keys[i],
            name=self.names[i],
            color=self.colors[i],
            cells=cells,
            base=variant.pruner if base else None,
            origin=base,
            change=Change(gain.ratio - 1, gain.ratio * gain.error, base) if gain and base else None,
            then=distilled(self.record, variant),
        )

    def _stage_cell(self, found: StageRecord, block: int, linear: str, same: str | None) -> Cell:
        layer = found.record.layer(block, linear, found.stage) if found.record else None
        measured = found.perplexity
        return cell(
            layer,
            found.done,
            perplexity=_perplexity(measured) if measured else None,
            same=same if measured else None,
            why=None if measured else found.reason,
        )

    def _available(self, variant: Variant, stage: Stage, quantity: str) -> bool:
        if quantity == "mask_changed" and stage != "final":
            return False
        found = self.record.stage(variant, stage)
        return found.record is not None and found.record.has(found.stage, quantity)

    def _map(self, view: studio.View, variant: Variant, stage: Stage) -> studio.ModelMap:
        found = self.record.stage(variant, stage)
        quantity = view.quantity if self._available(variant, stage, view.quantity) else "loss"
        every = (value for _, one in self.record.stages() for value in self.record.values(one, quantity))
        top = max((value for value in every if value is not None), default=0.0)
        if not found.done:
            return studio.ModelMap(stage=stage, quantity=quantity, top=top)
        rounds = None
        if stage != "sparse" and found.done == self.model.blocks and quantity != "held_out":
            source = self.record.stage(variant, "redense")
            numbers = source.record.rounds(*self.model.at(view.at)) if source.record else []
            of_rounds = StageRecord(stage, source.record)
            rounds = {n: pack_values(self.record.values(of_rounds, quantity, n)) for n in numbers[:-1]}
        return studio.ModelMap(
            stage=stage,
            quantity=quantity,
            top=top,
            run=view.run,
            values=pack_values(self.record.values(found, quantity)),
            rounds=rounds,
        )

    def _rounds(self, key: str, variant: Variant, block: int, linear: str) -> studio.Rounds | None:
        """Return the rounds of the chosen run, or of the last one that has some where it has none."""
        for one, name in [(variant, key), *reversed(list(zip(self._all, self.keys, strict=True)))]:
            record = self.record.stage(one, "redense").record if one.method != BASE else None
            if record and (numbers := record.rounds(block, linear)):
                rounds = [self._round(record, block, linear, number) for number in numbers]
                return studio.Rounds(run=name, list=tuple(rounds))
        return None

    def _round(self, record: RunRecord, block: int, linear: str, number: int) -> Round:
        free, pruned = (record.layer(block, linear, stage, number) for stage in ("redense", "pruned"))
        return Round(number, cell(free, self.model.blocks), cell(pruned, self.model.blocks))

    def _working_on(self) -> tuple[str, StageRecord] | None:
        """Return the variant and the stage that a run is working on."""
        record = self.record.working
        for variant, found in self.record.stages():
            if record is not None and found.record is record and found.stage == record.making:
                return self.keys[self._all.index(variant)], found
        return None

    def _working(self) -> studio.Working | None:
        if (found := self._working_on()) is None:
            return None
        key, stage = found
        assert stage.record is not None and stage.stage != "dense"
        return studio.Working(run=key, stage=stage.stage, doing=_doing(stage.record))


def _doing(record: RunRecord) -> str:
    """Return what a run does now, said after the number of finished blocks."""
    if record.state == "queued":
        return "waiting"
    status = record.progress()
    if status.current and status.current.seconds_left is not None:
        return f"{duration(status.current.seconds_left)} left"
    last = record.events[-1] if record.events else None
    if isinstance(last, Measuring):
        return f"measuring {last.what} model" if last.what == "dense" else "measuring"
    return ("distilling" if record.making == "distilled" else "pruning") if status.current else "loading"


def _perplexity(measured: MeasuredPerplexity) -> Perplexity:
    paired = measured.against_dense
    return Perplexity(measured.value, paired.ratio, paired.ratio * paired.error)
