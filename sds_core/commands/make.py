"""Commands that make what the product reads: write-text, convert, write-lab-layer, and for developers examples."""

import argparse
from pathlib import Path

from sds_core.commands.follow import follow_new
from sds_core.commands.text import ask
from sds_core.files import new_file, user_path
from sds_core.lesson.lab_layer import ASSET, LINEAR, write_lab_layer
from sds_core.models.gguf_files import DEMO
from sds_core.options import options_of, printable
from sds_core.runs import typed_json
from sds_core.runs.config import RunConfig
from sds_core.runs.new_run import create
from sds_core.texts.query import EXAMPLE, TextQuery


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the parsers of this file's commands."""
    text = commands.add_parser("write-text", help="have a model write its own calibration text")
    text.add_argument("--model", default=DEMO, help=options_of(RunConfig)["model"].doc)
    text.add_argument("--windows", type=int, default=192, help="number of windows (default: %(default)s)")
    text.add_argument("--length", type=int, default=1024, help="tokens per window (default: %(default)s)")
    text.add_argument("--seed", type=int, default=0, help="seed of the sampling (default: %(default)s)")
    text.add_argument("--out", help="output file (default: where the text source `self` looks)")
    text.set_defaults(do=_write_text)

    pickled = commands.add_parser("convert", help="convert a model's *.bin files to safetensors")
    pickled.add_argument("model", help="hub id or local folder")
    pickled.add_argument("folder", help="new folder for the converted model")
    pickled.set_defaults(do=_convert)

    layer = commands.add_parser("write-lab-layer", help="remake the layer of the app's Layer lab")
    layer.add_argument("--out", help="output file (default: where the Layer lab looks)")
    layer.set_defaults(do=_write_lab_layer)

    shipped = commands.add_parser("examples")  # absent from the help: it overwrites files of the package
    shipped.set_defaults(do=_examples)


def _write_text(options: argparse.Namespace) -> int:
    from sds_core.models.self_text import write_self_text

    for line in write_self_text(options.model, options.windows, options.length, options.seed, options.out):
        print(printable(line), flush=True)
    return 0


def _convert(options: argparse.Namespace) -> int:
    from sds_core.models.convert import convert

    target = user_path(options.folder)
    convert(options.model, target)
    print(printable(str(target)))
    return 0


def _write_lab_layer(options: argparse.Namespace) -> int:
    _make_lab_layer(new_file(options.out) if options.out else ASSET)
    return 0


def _make_lab_layer(path: Path) -> None:
    for line in write_lab_layer(DEMO, LINEAR, "self", path):
        print(printable(line), flush=True)


def _examples(options: argparse.Namespace) -> int:
    """Remake the example runs, the Layer lab's layer and the text result, each by the command a user would call."""
    from sds_core.runs import examples

    bases = runs = [create(config) for config in examples.first_phase()]
    if code := follow_new(runs):
        return code
    for _ in (2, 3):
        runs = [create(config) for config in examples.next_phase(runs)]
        if code := follow_new(runs):
            return code
    for path in examples.write(bases, runs):
        print(path)
    _make_lab_layer(ASSET)
    queried = (*bases, *(run for run in runs if run.config.pruner == examples.PRUNERS[0]))  # as many as fit the page
    query = TextQuery(runs=tuple(run.id for run in queried), prompts=examples.PROMPTS)
    typed_json.write(EXAMPLE, ask(query))
    print(EXAMPLE)
    return 0
