"""Make a mixture of experts out of the demo model, and prune it.

    python benchmarks/mixture.py split FOLDER [--experts 8] [--active 4] [--shared 384] [--text TEXT]
    python benchmarks/mixture.py distil FOLDER [--steps 200] [--text TEXT]
    python benchmarks/mixture.py prune FOLDER [--text TEXT] [any option of `python -m sds_core compare`]

`split` splits every MLP. The neurons that add most to its output stay together in an expert that is always active; the
others go to experts of equal size, those together that are active together. For each token, the best experts are those
whose sum is nearest to the whole; a router learns to choose them, and the matrices that leave the MLP are fitted to
what it chooses (ridge regression). Blocks are converted in order, on the inputs that the converted blocks before leave.
`distil` trains the whole towards the demo model's next tokens, and can be repeated. Both read only text that the demo
has written itself. The mixture is a Qwen2-MoE; nothing of it is shipped. `prune` compares Wanda, SparseGPT, `sds` and
`sds-admm` at 2:4 on it. Perplexities are of self-written text and of TEXT's first half; its second half calibrates.
"""

import argparse
import itertools
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, kl_div, normalize
from transformers import Qwen2MoeConfig, Qwen2MoeForCausalLM
from transformers.models.llama.modeling_llama import LlamaMLP
from transformers.models.qwen2_moe.modeling_qwen2_moe import Qwen2MoeSparseMoeBlock

sys.path.insert(0, str(Path(__file__).parents[1]))

from sds_core.models.calibration import evaluation_windows, read_self_text
from sds_core.models.evaluate import evaluate
from sds_core.models.load import LoadedModel, load_model
from sds_core.models.stream import capture
from sds_core.models.structure import find_blocks, hooked
from sds_core.pruning.perplexity import compare, format_perplexity, format_ratio
from sds_core.runs.names import name_of
from sds_core.runs.run_folder import Run

CPU = torch.device("cpu")
LENGTH = 512
FIRST, SECOND = "@0-50%", "@50-100%"
JUDGING = 8
"""Windows of each text on which the mixture is judged."""
FLATNESS = 0.3
"""The router's outputs are scaled so: what it chooses stays, and the chosen experts weigh nearly the same."""
RIDGE = 1.0
"""Of the mean diagonal of the regression's matrix."""
METHODS = ("base:wanda", "base:sparsegpt", "sds:wanda", "sds-admm:wanda")
SAME_FIELDS = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "head_dim", "hidden_act", "max_position_embeddings", "rms_norm_eps", "tie_word_embeddings",
    "rope_parameters", "bos_token_id", "eos_token_id", "pad_token_id",
)  # fmt: skip


def balanced_clusters(points: Tensor, count: int, rounds: int = 10) -> Tensor:
    """Return the cluster (I,) of each of I points (I, D), all of one size: k-means with full clusters closed."""
    size, order = len(points) // count, torch.Generator().manual_seed(0)
    centres = points[torch.randperm(len(points), generator=order)[:count]]
    for _ in range(rounds):
        distances = torch.cdist(points, centres)
        two = distances.topk(2, largest=False).values
        cluster, room = torch.empty(len(points), dtype=torch.long), torch.full((count,), size)
        for i in (two[:, 1] - two[:, 0]).argsort(descending=True).tolist():  # who has most to lose chooses first
            place = int(distances[i].masked_fill(room == 0, torch.inf).argmin())
            cluster[i] = place
            room[place] -= 1
        centres = torch.stack([points[cluster == c].mean(0) for c in range(count)])
    return cluster


def best_subsets(parts: Tensor, active: int) -> Tensor:
    """Return which experts (N, E), of each token those whose sum is nearest to that of all.

    Args:
        parts: (N, E, C), what each expert adds.
        active: how many may be chosen.
    """
    count = parts.shape[1]
    subsets = list(itertools.combinations(range(count), active))
    chosen = torch.zeros(len(subsets), count)
    for row, subset in zip(chosen, subsets, strict=True):
        row[list(subset)] = 1
    products = parts @ parts.transpose(1, 2)
    errors = torch.einsum("se,nef,sf->ns", 1 - chosen, products, 1 - chosen)
    return chosen[errors.argmin(1)]


def fit_router(inputs: Tensor, chosen: Tensor, steps: int = 200) -> Tensor:
    """Return router weights (E, C) that choose the given experts (N, E), by logistic regression."""
    scale = inputs.std(0)
    weight = torch.zeros(chosen.shape[1], inputs.shape[1], requires_grad=True)
    optimiser = torch.optim.Adam([weight], lr=0.01)
    for _ in range(steps):
        loss = binary_cross_entropy_with_logits((inputs / scale) @ weight.T, chosen)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return FLATNESS * weight.detach() / scale


def ridge(features: Tensor, target: Tensor, start: Tensor) -> Tensor:
    """Return the matrix (R, C) near `start` that maps features (N, C) to a target (N, R)."""
    gram = features.T @ features
    gram.diagonal().add_(RIDGE * gram.diagonal().mean())
    rest = target - features @ start.T
    return start + torch.linalg.solve(gram, features.T @ rest).T


def split(mlp: LlamaMLP, inputs: Tensor, config: Qwen2MoeConfig) -> Qwen2MoeSparseMoeBlock:
    """Return a mixture that does about the same as an MLP on inputs (N, C)."""
    moe, count, active = Qwen2MoeSparseMoeBlock(config), config.num_experts, config.num_experts_per_tok
    hidden = mlp.act_fn(mlp.gate_proj(inputs)) * mlp.up_proj(inputs)
    down = mlp.down_proj.weight
    strength = (hidden * down.norm(dim=0)).abs().T
    order = strength.square().mean(1).argsort(descending=True)
    always, rest = order[: config.shared_expert_intermediate_size], order[config.shared_expert_intermediate_size :]
    cluster = balanced_clusters(normalize(strength[rest], dim=1), count)
    members = [rest[cluster == e] for e in range(count)]
    chosen = best_subsets(torch.stack([hidden[:, own] @ down[:, own].T for own in members], 1), active)
    with torch.enable_grad():
        moe.gate.weight.data = fit_router(inputs, chosen)
    _, weights, indices = moe.gate(inputs)
    shares = torch.zeros(len(inputs), count).scatter_(1, indices, weights).repeat_interleave(len(members[0]), 1)
    shares = torch.cat([torch.full((len(inputs), len(always)), 0.5), shares], 1)  # half: the gate's sigmoid of zero
    order = torch.cat([always, *members])
    start = down[:, order] * torch.tensor([2.0] * len(always) + [float(active)] * len(rest))
    fitted = ridge(hidden[:, order] * shares, mlp.down_proj(hidden), start)
    moe.shared_expert_gate.weight.data.zero_()
    shared, experts = moe.shared_expert, moe.experts
    shared.gate_proj.weight.data, shared.up_proj.weight.data = mlp.gate_proj.weight[always], mlp.up_proj.weight[always]
    shared.down_proj.weight.data = fitted[:, : len(always)].clone()
    both = [torch.cat([mlp.gate_proj.weight[own], mlp.up_proj.weight[own]]) for own in members]
    experts.gate_up_proj.data = torch.stack(both)
    experts.down_proj.data = torch.stack(fitted[:, len(always) :].chunk(count, 1))
    return moe


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


def convert(loaded: LoadedModel, windows: Tensor, options: argparse.Namespace) -> Qwen2MoeForCausalLM:
    """Return the model with its MLPs split, fitted on windows of token ids (n, T)."""
    old = loaded.model.config
    config = Qwen2MoeConfig(
        **{name: getattr(old, name) for name in SAME_FIELDS},
        moe_intermediate_size=(old.intermediate_size - options.shared) // options.experts,
        shared_expert_intermediate_size=options.shared,
        num_experts=options.experts,
        num_experts_per_tok=options.active,
        norm_topk_prob=True,
        qkv_bias=False,
        layer_types=["full_attention"] * old.num_hidden_layers,
        use_sliding_window=True,  # no layer has one, but its mask is made
        sliding_window=old.max_position_embeddings,
    )
    structure = find_blocks(loaded.model)
    stream = capture(structure, windows, CPU)
    for block in structure.blocks:
        seen: list[tuple[Tensor, Tensor]] = []
        note = lambda module, args, kwargs, result, seen=seen: seen.append((args[0][0], result[0]))
        with hooked([block.module.mlp], note):
            for window in range(len(stream.hidden)):
                stream.replay(window)
        inputs, target = (torch.cat(parts) for parts in zip(*seen, strict=True))
        moe = split(block.module.mlp, inputs, config)
        error = float((moe(inputs[None])[0] - target).square().sum() / target.square().sum())
        block.module.mlp = moe
        stream.advance()
        print(f"block {block.index + 1} of {len(structure.blocks)}: error {error:.3f}", flush=True)
    mixture = Qwen2MoeForCausalLM(config)
    mixture.load_state_dict(loaded.model.state_dict())
    return mixture.eval()


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
            mixture = convert(demo, own[: options.samples], options)
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
