"""The command line that equals a configuration."""

import shlex
from collections.abc import Sequence
from typing import Any

from sds_core.options import options_of
from sds_core.runs.config import FIXED_BY_PARENT, RunConfig
from sds_core.runs.plugin_flag import folder_flag


def command(config: RunConfig) -> str:
    """Return the command line that does the same as a run."""
    if config.experiment and config.parent:  # the experiment knows the parent, and all that a branch takes over
        inherited = [name for name in FIXED_BY_PARENT if name != "pruner"]
        return shlex.join(["python", "-m", "sds_core", "run", *flags(config, inherited)])
    origin = ["--from", config.parent.run] if config.parent else []
    return shlex.join(["python", "-m", "sds_core", "run", *flags(config), *origin])


def flags(config: RunConfig, without: Sequence[str] = ()) -> list[str]:
    """Return the flags of all options that are not at their defaults, except those in `without`."""
    words = []
    for name, declared in options_of(RunConfig).items():
        value = getattr(config, name)
        implied = name == "schedule" and config.phase in (1, 2, 3)
        if name not in without and not implied and value != declared.default:
            words += flag(name, value)
    for name, value in config.options.items():
        words += flag(name, value)
    return words if "pruner" in without else [*words, *folder_flag([config.pruner])]


def flag(name: str, value: Any) -> list[str]:
    """Return an option as words of the command line."""
    name = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{name}" if value else f"--no-{name}"]
    text = str(value)
    return [f"--{name}={text}"] if text.startswith("-") else [f"--{name}", text]  # else read as another option
