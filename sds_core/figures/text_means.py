"""Mean losses of a text query as HTML: a row per model, its loss above the dense model's with its error."""

import math

from sds_core.figures.markup import html
from sds_core.figures.palette import palette
from sds_core.pruning.perplexity import REACH
from sds_core.texts.query import TextReading, TextResult, compare_readings

ROW = "display: grid; grid-template-columns: minmax(0, 10rem) minmax(0, 1fr) 6.5rem; gap: 0.6rem; align-items: center"
LINE = "position: absolute; top: 0; bottom: 0; width: 0; border-left: 2px dotted currentColor; opacity: 0.6"
NAME = "overflow: hidden; text-overflow: ellipsis; white-space: nowrap"


def means(result: TextResult) -> str:
    """Return a row for every model but the dense one, which is the dotted line at 0.

    A dot is the mean difference of the loss over the tokens of all prompts, nats; its bar reaches `REACH` standard
    errors over prompts to both sides, and is missing where there is one prompt.
    """
    dense, *others = result.readings
    found = [compare_readings([reading], [dense]) for reading in others]
    errors = [0.0 if math.isnan(paired.error) else paired.error for paired in found]
    ends = [
        paired.log_ratio + side * REACH * error for paired, error in zip(found, errors, strict=True) for side in (-1, 1)
    ]
    low, high = min([0.0, *ends]), max([0.0, *ends])
    span = (high - low) or 1.0

    def at(value: float) -> float:
        return 2 + 96 * (value - low) / span

    rows = []
    for reading, paired, error, colour in zip(others, found, errors, _colours(others), strict=True):
        middle = at(paired.log_ratio)
        left, right = at(paired.log_ratio - REACH * error), at(paired.log_ratio + REACH * error)
        marks = f'<div style="{LINE}; left: {at(0):.1f}%"></div>'
        marks += _bar(left, right, colour) if error else ""
        marks += _dot(middle, colour)
        number = f"{paired.log_ratio:+.2f}".replace("-", "−")
        number += f" ± {error:.2f}" if error else ""
        rows.append(
            f'<div style="{ROW}"><div title="{html(reading.name)}" style="{NAME}; font-weight: 600">'
            f'{html(reading.name)}</div><div style="position: relative; height: 24px">{marks}</div>'
            f"<div>{number}</div></div>"
        )
    over = f" ± standard error over {len(result.prompts)} prompts; bar: {REACH} of it" if any(errors) else ""
    legend = f"nats a token above dense ({dense.mean:.2f}){over}"
    return f'<div style="font-size: 14px">{"".join(rows)}<div style="opacity: 0.75">{legend}</div></div>'


def _colours(readings: list[TextReading]) -> list[str]:
    """Return each model's colour in CSS, for light and dark pages."""
    named = palette().named()
    colours = palette().assign(reading.kind for reading in readings)
    return ["light-dark({}, {})".format(*named[name]) for name in colours]


def _bar(left: float, right: float, colour: str) -> str:
    place = f"position: absolute; top: 10px; height: 4px; border-radius: 2px; left: {left:.1f}%"
    return f'<div style="{place}; width: {right - left:.1f}%; background: {colour}"></div>'


def _dot(at: float, colour: str) -> str:
    place = f"position: absolute; top: 5px; width: 14px; height: 14px; border-radius: 7px; left: calc({at:.1f}% - 7px)"
    return f'<div style="{place}; background: {colour}"></div>'
