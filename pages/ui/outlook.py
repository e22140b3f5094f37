"""The cost of runs before they start: time, memory and disk, from earlier runs on this machine; the model's files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from sds_core.errors import SDSError

if TYPE_CHECKING:
    from sds_core.models.check_model import LocalModel
    from sds_core.runs.config import RunConfig
    from sds_core.runs.estimate import Forecast, PastRun

UNKNOWN = "No run like this one has finished on this machine yet, so how long it takes is not known."


def forecast(configs: Sequence[RunConfig]) -> Forecast:
    """Return the forecast for runs, one after the other."""
    from sds_core.runs import estimate
    from sds_core.runs.run_folder import Run, ids, root

    stamps = []
    for name in ids()[: estimate.LOOKED_AT]:
        result = Run(root() / name).result_path
        if result.exists():
            stamps.append((name, result.stat().st_mtime_ns))
    return estimate.forecast(configs, _past(str(root()), tuple(stamps)))


@st.cache_resource(max_entries=2, show_spinner=False)
def _past(root: str, stamps: tuple[tuple[str, int], ...]) -> list[PastRun]:
    from sds_core.runs.estimate import past_runs
    from sds_core.runs.run_folder import Run

    return past_runs(Run(Path(root) / name) for name, _ in stamps)


def cost(configs: Sequence[RunConfig]) -> str:
    """Return the cost of runs, in a sentence."""
    from sds_core.runs.names import name_of

    found = forecast(configs)
    if len(found.unknown) == len(configs):
        return UNKNOWN
    disk = f"{found.disk / 1e6:,.0f} MB of disk" if found.disk else "no disk for weights"
    sentence = f"{about(found.seconds)}, {found.memory / 1e9:.1f} GB of memory, {disk}, judging by earlier runs here"
    if found.unknown:
        names = dict.fromkeys(f"phase {one.phase} of {name_of(one)}" for one in found.unknown)
        sentence += f"; without {', '.join(names)}, of which none has finished here yet"
    return f"{sentence}."


def about(seconds: float) -> str:
    """Return a time in words."""
    from sds_core.runs.progress import duration

    words = duration(seconds)
    return words[:1].upper() + words[1:]


def device(name: str) -> str:
    """Describe one of this machine's devices and its free memory."""
    from sds_core.models.device import available_memory, describe, pick_device

    chosen = pick_device(name)
    return f"{describe(chosen)}, {available_memory(chosen) / 1e9:.1f} GB of memory free"


def device_fault(settings: RunConfig) -> str:
    """Return why nothing runs on the chosen device, which may be another machine's; empty where it does."""
    from sds_core.models.device import pick_device

    try:
        pick_device(settings.device)
    except SDSError as error:
        return str(error)
    return ""


def fault(settings: RunConfig) -> str:
    """Return why a model cannot be pruned with these settings, as far as its files tell; empty where it can."""
    from sds_core.models.check_model import check_calibration

    if wrong := device_fault(settings):
        return wrong
    if wrong := checked_model(settings.model)[1]:
        return wrong
    try:
        check_calibration(settings.model, settings.calibration)
    except SDSError as error:
        return str(error)
    return ""


def checked_model(name: str) -> tuple[LocalModel | None, str]:
    """Return what this machine has of a model, and why it cannot be pruned; looked at again when its files change."""
    return _checked(name, _stamp(name))


@st.cache_data(max_entries=32, show_spinner=False)
def _checked(name: str, stamp: tuple) -> tuple[LocalModel | None, str]:
    from sds_core.models.check_model import check_local

    try:
        return check_local(name), ""
    except SDSError as error:
        return None, str(error)


def _stamp(name: str) -> tuple:
    """Return a stamp that changes with the files that a model's name refers to."""
    from sds_core.files import cache_folder
    from sds_core.models.find_model import cached_folder, gguf_file, model_folder

    try:
        file = gguf_file(name)
        places = [file, *(cache_folder() / "models").glob("*")] if file else []
        if not file and (folder := model_folder(name) or cached_folder(name)):
            places = sorted(folder.iterdir())
        return tuple((one.name, one.stat().st_mtime_ns, one.stat().st_size) for one in places)
    except (SDSError, OSError):
        return ()
