"""The numbers of the Walk's picture, from a question and the examples' answer."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from pages.ui.pictures import walk
from pages.ui.pictures.wire import pack_codes, pack_curve
from sds_core.lesson.curves import HIGH, LOW
from sds_core.lesson.findings import Finding
from sds_core.lesson.pictures import Bar, Bars, Distribution, MaskCorner, round_end
from sds_core.lesson.questions import STEPS, Choice, Multiple, Share, Step
from sds_core.pruning.bins import NEAR_ZERO

KEYS = "abcdefgh"
"""Names of options in the address."""
MARGIN = 1.05
"""The axis ends at least at this multiple of the highest suggested guess."""
GROUP = 4
"""Weights between two lines in a mask of the examples' pattern."""


def titles() -> tuple[str, ...]:
    """Return the titles of all steps."""
    return tuple(step.title for step in STEPS)


def view(number: int, guess: str, shown: str) -> walk.View:
    """Return the selection in the address; a guess that the question does not offer is ignored."""
    asked = STEPS[number - 1].guess
    if isinstance(asked, Choice):
        known = guess in KEYS[: len(asked.options)] and len(guess) == 1
    else:
        known = guess.isascii() and guess.isdigit() and len(guess) < 5
    return walk.View(number, guess if known else "", shown == "1")


def step(number: int, found: Finding) -> walk.Step:
    """Return a question with the numbers of its answer."""
    one = STEPS[number - 1]
    return walk.Step(number, one.before, one.question, found.said, one.why, _answer(one, found))


def _answer(one: Step, found: Finding) -> walk.Bars | walk.Rank | walk.Shape | walk.Share:
    match one.guess, found.picture:
        case Choice() as choice, Bars() as bars:
            assert found.right is not None
            return walk.Rank(
                rows=_rows(bars),
                options=tuple(walk.Option(name) for name, _ in choice.options),
                presets=_keys(choice),
                right=KEYS[found.right],
                top=bars.top,
            )
        case Choice() as choice, Distribution(after=list(after)) as drawn:
            assert found.right is not None
            return walk.Shape(
                options=tuple(
                    walk.Option(name, note, pack_curve(sketch))
                    for (name, note), sketch in zip(choice.options, drawn.sketches, strict=True)
                ),
                presets=_keys(choice),
                right=KEYS[found.right],
                dense=pack_curve(drawn.dense),
                after=pack_curve(after),
                zeros=drawn.zeros,
                low=LOW,
                high=HIGH,
                stage="sparse",
                does="pruned by Wanda, 2:4",
                layer=drawn.layer,
            )
        case Multiple(presets), Bars() as bars:
            assert found.value is not None
            last = bars.known[-1].perplexity
            highest = round_end(MARGIN * last * max(times for times, _ in presets))
            return walk.Bars(
                rows=_rows(bars),
                presets=tuple(walk.Preset(str(round(times * last)), name) for times, name in presets),
                value=found.value,
                top=max(bars.top, highest),
                start=round(last),
                about="words to choose from",
            )
        case Share() as share, Distribution() | MaskCorner() as drawn:
            assert found.value is not None
            return _share(share, drawn, found.value)
    raise AssertionError("every prediction has its picture")


def _share(asked: Share, drawn: Distribution | MaskCorner, value: float) -> walk.Share:
    top = max(asked.top, 10 * -(-round(1.25 * value) // 10))
    common = walk.Share(
        presets=tuple(walk.Preset(str(one), f"{one} of 100") for one in asked.presets),
        value=value,
        top=top,
        start=asked.top // 2,
        stage="dense",
        caption="",
        does=asked.picture,
        about=asked.of,
    )
    if isinstance(drawn, MaskCorner):
        return replace(
            common,
            stage="final",
            caption=f"a corner of one layer’s mask: {drawn.layer}",
            mask=pack_codes(drawn.codes),
            rows=drawn.rows,
            columns=drawn.columns,
            group=GROUP,
        )
    return replace(
        common,
        stage="dense" if drawn.after is None else "redense",
        caption=f"the weights of one layer: {drawn.layer}",
        dense=pack_curve(drawn.dense),
        after=None if drawn.after is None else pack_curve(drawn.after),
        near=NEAR_ZERO,
        low=LOW,
        high=HIGH,
    )


def _keys(choice: Choice) -> tuple[walk.Preset, ...]:
    return tuple(walk.Preset(key) for key in KEYS[: len(choice.options)])


def _rows(bars: Bars) -> tuple[walk.Bar, ...]:
    def row(bar: Bar, role: Literal["known", "asked"]) -> walk.Bar:
        return walk.Bar(bar.name, bar.kind, bar.perplexity, role, bar.of or None, bar.ratio, bar.error)

    return tuple(row(bar, "known") for bar in bars.known) + tuple(row(bar, "asked") for bar in bars.asked)
