"""Addresses of absurd length: a page opens all the same."""

import pytest

ABSURD = ("9" * 5000, "x" * 50_000, "-1", "\N{ARABIC-INDIC DIGIT FIVE}.q")
PARAMETERS = {
    "run": ("run",),
    "compare": ("runs", "a", "b"),
    "micro": ("seed", "step", "pruner"),
    "studio": ("experiment", "layer", "round", "stage", "run", "show"),
    "text": ("runs", "prompts", "prompt", "tokens", "temperature", "sampling-seed"),
    "lab": ("run", "layer", "round"),
    "walk": ("guess", "shown", "question"),
}


@pytest.mark.parametrize("absurd", ABSURD, ids=lambda text: f"{text[0]}-{len(text)}")
@pytest.mark.parametrize("page", PARAMETERS)
def test_an_absurd_address_opens_the_page(page, absurd, finished, app):
    at = app(f"pages/{page}.py", **dict.fromkeys(PARAMETERS[page], absurd))
    assert not at.exception
