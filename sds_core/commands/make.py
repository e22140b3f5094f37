"""Commands that make data for other commands: write-text, write-lab-layer."""

import argparse
from pathlib import Path

from sds_core.lesson.lab import ASSET, LINEAR, write_lab_layer
from sds_core.runs.config import RunConfig, describe


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the parsers of this file's commands."""
    text = commands.add_parser("write-text", help="have a model write its own calibration text")
    text.add_argument("--model", default="demo", help=describe(RunConfig)["model"])
    text.add_argument("--windows", type=int, default=192, help="number of windows (default: %(default)s)")
    text.add_argument("--length", type=int, default=1024, help="tokens per window (default: %(default)s)")
    text.add_argument("--seed", type=int, default=0, help="seed of the sampling (default: %(default)s)")
    text.add_argument("--out", help="output file (default: where the text source `self` looks)")
    text.set_defaults(do=_write_text)

    layer = commands.add_parser("write-lab-layer", help="remake the layer of the app's Layer lab")
    layer.add_argument("--out", help="output file (default: where the Layer lab looks)")
    layer.set_defaults(do=_write_lab_layer)


def _write_text(options: argparse.Namespace) -> int:
    from sds_core.models.generate import write_self_text

    for line in write_self_text(options.model, options.windows, options.length, options.seed, options.out):
        print(line, flush=True)
    return 0


def _write_lab_layer(options: argparse.Namespace) -> int:
    for line in write_lab_layer("demo", LINEAR, "self", Path(options.out or ASSET)):
        print(line, flush=True)
    return 0
