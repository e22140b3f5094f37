"""Render how models read and continue a text, as HTML in which all text is escaped.

Blue where a model expected a token more than the dense model did, orange where less; grey, for the dense model itself,
where it did not expect it. The colours are translucent, so that they suit light and dark pages, and tooltips give the
numbers behind them.
"""

from collections.abc import Sequence

from sds_core.figures import style
from sds_core.figures.markup import html
from sds_core.texts.query import PromptReading, TextResult

FULL = 4.0
"""Nats of difference at which the colour is full: the token was e⁴ ≈ 55 times less, or more, likely."""
FULL_LOSS = 12.0
"""Nats of the dense model's own loss at which the grey is full."""
STRONGEST = 0.6
"""Opacity of a full colour; the text of either theme stays readable on it."""
LESS, MORE = style.STAGE_COLOURS["sparse"], style.STAGE_COLOURS["redense"]
UNEXPECTED = style.STAGE_COLOURS["dense"]
SHOWN = (-FULL, -FULL / 2, 0.0, FULL / 2, FULL)
"""Differences that the legend shows."""
FIRST = "the first token: there is no context to predict it from"
BOX = "white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.6"


def beside(result: TextResult, number: int, sampled: bool = False) -> str:
    """Return a card for every model: the prompt with its tokens coloured, and the model's continuation.

    Args:
        result: of a query.
        number: of the prompt, from 0.
        sampled: whether to show the sampled continuation instead of the greedy one, which is faded as far as it agrees
            with the dense model's.
    """
    pieces = result.pieces[number]
    (name, dense), *others = _prompts(result, number)
    cards = [_card(name, f"{dense.mean:.2f} nats a token", _surprises(pieces, name, dense), *_next(dense, sampled))]
    for name, reading in others:
        note = f"{reading.mean:.2f} nats a token, {reading.mean - dense.mean:+.2f}"
        read = _differences(pieces, name, reading, dense)
        cards.append(_card(name, note, read, *_next(reading, sampled, dense)))
    return _grid(cards)


def _prompts(result: TextResult, number: int) -> list[tuple[str, PromptReading]]:
    """Return every model's name and reading of one prompt, the dense model's first."""
    return [(reading.name, reading.prompts[number]) for reading in result.readings]


def legend() -> str:
    """The legend of the colours, from expected more to expected less."""
    steps = [_mark(f"&ensp;{above:+.0f}&ensp;" if above else "&ensp;0&ensp;", *_shade(above)) for above in SHOWN]
    grey = _mark("&ensp;not expected&ensp;", UNEXPECTED, STRONGEST)
    return (
        f'<div style="line-height: 1.7; font-size: 14px">Nats against the dense model: expected more {"".join(steps)} '
        f"expected less. Dense model: {grey}</div>"
    )


def _surprises(pieces: Sequence[str], name: str, dense: PromptReading) -> str:
    tokens = [_token(pieces[0], FIRST)] if pieces else []
    for piece, loss in zip(pieces[1:], dense.losses, strict=True):
        tokens.append(_token(piece, f"{loss:.2f} nats", UNEXPECTED, STRONGEST * min(loss / FULL_LOSS, 1.0)))
    return _text(tokens, name)


def _differences(pieces: Sequence[str], name: str, reading: PromptReading, dense: PromptReading) -> str:
    tokens = [_token(pieces[0], FIRST)] if pieces else []
    above = reading.above(dense)
    for piece, loss, base, more in zip(pieces[1:], reading.losses, dense.losses, above, strict=True):
        tooltip = f"{loss:.2f} nats, {more:+.2f} against the dense model’s {base:.2f}"
        tokens.append(_token(piece, tooltip, *_shade(more)))
    return _text(tokens, name)


def _next(reading: PromptReading, sampled: bool, dense: PromptReading | None = None) -> tuple[str, str]:
    """Return a note on a continuation, and the continuation."""
    if sampled:
        drawn = reading.sampled or ()
        return f"draws {_counted(drawn)}", _continuation(drawn, 0)
    same = reading.agreed(dense) if dense else 0
    note = f"adds {_counted(reading.continuation)}"
    return note + (f", {same} as dense" if dense else ""), _continuation(reading.continuation, same)


def _continuation(tokens: Sequence[str], same: int) -> str:
    shared, own = "".join(tokens[:same]), "".join(tokens[same:])
    return f'<div style="{BOX}">…<span style="opacity: 0.7">{html(shared)}</span><span>{html(own)}</span></div>'


def _counted(tokens: Sequence[str]) -> str:
    return f"{len(tokens)} {'token' if len(tokens) == 1 else 'tokens'}"


def _shade(above: float) -> tuple[str, float]:
    """Colour and opacity of a difference in nats."""
    return LESS if above > 0 else MORE, STRONGEST * min(abs(above) / FULL, 1.0)


def _token(piece: str, tooltip: str, colour: str = UNEXPECTED, opacity: float = 0.0) -> str:
    """Render one token, with visible signs for line breaks, tabs, and parts of a character."""
    shown = html(piece).replace("\n", "↵\n").replace("\t", "⇥\t") or "·"
    return _mark(shown, colour, opacity, f"{piece!r}: {tooltip}")


def _mark(shown: str, colour: str, opacity: float, title: str = "") -> str:
    """Render text on a background; isolated, so that a change of writing direction ends with its token."""
    look = f"background: {style.see_through(colour, opacity)}; unicode-bidi: isolate"
    return f'<span title="{html(title)}" style="{look}">{shown}</span>'


def _text(tokens: list[str], name: str) -> str:
    label = f"The text as read by {name}; the table has the numbers"
    return f'<div role="img" aria-label="{html(label)}" style="{BOX}">{"".join(tokens)}</div>'


def _card(name: str, note: str, read: str, follows: str, written: str) -> str:
    """Render a model's card; its five parts align with those of the cards beside it."""
    quiet = '<div style="opacity: 0.75">{}</div>'.format
    head = f'<div style="font-weight: 600; font-size: 15px">{html(name)}</div>{quiet(html(note))}'
    look = "border-top: 2px solid rgba(128, 128, 128, 0.35); padding-top: 6px; display: grid; row-gap: 4px"
    lines = "grid-row: span 5; grid-template-rows: subgrid"
    body = f"{head}{read}{quiet(html(follows))}{written}"
    return f'<section aria-label="{html(name)}" style="{look}; {lines}">{body}</section>'


def _grid(cards: list[str]) -> str:
    """Arrange cards in rows, as many in each as the page has room for."""
    look = "display: grid; gap: 4px 16px; grid-template-columns: repeat(auto-fit, minmax(9.6rem, 1fr)); font-size: 14px"
    return f'<div style="{look}">{"".join(cards)}</div>'
