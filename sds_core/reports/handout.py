"""The Walk on one printed page: every question with its answer, as one self-contained HTML file."""

from collections.abc import Callable

import pandas as pd

from sds_core.errors import SDSError
from sds_core.figures.layer import HEADROOM, SHOWN, centres, density, zeros
from sds_core.figures.markup import html
from sds_core.figures.style import STAGE_COLOURS
from sds_core.lesson.evidence import Evidence, name_of_layer
from sds_core.lesson.glossary import GLOSSARY
from sds_core.lesson.questions import STEPS, Step
from sds_core.pruning.stages import LAYER_STAGES, STAGE_NAMES

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""The browser itself refuses any request and any script."""
STYLE = """
@page { size: A4; margin: 11mm }
body { font: 11px/1.3 system-ui, sans-serif; color: #1d2127; background: #fff; max-width: 710px; margin: 1.5em auto;
  padding: 0 1em }
h1 { font-size: 17px; margin: 0 0 .3em } h2 { font-size: 12px; margin: 0 0 .1em }
p { margin: .15em 0 } section { break-inside: avoid; margin: 0 0 .75em }
.steps { columns: 2; column-gap: 22px } .small { color: #555b65; font-size: 10px }
svg { width: 100%; height: auto }
@media print { body { margin: 0; padding: 0; max-width: none } }
"""
WORDS = ("perplexity", "mask", "2:4", "output error")
"""Of the glossary, what a reader needs to understand the page without the app."""
PICTURED = "sds-admm-wanda"
"""The example whose weights are drawn."""
WIDTH, ROW = 680, 32
"""Size of the picture and of one stage in it, in its own units."""


def handout(read: Callable[..., Evidence]) -> str:
    """The page; where an example is missing, it says so.

    Args:
        read: returns the examples with some names; an `SDSError` that it raises takes the place of the answer.
    """
    parts = [_step(number, step, read) for number, step in enumerate(STEPS, 1)]
    try:
        picture = _picture(read(PICTURED).layer(PICTURED))
    except SDSError:
        picture = ""  # the steps that look at this run have said why
    words = " ".join(f"<b>{html(word)}</b>: {html(GLOSSARY[word])}" for word in WORDS)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f"<title>What pruning does to a language model</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        "<h1>What pruning does to a language model</h1>\n"
        f'<div class="steps">\n{"".join(parts)}</div>\n{picture}\n<p class="small">{words}</p>\n'
        '<p class="small">Sparse-Dense-Sparse: Li et al., COLING 2025, arXiv 2408.10473. Every number is from a '
        "finished run of SDS Studio on its demo model: one seed, one text.</p>\n</body>\n</html>\n"
    )


def _step(number: int, step: Step, read: Callable[..., Evidence]) -> str:
    try:
        found = step.find(read(*step.runs))
        answer = f"<b>{html(found.said)}</b> {html(found.details)}</p><p>{html(step.why)}"
    except SDSError as error:
        answer = f"<b>No answer here:</b> {html(str(error))}"
    asked = f"<h2>{number} · {html(step.title)}</h2><p>{html(step.before)} <i>{html(step.question)}</i></p>"
    return f"<section>{asked}<p>{answer}</p></section>\n"


def _picture(layer: pd.DataFrame) -> str:
    """The stages of one layer under each other, each on the scale of the dense weights."""
    rows = {s: layer[(layer["stage"] == s) & (layer["round"] == 0)] for s in LAYER_STAGES}
    curves = {stage: row.iloc[-1] for stage, row in rows.items() if not row.empty}
    top = HEADROOM * max(density(curves["dense"]))
    drawn = [_curve(i, stage, row, top) for i, (stage, row) in enumerate(curves.items())]
    return (
        f'<svg viewBox="0 0 {WIDTH} {ROW * len(drawn)}" role="img" aria-label="Histograms of one layer by stage">'
        f'{"".join(drawn)}</svg>\n<p class="small">The weights of {html(name_of_layer(layer))}, SDS with memory, from '
        f"−{SHOWN:g} to {SHOWN:g} standard deviations; exact zeros are in the label, peaks are cut at the top.</p>"
    )


def _curve(i: int, stage: str, row: pd.Series, top: float) -> str:
    """One stage: an area over its own base line, with its name and share of zeros."""
    base = ROW * (i + 1) - 2
    points = [
        f"{(x + SHOWN) / (2 * SHOWN) * WIDTH:.1f},{base - min(y / top, 1) * (ROW - 6):.1f}"
        for x, y in zip(centres(), density(row), strict=True)
        if abs(x) <= SHOWN
    ]
    area = f'<polygon points="0,{base} {" ".join(points)} {WIDTH},{base}" fill="{STAGE_COLOURS[stage]}" opacity="0.7"/>'
    label = f"{STAGE_NAMES[stage]}: {100 * zeros(row):.1f} % zeros"
    return f'{area}<text x="4" y="{base - ROW / 2:.0f}" font-size="12" font-family="sans-serif">{label}</text>'
