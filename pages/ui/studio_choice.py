"""The Studio's line of choices: model, pattern, base pruners, methods and options, kept in the session."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from pages.ui import layout, options
from sds_core.errors import SDSError
from sds_core.models.gguf_files import DEMO
from sds_core.pruning.titles import BASE, pruner_title
from sds_core.runs.job_folder import LIVE

if TYPE_CHECKING:
    from sds_core.pruning.registry import PrunerRegistry
    from sds_core.runs.config import RunConfig
    from sds_core.runs.experiment import Experiment
    from sds_core.runs.variant import Variant

MODEL, PATTERN, DEVICE = "option-model", "option-pattern", "option-device"
PRUNERS, METHODS, CONTROLS = "studio-pruners", "studio-methods", "studio-controls"
"""Keys of the widgets; model, pattern and device are those of every other page."""
QUICK = "quick"
"""The preset of a first experiment: minutes on a laptop."""
RECOMMENDED = {"HuggingFaceTB/SmolLM2-135M": 0.3, "HuggingFaceTB/SmolLM2-360M": 0.7, "Qwen/Qwen2.5-0.5B": 1.0}
"""Small models of the hub to begin with, and the gigabytes to download."""
PATTERNS = ("2:4", "4:8", "50%", "70%")


@dataclass(frozen=True)
class Choice:
    """The choices on the page."""

    settings: RunConfig
    variants: list[Variant]
    """Base pruners first; a method starts from every one that is ticked."""


def opened(known: list[Experiment]) -> Experiment | None:
    """Return the experiment in the address, else that of the last visit, else the newest with something to see."""
    asked = st.query_params.get("experiment")
    if asked is not None:
        found = next((one for one in known if one.name == asked), None)
        if found is None:
            layout.refuse(f"There is no experiment “{asked[:60]}”.")
            del st.query_params["experiment"]
        return found
    if "studio of" in st.session_state:  # switching pages drops the address; where there is none, one is being chosen
        return next((one for one in known if one.name == st.session_state["studio of"]), None)
    good = ("finished", *LIVE)
    return next((one for one in known if any(run.state() in good for run, _ in one.members)), None)


def choose(experiment: Experiment | None, pruners: PrunerRegistry) -> Choice | None:
    """Show the choices; None, with the reason on the page, where they contradict each other."""
    _take_over(experiment)
    names = list(dict.fromkeys([*pruners.names, *st.session_state[PRUNERS]]))
    _boxes()
    st.markdown("pruned by", width="content")
    _pills("Base pruners", names, pruner_title, PRUNERS)
    st.markdown("then", width="content")
    _pills("Methods", _methods(controls=False), _method_title, METHODS)
    ticked = [name for name in names if name in st.session_state[PRUNERS]]  # as they stand, not as they were ticked
    try:
        settings = _settings()
        variants = variants_of(settings, ticked, {method: options.of_method(method) for method in ticked_methods()})
    except SDSError as error:
        layout.refuse(error)
        return None
    if not variants:
        st.markdown(":orange[Tick a base pruner.]", width="content")
        return None
    return Choice(settings, variants)


def variants_of(settings: RunConfig, bases: list[str], methods: dict[str, dict[str, float]]) -> list[Variant]:
    """Return base pruners, and the methods with their options from each of them, adjusted as the settings say.

    Raises:
        SDSError: they contradict each other.
    """
    from sds_core.runs.phases import RECONSTRUCTED, beside_methods
    from sds_core.runs.variant import Variant

    adjusted = {name: getattr(settings, name) for name in RECONSTRUCTED}
    alone = [Variant(BASE, base, **beside_methods(adjusted)) for base in bases]
    return alone + [Variant(method, base, asked, **adjusted) for base in bases for method, asked in methods.items()]


def _methods(controls: bool) -> list[str]:
    """Return the two forms of SDS, or the methods without a dense phase, their controls."""
    from sds_core.pruning.methods import METHODS as KNOWN
    from sds_core.runs.variant import stepped_methods

    return [name for name in stepped_methods() if KNOWN[name].redenses != controls]


def ticked_methods() -> list[str]:
    """Return the methods that are ticked, controls among them."""
    return [*st.session_state[METHODS], *st.session_state[CONTROLS]]


def controls() -> None:
    """Show the methods without a dense phase, to be ticked."""
    _pills("Controls", _methods(controls=True), _method_title, CONTROLS)


def _boxes() -> None:
    """Model and pattern: chosen from what is known, or typed."""
    models = _models()
    st.selectbox(
        "Model",
        list(dict.fromkeys([*models, st.session_state[MODEL]])),
        key=MODEL,
        format_func=lambda name: models.get(name) or _called(name),
        accept_new_options=True,
        label_visibility="collapsed",
        width=210,
        help=None,
        persist_state="session",
    )
    st.selectbox(
        "Pattern",
        list(dict.fromkeys([*PATTERNS, st.session_state[PATTERN]])),
        key=PATTERN,
        accept_new_options=True,
        label_visibility="collapsed",
        width=88,
        persist_state="session",
    )


def _models() -> dict[str, str]:
    """Return the models to choose from, each with what to call it: demo, earlier runs, the hub cache, recommended."""
    from sds_core.files import in_units
    from sds_core.models.find_model import cached_models
    from sds_core.runs.run_folder import ids

    found = {DEMO: "demo · SmolLM2 135M"}
    for model in _seen(tuple(ids())):
        found.setdefault(model, _called(model))
    for model, size in cached_models().items():
        found[model] = f"{model} · {in_units(size)}, on this machine"
    for model, gigabytes in RECOMMENDED.items():
        found.setdefault(model, f"{model} · downloads {gigabytes} GB")
    return found


def _called(model: str) -> str:
    """Return what to call a model: of a folder's path, the end comes first, for the box is narrow."""
    return f"{Path(model).name} · {model}" if Path(model).is_absolute() else model


@st.cache_data(max_entries=4, show_spinner=False)
def _seen(names: tuple[str, ...]) -> list[str]:
    """Return the models of runs, the newest first."""
    from sds_core.runs.run_folder import open_run

    found = []
    for name in names:
        try:
            found.append(str(open_run(name).raw_config().get("model") or ""))
        except SDSError:
            continue
    return [model for model in dict.fromkeys(found) if model]


def _pills(label: str, names: list[str], called, key: str) -> None:
    st.pills(
        label,
        names,
        format_func=called,
        selection_mode="multi",
        key=key,
        label_visibility="collapsed",
        persist_state="session",
    )


def _method_title(name: str) -> str:
    from sds_core.pruning.methods import METHODS

    return METHODS[name].title


def _settings() -> RunConfig:
    """Return what all runs share, as one of them would be configured."""
    from sds_core.runs.config import RunConfig

    return RunConfig.from_dict(options.shared() | {"method": BASE, "title": "", "experiment": ""})


def _take_over(experiment: Experiment | None) -> None:
    """Let the widgets show an experiment that was just opened; on a first visit the quick preset."""
    from sds_core.runs.experiment import SHARED, WORKING
    from sds_core.runs.phases import PLAIN
    from sds_core.runs.presets import PRESETS

    shown = experiment.name if experiment else ""
    if st.session_state.get("studio of") == shown:
        return
    first = "studio of" not in st.session_state
    st.session_state["studio of"] = shown
    if experiment is None:
        if first:
            options.shared()
            options.apply_to_methods(PRESETS[QUICK], [])
            st.session_state.setdefault(PRUNERS, ["wanda"])
            st.session_state.setdefault(METHODS, ["sds"])
            st.session_state.setdefault(CONTROLS, [])
        return
    options.shared()
    values = experiment.settings.to_dict()
    options.apply_to_methods({name: values[name] for name in (*SHARED, *WORKING)}, [])
    variants = experiment.variants
    used = {one.method for one in variants}
    for one in variants:
        if one.method != BASE:
            options.apply_to_methods({"options": one.options}, [one.method])
    adjusted = [one.reconstruct_options for one in variants if any(one.windows)]
    options.apply_to_methods(adjusted[-1] if adjusted else PLAIN, [])
    st.session_state[PRUNERS] = [one.pruner for one in variants if one.method == BASE]
    st.session_state[CONTROLS] = [name for name in _methods(controls=True) if name in used]
    methods = [name for name in _methods(controls=False) if name in used]
    st.session_state[METHODS] = methods or ([] if st.session_state[CONTROLS] else ["sds"])
