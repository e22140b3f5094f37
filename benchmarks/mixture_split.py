"""Split the MLPs of a llama into experts, with routers that are fitted in closed form or nearly so.

The neurons that add most to an MLP's output stay together in an expert that is always active; the others go to experts
of equal size, those together that are active together. For each token, the best experts are those whose sum is nearest
to the whole; a router learns to choose them, and the matrices that leave the MLP are fitted to what it chooses (ridge
regression). Blocks are converted in order, on the inputs that the converted blocks before leave.
"""

import itertools

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, normalize
from transformers import PreTrainedModel, Qwen2MoeConfig, Qwen2MoeForCausalLM
from transformers.models.llama.modeling_llama import LlamaMLP
from transformers.models.qwen2_moe.modeling_qwen2_moe import Qwen2MoeSparseMoeBlock

from sds_core.models.stream import capture
from sds_core.models.structure import find_blocks, hooked

CPU = torch.device("cpu")
FLATNESS = 0.3
"""The router's outputs are scaled so: what it chooses stays, and the chosen experts weigh nearly the same."""
RIDGE = 1.0
"""Of the mean diagonal of the regression's matrix."""
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


def convert(model: PreTrainedModel, windows: Tensor, experts: int, active: int, shared: int) -> Qwen2MoeForCausalLM:
    """Return a llama as a mixture; its own MLPs are replaced on the way.

    Args:
        model: the llama.
        windows: token ids (n, T) on which the mixture is fitted.
        experts: of equal size.
        active: of them, for each token.
        shared: neurons of the expert that is always active.
    """
    old = model.config
    config = Qwen2MoeConfig(
        **{name: getattr(old, name) for name in SAME_FIELDS},
        moe_intermediate_size=(old.intermediate_size - shared) // experts,
        shared_expert_intermediate_size=shared,
        num_experts=experts,
        num_experts_per_tok=active,
        norm_topk_prob=True,
        qkv_bias=False,
    )
    structure = find_blocks(model)
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
    mixture.load_state_dict(model.state_dict())
    return mixture.eval()
