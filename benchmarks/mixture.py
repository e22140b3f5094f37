"""Make a mixture of experts out of the demo model, and prune it.

    python benchmarks/mixture.py split FOLDER [--experts 8] [--active 4] [--shared 384] [--text TEXT]
    python benchmarks/mixture.py distil FOLDER [--steps 200] [--text TEXT]
    python benchmarks/mixture.py prune FOLDER [--text TEXT] [any option of `python -m sds_core compare`]

`split` splits every MLP (`mixture_split.py`). `distil` trains the whole towards the demo model's next tokens, and can
be repeated. Both read only text that the demo has written itself. The mixture is a Qwen2-MoE; nothing of it is shipped.
`prune` compares Wanda, SparseGPT, `sds` and `sds-admm` at 2:4 on it. Perplexities are of self-written text and of the
first half of TEXT; its second half calibrates.
"""

import argparse
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import kl_div

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.mixture_split import CPU, convert
from sds_core.models.calibration import evaluation_windows, read_self_text
from sds_core.models.evaluate import evaluate
from sds_core.models.load import LoadedModel, load_model
from sds_core.models.structure import find_blocks
from sds_core.pruning.perplexity import compare, format_perplexity, format_ratio
from sds_core.runs.names import name_of
from sds_core.runs.run_folder import Run

METHODS = ("base:wanda", "base:sparsegpt", "sds:wanda", "sds-admm:wanda")
LENGTH = 512
FIRST, SECOND = "@0-50%", "@50-100%"
JUDGING = 8
"""Windows of each text on which the mixture is judged."""


def trained(free: list[nn.Parameter], rate: float, steps: int) -> Iterator[None]:
    """Take a step of Adam each time the caller comes back with gradients.

    Args:
        free: the parameters.
        rate: a step, relative to the root mean square of a parameter; it falls to 0 along a cosine.
        steps: their number.
    """
    sizes = [max(float(p.detach().square().mean().sqrt()), 1e-3) for p in free]
    optimiser = torch.optim.Adam([{"params": [p]} for p in free], lr=0.0, betas=(0.9, 0.95))
    for step in range(steps):
        optimiser.zero_grad()
        yield
        for group, size in zip(optimiser.param_groups, sizes, strict=True):
            group["lr"] = rate * size * 0.5 * (1 + math.cos(math.pi * step / steps))
        optimiser.step()


def distil(mixture: nn.Module, teacher: nn.Module, windows: Tensor, rate: float) -> Iterator[float]:
    """Train all weights but the embeddings towards the teacher's next tokens; yield each window's divergence."""
    embeddings = mixture.get_input_embeddings().weight.requires_grad_(False)
    free = [p for p in mixture.parameters() if p is not embeddings]
    for _, window in zip(trained(free, rate, len(windows)), windows, strict=True):
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                wanted = teacher(window[None]).logits.float().log_softmax(-1)
            found = mixture(window[None]).logits.float().log_softmax(-1)
        loss = kl_div(found, wanted, reduction="sum", log_target=True) / window.numel()
        loss.backward()
        yield loss.item()


def perplexity(model: nn.Module, windows: Tensor) -> float:
    """Return a model's perplexity on windows."""
    steps = evaluate(find_blocks(model), windows, CPU)
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value.value


class Judge:
    """Prints a model's perplexity, and how many times the demo's it is."""

    def __init__(self, demo: LoadedModel, own: Tensor, text: str):
        self._began = time.process_time()
        self._held_out = {"self-written text": own}
        if text:
            self._held_out[text] = evaluation_windows(demo, f"{text}{FIRST}", len(own), LENGTH)
        self._dense = {name: perplexity(demo.model, windows) for name, windows in self._held_out.items()}

    def say(self, what: str, model: nn.Module) -> None:
        for name, windows in self._held_out.items():
            value = perplexity(model, windows)
            print(f"{what}: {value:.2f} = {value / self._dense[name]:.2f} × {self._dense[name]:.2f} on {name}")
        print(f"{what}: {time.process_time() - self._began:.0f} s of CPU time", flush=True)


def make(options: argparse.Namespace) -> None:
    """Split the demo into a mixture, or distil the mixture that is there."""
    demo = load_model("demo", "float32")
    own = read_self_text(demo).unfold(1, LENGTH, LENGTH).flatten(0, 1)
    own = own[torch.randperm(len(own), generator=torch.Generator().manual_seed(0))]
    held_out, own = own[:JUDGING], own[JUDGING:]
    judge = Judge(demo, held_out, options.text)
    if options.what == "split":
        with torch.no_grad():
            mixture = convert(demo.model, own[: options.samples], options.experts, options.active, options.shared)
    else:
        mixture = load_model(str(options.folder), "float32").model
        taught = own[torch.randint(len(own), (options.steps,), generator=torch.Generator().manual_seed(options.seed))]
        for step, loss in enumerate(distil(mixture, demo.model, taught, options.rate), 1):
            print(f"step {step} of {len(taught)}: {loss:.3f} nats", flush=True)
    mixture.save_pretrained(options.folder)
    demo.tokenizer.save_pretrained(options.folder)
    judge.say(options.what, mixture)


def prune(options: argparse.Namespace, further: list[str]) -> None:
    """Compare the methods on the mixture, and print a table of their perplexities."""
    folder, text = options.folder.resolve(), options.text or "python-docs"
    flags = {"--model": folder, "--calibration": f"{text}{SECOND}", "--evaluation": f"{text}{FIRST}"}
    flags |= {"--pattern": "2:4", "--samples": 16, "--length": LENGTH, "--eval-windows": 32, "--eval-length": LENGTH}
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
    print(
        "| method | perplexity | ratio to dense | ratio to Wanda | tokens sent to other experts |\n" + "|---" * 5 + "|"
    )
    for name, result in results.items():
        last = result.last_perplexity
        paired = compare(last.perplexity, wanda)
        against = "" if name == "Wanda" else format_ratio(paired.log_ratio, paired.error)
        routes = f"{last.routes.changed:.1%}" if last.routes else ""
        dense = format_ratio(last.log_ratio, last.error)
        print(f"| {name} | {format_perplexity(last.value)} | {dense} | {against} | {routes} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("split", "distil", "prune"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--experts", type=int, default=8)
    parser.add_argument("--active", type=int, default=4)
    parser.add_argument("--shared", type=int, default=384, help="neurons of the expert that is always active")
    parser.add_argument("--samples", type=int, default=16, help=f"windows of {LENGTH} tokens for the split")
    parser.add_argument("--steps", type=int, default=200, help=f"windows of {LENGTH} tokens for the distillation")
    parser.add_argument("--rate", type=float, default=0.01, help="a step of it, relative to a weight's size")
    parser.add_argument("--seed", type=int, default=0, help="chooses the windows of the distillation")
    parser.add_argument("--text", default="", help="a text or a file, beside self-written text")
    options, further = parser.parse_known_args()
    if options.what == "prune":
        prune(options, further)
        return
    torch.set_num_threads(1)
    make(options)


if __name__ == "__main__":
    main()
