"""The error messages for a broken model, file or text: every fault is produced for real, on a tiny model.

python benchmarks/messages.py --out docs/messages.md
"""

import argparse
import json
import os
import re
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from safetensors.torch import load_file, save_file

from sds_core.errors import SDSError
from sds_core.models.calibration import calibration_windows
from sds_core.models.load import load_model
from sds_core.models.structure import find_blocks
from sds_core.pruning.methods import make_method
from sds_core.pruning.pattern import parse_pattern
from sds_core.pruning.registry import PRUNERS
from sds_core.runs.checkpoint import Checkpoints
from sds_core.runs.config import RunConfig
from sds_core.runs.model_cache import ModelCache
from sds_core.runs.new_run import create
from sds_core.runs.run_job import run_job
from sds_core.sds import Recipe, run_phase
from tests.fixtures import byte_level_tokenizer
from tests.models.families import build, texts
from tests.models.gguf_files import write_gguf

WEIGHT = "model.layers.1.mlp.up_proj.weight"
TEXT = "The model reads a text and says which word it expects next. " * 40


def tiny(folder: Path) -> Path:
    """Save a sound model to a new folder, and a text beside it."""
    build("llama", vocab_size=288, max_position_embeddings=256).save_pretrained(folder)
    byte_level_tokenizer().save_pretrained(folder)
    (folder.parent / "text.txt").write_text(TEXT, encoding="utf-8")
    return folder


def configured(**changes: Any) -> Callable[[Path], object]:
    """Return a fault: change fields of the configuration, then load the model."""

    def trigger(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")
        load_model(str(folder))

    return trigger


def weighted(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], object]:
    """Return a fault: change weights, then load the model."""

    def trigger(folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        change(weights)
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        load_model(str(folder))

    return trigger


def cut(name: str) -> Callable[[Path], object]:
    """Return a fault: drop the second half of a file, then load the model."""

    def trigger(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: len(data) // 2])
        load_model(str(folder))

    return trigger


def replaced(folder: Path) -> None:
    """Change a file of the model after a run has begun, then resume the run."""
    small = {"samples": 2, "length": 32, "eval_windows": 2, "eval_length": 32, "threads": 1}
    text = str(folder.parent / "text.txt")
    run = create(RunConfig(model=str(folder), method="base", calibration=text, evaluation=text, **small))
    log = run.writer()
    for event in run_job(run, ModelCache(keep_dense=False)):
        log.append(event)
    (run.folder / "result.json").unlink()
    configured(rms_norm_eps=1e-5)(folder)
    list(run_job(run, ModelCache(keep_dense=False)))


def shared(folder: Path) -> None:
    """Let two blocks share a weight, then run a method that needs the dense blocks beside the pruned ones."""
    model = build("llama")
    first, second = model.model.layers[0].self_attn, model.model.layers[1].self_attn
    second.q_proj.weight = first.q_proj.weight
    method, pruner = make_method("sds-admm", {}), PRUNERS["wanda"]()
    recipe = Recipe(pruner=pruner, method=method, pattern=parse_pattern("2:4"))
    past = Checkpoints(create(RunConfig()), "final")
    list(run_phase("fused", find_blocks(model), texts(), recipe, torch.device("cpu"), past))


def no_tokenizer(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()
    load_model(str(folder))


def another_tokenizer(folder: Path) -> None:
    tokenizer = byte_level_tokenizer()
    tokenizer.add_tokens(["expects next"])
    tokenizer.save_pretrained(folder)
    calibration_windows(load_model(str(folder)), str(folder.parent / "text.txt"), 1, 8, seed=0)


def short_text(folder: Path) -> None:
    text = str(folder.parent / "text.txt")
    calibration_windows(load_model(str(folder)), text, 16, 1024, seed=0, held_out=1)


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    load_model(str(folder))


def own_code(folder: Path) -> None:
    (folder / "code.py").write_text("class Config: pass\nclass Model: pass\n", encoding="utf-8")
    own = {"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model"}
    configured(model_type="own", auto_map=own)(folder)


def broken_gguf(folder: Path) -> None:
    path = write_gguf(folder, folder.parent / "model.gguf")
    path.write_bytes(path.read_bytes()[:200])
    load_model(str(path))


FAULTS: dict[str, Callable[[Path], object]] = {
    "a model file was replaced before a run is resumed": replaced,
    "a weight is missing": weighted(lambda weights: weights.pop(WEIGHT)),
    "a weight has another shape": weighted(lambda weights: weights.update({WEIGHT: torch.zeros(3, 3)})),
    "a weight is NaN": weighted(lambda weights: weights[WEIGHT].fill_(float("nan"))),
    "the weights are cut short": cut("model.safetensors"),
    "blocks share a weight, and the method needs the dense blocks beside the pruned ones": shared,
    "the tokenizer is missing": no_tokenizer,
    "the tokenizer belongs to another model": another_tokenizer,
    "the text is too short": short_text,
    "the vocabulary is too large for memory": configured(vocab_size=10**12),
    "the number of layers is absurd": configured(num_hidden_layers=10**9),
    "the number of attention heads is 0": configured(num_attention_heads=0),
    "a number in the configuration is text": configured(hidden_size="x"),
    "the configuration is cut short": cut("config.json"),
    "the model family is unknown": configured(model_type="nope"),
    "the weights are a pickle": pickled,
    "the model needs its own code": own_code,
    "a GGUF file is cut short": broken_gguf,
}


def message(fault: str, place: Path) -> str:
    """Return the message a fault produces, with paths, ids and sizes of this machine replaced.

    Args:
        fault: one of `FAULTS`.
        place: an empty folder.
    """
    folder = tiny(place / "model")
    try:
        FAULTS[fault](folder)
    except SDSError as error:
        text = " ".join(str(error).split()).replace(str(place.resolve()), "…").replace(str(place), "…")
        text = re.sub(r"\d+ MB", "N MB", re.sub(r"run [a-z0-9-]+-[0-9a-f]{6}", "run RUN", text))
        return text.replace("|", "\\|").replace("<", "&lt;")
    raise AssertionError(f"{fault}: no error was raised")


def table(place: Path) -> str:
    """Return all faults with their messages as a page of Markdown."""
    lines = [
        "# Error messages",
        "",
        "Examples, written by `python benchmarks/messages.py`, which produces each of these faults on a tiny model.",
        "Command line and pages show the message as it stands here. Nothing missing is filled in, nothing is guessed",
        "or executed, and finished blocks are kept.",
        "",
        "| fault | message |",
        "|---|---|",
    ]
    for number, fault in enumerate(FAULTS):
        own = place / str(number)
        own.mkdir()
        lines.append(f"| {fault} | {message(fault, own)} |")
        shutil.rmtree(own)
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="output file (default: standard output)")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as place:
        os.environ |= {"SDS_RUNS": f"{place}/runs", "SDS_CACHE": f"{place}/cache"}
        text = table(Path(place))
    if options.out:
        options.out.write_text(text, encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
