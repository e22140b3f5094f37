"""Make a mixture of experts out of the demo model, and prune it.

    python benchmarks/mixture.py split FOLDER [--experts 8] [--active 4] [--shared 384] [--text TEXT]
    python benchmarks/mixture.py distil FOLDER [--steps 200] [--text TEXT]
    python benchmarks/mixture.py prune FOLDER [--text TEXT] [any option of `python -m sds_core compare`]
    python benchmarks/mixture.py scarce FOLDER [--text TEXT] [--samples 8] [--length 256] [--seeds 0 1 2]

`split` splits every MLP (`mixture_split.py`). `distil` trains the whole towards the demo model's next tokens; what was
interrupted goes on when the command is repeated. Both read only text that the demo has written itself. The mixture is
a Qwen2-MoE; nothing of it is shipped. `prune` compares Wanda, SparseGPT, `sds` and `sds-admm` at 2:4 on it. `scarce`
compares two ways to shrink the Gram matrices of experts that few tokens reach, with SparseGPT at 2:4. Perplexities are
of self-written text and of the first half of TEXT; its second half calibrates.
"""

import argparse
import os
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.cost import NothingDone
from benchmarks.mixture_distil import distil
from benchmarks.mixture_scarce import shrinking_towards_means
from benchmarks.mixture_split import CPU, convert
from sds_core.layer_result import LayerResult
from sds_core.models.calibration import calibration_windows, evaluation_windows, read_self_text
from sds_core.models.evaluate import evaluate
from sds_core.models.load import LoadedModel, load_model
from sds_core.models.structure import find_blocks
from sds_core.pruning.methods import Base
from sds_core.pruning.pattern import parse_pattern
from sds_core.pruning.perplexity import Perplexity, compare, format_perplexity, format_ratio, mean_over_runs
from sds_core.pruning.sparsegpt import SparseGPT
from sds_core.runs.names import name_of
from sds_core.runs.run_folder import Run
from sds_core.sds import Recipe, run_phase

METHODS = ("base:wanda", "base:sparsegpt", "sds:wanda", "sds-admm:wanda")
LENGTH = 512
FIRST, SECOND = "@0-50%", "@50-100%"
JUDGING = 8
"""Windows of each text on which the mixture is judged."""


def perplexity(model: nn.Module, windows: Tensor) -> Perplexity:
    """Return a model's perplexity on windows."""
    steps = evaluate(find_blocks(model), windows, CPU)
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


class Judge:
    """Prints a model's perplexity, and how many times the demo's it is."""

    def __init__(self, demo: LoadedModel, own: Tensor, text: str):
        self._began = time.process_time()
        self._held_out = {"self-written text": own}
        if text:
            self._held_out[text] = evaluation_windows(demo, f"{text}{FIRST}", len(own), LENGTH)
        self._dense = {name: perplexity(demo.model, windows).value for name, windows in self._held_out.items()}

    def say(self, what: str, model: nn.Module) -> None:
        for name, windows in self._held_out.items():
            value = perplexity(model, windows).value
            print(f"{what}: {value:.2f} = {value / self._dense[name]:.2f} × {self._dense[name]:.2f} on {name}")
        print(f"{what}: {time.process_time() - self._began:.0f} s of CPU time", flush=True)


def make(options: argparse.Namespace) -> None:
    """Split the demo into a mixture, or distil the mixture that is there."""
    demo = load_model("demo", "float32")
    own = read_self_text(demo).unfold(1, LENGTH, LENGTH).flatten(0, 1)
    own = own[torch.randperm(len(own), generator=torch.Generator().manual_seed(0))]
    held_out, own = own[:JUDGING], own[JUDGING:]
    judge, state = Judge(demo, held_out, options.text), options.folder.with_suffix(".training")
    if options.what == "split":
        with torch.no_grad():
            mixture = convert(demo.model, own[: options.samples], options.experts, options.active, options.shared)
    else:
        mixture = load_model(str(options.folder), "float32").model
        dice, rounds = torch.Generator().manual_seed(options.seed), -(-options.steps // len(own))
        taught = own[torch.cat([torch.randperm(len(own), generator=dice) for _ in range(rounds)])[: options.steps]]
        for line in distil(mixture, demo.model, taught, options.rate, state):
            print(line, flush=True)
    mixture.save_pretrained(options.folder)
    state.unlink(missing_ok=True)
    demo.tokenizer.save_pretrained(options.folder)
    judge.say(options.what, mixture)


def prune(options: argparse.Namespace, further: list[str]) -> None:
    """Compare the methods on the mixture, and print a table of their perplexities."""
    folder, text = options.folder.resolve(), options.text or "python-docs"
    flags = {"--model": folder, "--calibration": f"{text}{SECOND}", "--evaluation": f"{text}{FIRST}"}
    flags |= {"--samples": options.samples, "--length": options.length, "--seed": options.seed, "--pattern": "2:4"}
    flags |= {"--eval-windows": 32, "--eval-length": LENGTH}
    chosen = [str(word) for pair in flags.items() for word in pair]
    command = [sys.executable, "-m", "sds_core", "compare", *chosen, "--methods", *METHODS, *further]
    runs = folder.parent / f"{folder.name}-runs"
    subprocess.run(command, cwd=Path(__file__).parents[1], env=os.environ | {"SDS_RUNS": str(runs)}, check=True)
    tabulate(runs)


def tabulate(runs: Path) -> None:
    """Print the finished runs of a folder, each against the dense mixture and against Wanda."""
    found = [Run(path.parent) for path in sorted(runs.glob("*/result.json"))]
    results = {name_of(run.config): run.finished_result() for run in found}
    wanda = results["Wanda"].last_perplexity.perplexity
    columns = ("method", "perplexity", "ratio to dense", "ratio to Wanda", "tokens sent to other experts")
    print(f"| {' | '.join((*columns, 'layers with few tokens'))} |\n" + "|---" * 6 + "|")
    dense_model = results["Wanda"].dense_perplexity
    print(f"| dense | {format_perplexity(dense_model.value)} | 1 | | | |")
    for name, result in results.items():
        last = result.last_perplexity
        paired = compare(last.perplexity, wanda)
        against = "" if name == "Wanda" else format_ratio(paired.log_ratio, paired.error)
        routes = f"{last.routes.changed:.1%}" if last.routes else ""
        dense = format_ratio(last.log_ratio, last.error)
        few = result.scarce.get("few tokens", 0)
        print(f"| {name} | {format_perplexity(last.value)} | {dense} | {against} | {routes} | {few} |")


def scarce(options: argparse.Namespace) -> None:
    """Prune with SparseGPT, experts with few tokens shrunk in two ways; print the ratios of perplexities."""
    text = options.text or "python-docs"
    found: dict[str, list[Perplexity]] = {"diagonal": [], "mean": []}
    for seed in options.seeds:
        for name, shrinking in (("diagonal", nullcontext), ("mean", shrinking_towards_means)):
            loaded = load_model(str(options.folder), "float32")
            windows = calibration_windows(loaded, f"{text}{SECOND}", options.samples, options.length, seed)
            recipe = Recipe(pruner=SparseGPT(), method=Base(), pattern=parse_pattern("2:4"))
            with shrinking():
                layers = run_phase("sparse", find_blocks(loaded.model), windows, recipe, CPU, NothingDone())
                few = sum(isinstance(one, LayerResult) and one.scarcity == "few tokens" for one in layers)
            held_out = evaluation_windows(loaded, f"{text}{FIRST}", 32, LENGTH)
            found[name].append(perplexity(loaded.model, held_out))
            print(f"seed {seed}, {name}: {found[name][-1].value:.2f}, {few} layers with few tokens", flush=True)
        both = compare(found["mean"][-1], found["diagonal"][-1])
        print(f"seed {seed}, mean to diagonal: {format_ratio(both.log_ratio, both.error)}", flush=True)
    both = compare(mean_over_runs(found["mean"]), mean_over_runs(found["diagonal"]))
    print(f"all seeds, mean to diagonal: {format_ratio(both.log_ratio, both.error)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("split", "distil", "prune", "scarce"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--experts", type=int, default=8)
    parser.add_argument("--active", type=int, default=4)
    parser.add_argument("--shared", type=int, default=384, help="neurons of the expert that is always active")
    parser.add_argument("--samples", type=int, default=16, help="windows for the split, or to calibrate")
    parser.add_argument("--length", type=int, default=LENGTH, help="tokens of a window to calibrate")
    parser.add_argument("--steps", type=int, default=200, help=f"windows of {LENGTH} tokens for the distillation")
    parser.add_argument("--rate", type=float, default=0.01, help="a step of it, relative to a weight's size")
    parser.add_argument("--threads", type=int, default=1, help="of split, distil and scarce")
    parser.add_argument("--seed", type=int, default=0, help="chooses the windows of distillation or calibration")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="the same for each pass of scarce")
    parser.add_argument("--text", default="", help="a text or a file, beside self-written text")
    options, further = parser.parse_known_args()
    if options.what == "prune":
        prune(options, further)
        return
    if further:
        parser.error(f"unrecognised arguments: {' '.join(further)}")
    torch.set_num_threads(options.threads)
    if options.what == "scarce":
        scarce(options)
    else:
        make(options)


if __name__ == "__main__":
    main()
