"""The options of a run, as the command line and the app offer them."""

from dataclasses import dataclass

from sds_core.models.gguf_files import DEMO
from sds_core.models.text_spec import BOS_MODES, ROW_MODES
from sds_core.options import option
from sds_core.pruning.reconstruction import CHOICES, Distillation, Reconstruction
from sds_core.pruning.titles import TITLES

ALLOCATIONS = ("uniform", "owl")
MOST_WINDOWS, LONGEST_WINDOW, MOST_THREADS = 100_000, 1_000_000, 1024
LARGEST_SEED = 2**32 - 1


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The declared options of a run, with their documentation and limits."""

    model: str = option(DEMO, "Hub id, local folder, .gguf file, or demo.")
    dtype: str = option(
        "auto", "Precision of the model; auto is its own.", choices=("auto", "float32", "bfloat16", "float16")
    )
    pruner: str = option("wanda", f"Base pruner: {', '.join(TITLES)}, or a plugin (see --pruners).")
    method: str = option("sds-admm", "base, adjusted, straight-through, swaps, sds (the paper's) or sds-admm.")
    checkpoint: str = option(
        "", "A pruned copy of the model, to inspect as it is; goes with --method checkpoint and --pruner none."
    )
    pattern: str = option("2:4", "KEPT:GROUP such as 2:4, or the ratio of pruned weights such as 0.5.")
    allocation: str = option(
        "uniform",
        "How blocks share a ratio: uniform, or owl (blocks with more outliers are pruned less).",
        choices=ALLOCATIONS,
    )
    exclude: str = option(
        "",
        "Layers to leave dense: patterns over their full names, such as *.0.* or *down_proj, separated by spaces.",
        several=True,
    )
    reconstruct: str = option(
        "matrix",
        """Windows adjusted together, by Adam with frozen masks, once layers are solved: matrix, nothing beyond
        single matrices; submodule, an attention or an MLP towards its dense output; block, a whole block; model, the
        whole model after all else, distilled towards the dense model's next-token distributions (no longer
        one-shot).""",
        choices=CHOICES,
        several=True,
    )
    reconstruct_epochs: int = option(
        0,
        f"""Epochs of the widest window that --reconstruct names; 0 for {Reconstruction.epochs}, or for
        {Distillation.epochs} where that is the model.""",
        low=0,
        high=1000,
    )
    reconstruct_windows: int = option(
        0, "Calibration windows to distil the model on; 0 for as many as --samples.", low=0, high=MOST_WINDOWS
    )
    reconstruct_rate: float = option(
        0.0,
        f"""Largest step for the widest window that --reconstruct names, in units of the root mean square of a layer's
        kept weights; 0 for {Reconstruction.rate}, or for {Distillation.rate} where that is the model.""",
        low=0,
        high=1,
    )
    schedule: str = option(
        "fused",
        "fused: one pass, each block through all phases; staged: each phase over the whole model.",
        choices=("fused", "staged"),
    )
    phase: int = option(
        0,
        "Only this phase: 1 sparse, 2 dense, 3 sparse again, 4 distilled; 2 to 4 continue from a run. 0 for all.",
    )
    calibration: str = option(
        "self",
        """Calibration text: self, python-docs, a .txt file, a .jsonl, .parquet or .csv FILE:COLUMN, or
        hub:ID:CONFIG:SPLIT:COLUMN; a part as TEXT@0-50%, a mixture by weight as TEXT*2+TEXT.""",
    )
    samples: int = option(16, "Number of calibration windows.", low=1, high=MOST_WINDOWS)
    length: int = option(1024, "Tokens in a calibration window.", low=2, high=LONGEST_WINDOW)
    seed: int = option(0, "Chooses the calibration windows.", low=0, high=LARGEST_SEED)
    held_out: int = option(
        1,
        """Calibration windows that no solver sees: on them every layer's error is recorded, and adjusted blocks are
        judged.""",
        low=0,
        high=MOST_WINDOWS,
    )
    evaluation: str = option(
        "python-docs",
        """Held-out text to measure perplexity on, named like a calibration text. A text that both name is halved: its
        first half calibrates.""",
    )
    eval_windows: int = option(
        16,
        "Number of evaluation windows, spread evenly over the text; 0 for every consecutive one, as in papers.",
        low=0,
        high=MOST_WINDOWS,
    )
    eval_length: int = option(512, "Tokens in an evaluation window.", low=2, high=LONGEST_WINDOW)
    eval_rows: str = option(
        "stripped",
        """Rows of the evaluation text before blank lines join them: stripped of their line ends; whole, with them, as
        in the papers' code.""",
        choices=ROW_MODES,
    )
    bos: str = option(
        "window",
        """Where start tokens go, if the tokenizer adds any: window, at the start of every window, as in training;
        text, once at the start of a text, as in the papers' code; none.""",
        choices=BOS_MODES,
    )
    observation: str = option(
        "model",
        """Precision of products in forward passes over the calibration windows: model, the model's own; bfloat16; or
        auto, bfloat16 where the model is in float32 and bfloat16 is faster on this machine.""",
        choices=("model", "bfloat16", "auto"),
    )
    device: str = option("auto", "auto, cpu, cuda, xpu or mps.")
    threads: int = option(0, "CPU threads; 0 for one on each core that this process may use.", low=0, high=MOST_THREADS)
    weights: str = option(
        "auto",
        """Where weights and hidden states are kept between uses: disk is for models larger than memory; auto takes
        memory if it has room.""",
        choices=("auto", "memory", "disk"),
    )
    keep_weights: bool = option(
        True, "Keep the pruned weights after the run; without them it can be inspected, not exported."
    )
    partial: bool = option(
        False, "Prune a model even if less than half of its blocks' weights are in layers that can be pruned."
    )
    title: str = option("", "Display name.")
    experiment: str = option(
        "", "Name of an experiment: its runs share model, texts and pattern, and each phase finds its parent by it."
    )
