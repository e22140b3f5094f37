"""How models read and go on with a text, as HTML that holds nothing of the text unescaped.

Blue where a model expected a token more than the dense model did, orange where less; grey, for the dense model itself,
where it did not expect it. The colours are see-through, so that they serve light and dark pages, and the numbers that
they stand for appear where one points at a token.
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
FIRST = "the first token: nothing comes before it to expect it from"
BOX = "white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.75"


def read(result: TextResult, number: int) -> str:
    """One prompt, once for every model, beside each other where there is room, its tokens in colour."""
    pieces = result.pieces[number]
    (name, dense), *others = _prompts(result, number)
    cards = [_card(name, f"mean loss {dense.mean:.2f} nats", _surprises(pieces, name, dense))]
    for name, reading in others:
        note = f"mean loss {reading.mean:.2f} nats, {reading.mean - dense.mean:+.2f} against dense"
        cards.append(_card(name, note, _differences(pieces, name, reading, dense)))
    return _grid(cards)


def written(result: TextResult, number: int) -> str:
    """The continuations of one prompt, model by model, faded as far as it is the dense model's text too."""
    (name, dense), *others = _prompts(result, number)
    cards = [_card(name, _counted(dense.continuation), _continuation(dense.continuation, 0))]
    for name, reading in others:
        same = reading.agreed(dense)
        note = f"{_counted(reading.continuation)}, as dense for {same}"
        cards.append(_card(name, note, _continuation(reading.continuation, same)))
    return _grid(cards)


def sampled(result: TextResult, number: int) -> str:
    """The sampled continuations of one prompt, model by model."""
    drawn = [(name, reading.sampled or ()) for name, reading in _prompts(result, number)]
    return _grid([_card(name, _counted(tokens), _continuation(tokens, 0)) for name, tokens in drawn])


def _prompts(result: TextResult, number: int) -> list[tuple[str, PromptReading]]:
    """Every model's name and what it made of one prompt, the dense model's first."""
    return [(reading.name, reading.prompts[number]) for reading in result.readings]


def legend() -> str:
    """The legend of the colours, from expected more to expected less."""
    steps = [_mark(f"&ensp;{above:+.0f}&ensp;" if above else "&ensp;0&ensp;", *_shade(above)) for above in SHOWN]
    grey = _mark("&ensp;not expected&ensp;", UNEXPECTED, STRONGEST)
    return (
        f'<div style="line-height: 2">Against the dense model, nats: expected more {"".join(steps)} expected less. '
        f"Dense model: {grey}</div>"
    )


def _surprises(pieces: Sequence[str], name: str, dense: PromptReading) -> str:
    tokens = [_token(pieces[0], FIRST)] if pieces else []
    for piece, loss in zip(pieces[1:], dense.losses, strict=True):
        tokens.append(_token(piece, f"{loss:.2f} nats", UNEXPECTED, STRONGEST * min(loss / FULL_LOSS, 1.0)))
    return _text(tokens, name)


def _differences(pieces: Sequence[str], name: str, reading: PromptReading, dense: PromptReading) -> str:
    tokens = [_token(pieces[0], FIRST)] if pieces else []
    above = reading.above(dense)
    for piece, loss, its, more in zip(pieces[1:], reading.losses, dense.losses, above, strict=True):
        told = f"{loss:.2f} nats, {more:+.2f} against the dense model’s {its:.2f}"
        tokens.append(_token(piece, told, *_shade(more)))
    return _text(tokens, name)


def _continuation(tokens: Sequence[str], same: int) -> str:
    shared, own = "".join(tokens[:same]), "".join(tokens[same:])
    return f'<div style="{BOX}">…<span style="opacity: 0.62">{html(shared)}</span><span>{html(own)}</span></div>'


def _counted(tokens: Sequence[str]) -> str:
    return f"{len(tokens)} {'token' if len(tokens) == 1 else 'tokens'}"


def _shade(above: float) -> tuple[str, float]:
    """Colour and opacity of a difference in nats."""
    return LESS if above > 0 else MORE, STRONGEST * min(abs(above) / FULL, 1.0)


def _token(piece: str, told: str, colour: str = UNEXPECTED, opacity: float = 0.0) -> str:
    """One token; what the eye would not see of it gets a sign: line breaks, tabs, and parts of a character."""
    shown = html(piece).replace("\n", "↵\n").replace("\t", "⇥\t") or "·"
    return _mark(shown, colour, opacity, f"{piece!r}: {told}")


def _mark(shown: str, colour: str, opacity: float, title: str = "") -> str:
    """Something on a background; isolated, so that a sign that turns the writing direction ends with its token."""
    look = f"background: {style.see_through(colour, opacity)}; unicode-bidi: isolate"
    return f'<span title="{html(title)}" style="{look}">{shown}</span>'


def _text(tokens: list[str], name: str) -> str:
    label = f"The text as read by {name}; the table has the numbers"
    return f'<div role="img" aria-label="{html(label)}" style="{BOX}">{"".join(tokens)}</div>'


def _card(name: str, note: str, body: str) -> str:
    head = f'<div style="font-weight: 600">{html(name)}</div><div style="opacity: 0.75">{html(note)}</div>'
    style = "border: 1px solid rgba(128, 128, 128, 0.35); border-radius: 0.4rem; padding: 0.75rem"
    return f'<section aria-label="{html(name)}" style="{style}">{head}{body}</section>'


def _grid(cards: list[str]) -> str:
    """Cards beside each other, as many in a row as the page has room for."""
    style = "display: grid; gap: 0.75rem; grid-template-columns: repeat(auto-fit, minmax(16rem, 1fr))"
    return f'<div style="{style}">{"".join(cards)}</div>'
