"""Flags of the command line, made from the declared options of runs and methods."""

import argparse
from collections.abc import Sequence
from typing import Any

from sds_core.options import Option, Overrides, options_of
from sds_core.pruning.methods import METHODS, option_names
from sds_core.runs.config import RunConfig
from sds_core.runs.presets import PRESETS


def add_options(parser: argparse.ArgumentParser, without: Sequence[str] = ()) -> None:
    """Add a flag for every option of `RunConfig` and of a method; the namespace holds only those given."""
    parser.add_argument("--preset", choices=PRESETS, help="a named set of options; explicit flags override it")
    for name, option in options_of(RunConfig).items():
        if name not in without:
            _add_flag(parser, option, str(option.default) or "none")
    group = parser.add_argument_group("options of the methods")
    for name in _method_options():
        takers = {method: options[name] for method, cls in METHODS.items() if name in (options := options_of(cls))}
        by_default: dict[object, list[str]] = {}
        for method, option in takers.items():
            by_default.setdefault(option.default, []).append(method)
        defaults = "; ".join(f"{default} for {', '.join(methods)}" for default, methods in by_default.items())
        _add_flag(group, next(iter(takers.values())), defaults)


def add_changes(parser: argparse.ArgumentParser, names: Sequence[str]) -> None:
    """Add a flag for some options of `RunConfig`, to change those of a run; the namespace holds only those given."""
    for name in names:
        _add_flag(parser, options_of(RunConfig)[name], "the run's own")


def _add_flag(parser: argparse._ActionsContainer, option: Option, defaults: str) -> None:
    """Add an option's flag, its documentation followed by the allowed values and the defaults."""
    allowed = f"{option.allowed}; " if option.allowed else ""
    help = f"{option.doc} ({allowed}default: {defaults})".replace("%", "%%")
    shape: dict[str, Any] = {"type": type(option.default), "metavar": "…"}
    if type(option.default) is bool:
        shape = {"action": argparse.BooleanOptionalAction}
    elif option.several:
        shape = {"action": _Joined, "nargs": "+", "metavar": "…"}
    parser.add_argument(option.flag, **shape, default=argparse.SUPPRESS, help=help)


class _Joined(argparse.Action):
    """Join several words with spaces."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option: Any = None) -> None:
        setattr(namespace, self.dest, " ".join(values))


def _method_options() -> list[str]:
    """Return the names of all options of methods."""
    return list(dict.fromkeys(name for cls in METHODS.values() for name in options_of(cls)))


def chosen(namespace: argparse.Namespace) -> Overrides:
    """Return the options as plain values: flags over the preset, of which each method takes the options it has.

    Phase 1 of an experiment takes none of a preset's method: it is the base pruner's alone.
    """
    given = vars(namespace)
    preset = PRESETS[given["preset"]] if given.get("preset") else {}
    if given.get("experiment") and given.get("phase") == 1:
        preset = {name: value for name, value in preset.items() if name not in ("method", "options")}
    values = preset | {name: given[name] for name in options_of(RunConfig) if name in given}
    methods = given.get("methods", [values.get("method", RunConfig.method)])
    known = {option for method in methods for option in option_names(method.partition(":")[0])}
    its_options = {name: value for name, value in preset.get("options", {}).items() if name in known}
    values["options"] = its_options | {name: given[name] for name in _method_options() if name in given}
    return values
