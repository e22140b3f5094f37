"""The Studio's options: presets and what they cost, texts, controls, and the same on the command line."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import streamlit as st

from pages.ui import layout, options, outlook, own_text
from sds_core.errors import SDSError

if TYPE_CHECKING:
    from pages.ui.studio_choice import Choice
    from sds_core.options import Overrides
    from sds_core.runs.config import RunConfig
    from sds_core.runs.experiment import Experiment

TEXTS = ("calibration", "evaluation")
"""Options that a preset leaves alone."""
SOURCES = {
    "self": "text that the model has written itself, so no data is needed",
    "python-docs": "Python’s documentation, which is on every computer that has Python",
}
"""The texts that need no file, in words."""


def show(choice: Choice | None, experiment: Experiment | None) -> None:
    """Show the button for all other options, and what they cost.

    Args:
        choice: the choices on the page, if they do not contradict each other.
        experiment: the one that they belong to.
    """
    from pages.ui import studio_choice
    from sds_core.runs.presets import PRESETS

    with st.popover("Options", width="content"):
        st.segmented_control(
            "Preset",
            list(PRESETS),
            key="studio-preset",
            on_change=_apply_preset,
            help="Fills in a named recipe and leaves the texts alone; then change it.",
        )
        if choice:
            st.caption(" · ".join(_cost_of_preset(name, choice) for name in PRESETS))
        st.markdown("Controls: methods without a dense phase, to compare with")
        studio_choice.controls()
        options.choose_shared(studio_choice.ticked_methods())
        if choice:
            st.caption(_texts_in_words(choice.settings))
        own_text.upload(choice.settings if choice else None)
        if choice and experiment:
            _plan(choice, experiment)


def next_runs(experiment: Experiment, choice: Choice) -> list[RunConfig]:
    """Return what the phase button would run."""
    from sds_core.runs.planned import planned

    configs = planned(experiment, choice.variants)
    return [one for one in configs if one.phase == configs[0].phase]


def _plan(choice: Choice, experiment: Experiment) -> None:
    """Show the runs that the buttons will start, their cost, and the same on the command line."""
    from sds_core.runs.planned import planned
    from sds_core.runs.run_command import command

    left, following = planned(experiment, choice.variants), next_runs(experiment, choice)
    lines = [outlook.device_fault(choice.settings) or f"It runs on {outlook.device(choice.settings.device)}."]
    if left:
        lines.append(f"Phase {left[0].phase}, {_runs(following)}: {_small(outlook.cost(following))}")
    if len(left) > len(following):
        lines.append(f"All that is left, {_runs(left)}: {_small(outlook.cost(left))}")
    st.caption("  \n".join(map(layout.plain, lines)))
    everything = planned(dataclasses.replace(experiment, members=()), choice.variants)
    st.markdown("The same on the command line, phase by phase:")
    st.code("\n".join(map(command, everything)), language=None, wrap_lines=True)


def _runs(configs: list[RunConfig]) -> str:
    return "1 run" if len(configs) == 1 else f"{len(configs)} runs"


def _small(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


def _cost_of_preset(name: str, choice: Choice) -> str:
    """Return what a preset reads, and how long that takes where earlier runs tell, or why it is not for these texts."""
    from pages.ui import studio_choice
    from sds_core.runs.experiment import Experiment
    from sds_core.runs.planned import planned
    from sds_core.runs.presets import PRESETS

    try:
        settings = dataclasses.replace(choice.settings, **_shared(name))
        bases = list(dict.fromkeys(one.pruner for one in choice.variants))
        asked = PRESETS[name].get("options", {})
        methods = {one: options.differing(one, asked) for one in studio_choice.ticked_methods()}
        variants = studio_choice.variants_of(settings, bases, methods)
    except SDSError as error:
        return f"**{name}** is not for these texts: {layout.plain(str(error))}"
    read = (settings.samples + settings.held_out) * settings.length
    measured = f"{settings.eval_windows * settings.eval_length:,}" if settings.eval_windows else "the whole text"
    found = outlook.forecast(planned(Experiment("x", settings), variants))
    time = "" if found.unknown else f", {_small(outlook.about(found.seconds))} for what is ticked"
    return f"**{name}** reads {read:,} tokens, is measured on {measured}{time}"


def _shared(preset: str) -> Overrides:
    """Return a preset's options that all runs of an experiment share; those that another one names have defaults."""
    from sds_core.options import options_of
    from sds_core.runs.config import RunConfig
    from sds_core.runs.phases import PLAIN
    from sds_core.runs.presets import PRESETS

    named = {name for one in PRESETS.values() for name in one} - {"method", "schedule", "options", *TEXTS}
    known = options_of(RunConfig)
    return PLAIN | {name: PRESETS[preset].get(name, known[name].default) for name in named}


def _apply_preset() -> None:
    """Fill in the preset that was pressed; its button is none that stays, for options can be changed after it."""
    from pages.ui import studio_choice
    from sds_core.runs.presets import PRESETS

    if preset := st.session_state["studio-preset"]:
        values = _shared(preset) | {"options": PRESETS[preset].get("options", {})}
        options.apply_to_methods(values, studio_choice.ticked_methods())
        st.session_state["studio-preset"] = None


def _texts_in_words(settings: RunConfig) -> str:
    """Return what samples, length and the names of texts mean, with the numbers that are chosen."""
    held = f", and {settings.held_out} more that no solver sees" if settings.held_out else ""
    named = [f"“{layout.plain(text)}”" for text in (settings.calibration, settings.evaluation)]
    notes = [f" ({SOURCES[text]})" if text in SOURCES else "" for text in (settings.calibration, settings.evaluation)]
    return (
        f"The layers are solved on {settings.samples} windows (samples) of {settings.length} tokens (length){held}, "
        f"from {named[0]}{notes[0]}. Perplexity is measured on {settings.eval_windows or 'all'} windows of "
        f"{settings.eval_length} tokens from {named[1]}{notes[1]}. A token is a word or a piece of one."
    )
