"""Flags of the command line, made from the dataclasses that define the options."""

import argparse
import dataclasses
from collections.abc import Sequence
from typing import Any

from sds_core.pruning.methods import METHODS, option_names
from sds_core.runs.config import NOT_FLAGS, PRESETS, RunConfig, describe


def add_options(parser: argparse.ArgumentParser, without: Sequence[str] = ()) -> None:
    """Add a flag for every field of `RunConfig` and every option of a method; the namespace holds only those given."""
    parser.add_argument("--preset", choices=PRESETS, help="a named set of options; explicit flags override it")
    documented = describe(RunConfig)
    for f in dataclasses.fields(RunConfig):
        if f.name in (*NOT_FLAGS, *without):
            continue
        flag = "--" + f.name.replace("_", "-")
        about = f"{documented[f.name]} (default: {f.default})".replace("%", "%%")
        if f.type is bool:
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=about)
        elif f.metadata.get("several"):
            parser.add_argument(flag, nargs="+", action=_Joined, default=argparse.SUPPRESS, help=about, metavar="…")
        else:
            parser.add_argument(flag, type=type(f.default), default=argparse.SUPPRESS, help=about, metavar="…")
    method_options = parser.add_argument_group("options of the methods")
    for name, option in _method_options().items():
        flag = "--" + name.replace("_", "-")
        method_options.add_argument(flag, **option, default=argparse.SUPPRESS)


class _Joined(argparse.Action):
    """Join several words with spaces."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option: Any = None) -> None:
        setattr(namespace, self.dest, " ".join(values))


def _method_options() -> dict[str, dict[str, Any]]:
    """Return the arguments of `add_argument` for every option of a method, with its default in each."""
    found: dict[str, dict[str, Any]] = {}
    for method, cls in METHODS.items():
        documented = describe(cls)
        for f in dataclasses.fields(cls):
            kind = {"action": argparse.BooleanOptionalAction} if f.type is bool else {"type": f.type, "metavar": "…"}
            entry = found.setdefault(f.name, kind | {"help": documented[f.name].replace("%", "%%")})
            entry["help"] += f" [{method}: {f.default}]"
    return found


def chosen(options: argparse.Namespace) -> dict[str, Any]:
    """Return the options as plain values: flags over the preset, of which each method takes the options it has."""
    given = vars(options)
    preset = PRESETS[given["preset"]] if given.get("preset") else {}
    values = preset | {f.name: given[f.name] for f in dataclasses.fields(RunConfig) if f.name in given}
    methods = given.get("methods", [values.get("method", RunConfig.method)])
    known = {option for method in methods for option in option_names(method.partition(":")[0])}
    its_options = {name: value for name, value in preset.get("options", {}).items() if name in known}
    values["options"] = its_options | {name: given[name] for name in _method_options() if name in given}
    return values
