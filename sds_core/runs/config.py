"""The configuration of a run: its options, and what follows from them."""

import dataclasses
from dataclasses import dataclass, field

from sds_core.errors import SDSError, raise_together
from sds_core.models.text_spec import BOS_MODES, ROW_MODES, disjoint
from sds_core.options import Overrides, faults, is_unicode, option, options_of
from sds_core.pruning.methods import Method, make_method
from sds_core.pruning.pattern import Pattern, parse_pattern
from sds_core.pruning.reconstruction import CHOICES, Distillation, Reconstruction, Windows, windows_of
from sds_core.pruning.stages import Phase, Stage
from sds_core.pruning.titles import pruner_title
from sds_core.runs import typed_json
from sds_core.runs.config_checks import contradictions
from sds_core.runs.phases import PHASES, RECONSTRUCTED, steps_of

ALLOCATIONS = ("uniform", "owl")
MOST_WINDOWS, LONGEST_WINDOW, MOST_THREADS = 100_000, 1_000_000, 1024
LARGEST_SEED = 2**32 - 1

CALIBRATED = ("calibration", "samples", "length", "seed", "held_out", "bos", "observation")
MEASURED = ("evaluation", "eval_windows", "eval_length", "eval_rows")
FIXED_BY_PARENT = ("model", "dtype", "pattern", "allocation", "exclude", "pruner", *CALIBRATED, *MEASURED)
"""Options that a branch takes over from its parent, whose weights were made with them."""


@dataclass(frozen=True)
class Parent:
    """The run from whose phase this one continues."""

    run: str
    """Its id."""
    phase: int
    """Its last finished phase."""
    sha256: str
    """Digest over that phase's checkpoint files."""


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One run. Its options are those of the command line."""

    model: str = option("demo", "Hub id, local folder, .gguf file, or demo.")
    dtype: str = option(
        "auto", "Precision of the model; auto is its own.", choices=("auto", "float32", "bfloat16", "float16")
    )
    pruner: str = option("wanda", "Base pruner: magnitude, wanda, sparsegpt, or a plugin (see --pruners).")
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
        """What is adjusted together, by Adam with masks that stay, once layers are solved: matrix, nothing beyond
        single matrices; submodule, an attention or an MLP towards its dense output; block, a whole block; model, the
        whole model after all else, distilled towards the dense model's next-token distributions (no longer
        one-shot).""",
        choices=CHOICES,
        several=True,
    )
    reconstruct_epochs: int = option(
        0, "Passes of the widest of these over its windows; 0 for its default, 2, of the model 1.", low=0, high=1000
    )
    reconstruct_windows: int = option(
        0, "Windows that the model is distilled on; 0 for as many as --samples.", low=0, high=MOST_WINDOWS
    )
    reconstruct_rate: float = option(
        0.0,
        """First steps of the widest of these, in units of the root mean square of a layer's kept weights; 0 for its
        default, 0.0015, of the model 0.003.""",
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
    threads: int = option(0, "CPU threads; 0 for all cores.", low=0, high=MOST_THREADS)
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
    options: dict[str, float] = field(default_factory=dict)
    """Options of the method that differ from its defaults."""
    parent: Parent | None = None
    """The run that phases after the first continue from."""
    pruner_sha256: str = ""
    """SHA-256 of a plugin pruner's file, recorded when the run is created; empty for a built-in pruner."""

    def __post_init__(self) -> None:
        found = list(faults(self))
        if not isinstance(self.options, dict) or type(self.pruner_sha256) is not str:
            raise SDSError("options and pruner_sha256 of a run are a table and a text", got=self.options)
        values = [(getattr(self, name), declared.default) for name, declared in options_of(RunConfig).items()]
        if any(type(value) is not type(default) or not is_unicode(str(value)) for value, default in values):
            raise_together(found)
        raise_together([*found, *contradictions(self)])

    @property
    def phases(self) -> list[Phase]:
        """The passes over the model that this run consists of."""
        if self.phase:
            return [PHASES[self.phase]]
        if self.schedule == "fused":
            return ["fused", *(PHASES[number] for number in self.steps if number > 3)]
        return [PHASES[number] for number in self.steps]

    @property
    def one_shot(self) -> Stage:
        """The stage of the weights that the method leaves, before anything is distilled."""
        return "final" if 3 in self.steps else "sparse"

    @property
    def steps(self) -> tuple[int, ...]:
        """The numbers of the phases that the method goes through, with what is adjusted after it."""
        return steps_of(self.method, self.reconstruct)

    @property
    def reconstruction(self) -> Reconstruction | None:
        """How parts of a block are adjusted once its layers are solved; None where they are not."""
        return self._windows.block

    @property
    def distillation(self) -> Distillation | None:
        """How the model as a whole is distilled at the end; None where it is not."""
        plan = self._windows.model
        if plan is None or self.phase in (1, 2, 3):
            return None
        return dataclasses.replace(plan, windows=plan.windows or self.samples)

    @property
    def _windows(self) -> Windows:
        return windows_of(*(getattr(self, name) for name in RECONSTRUCTED))

    def written_by(self, phase: Phase) -> Stage:
        """The stage of the weights that a pass leaves in the model."""
        return self.one_shot if phase == "fused" else phase

    @property
    def texts(self) -> tuple[str, str]:
        """Calibration and evaluation text, narrowed so that they share no token."""
        return disjoint(self.calibration, self.evaluation)

    @property
    def pruner_title(self) -> str:
        """The base pruner's name; a plugin's with the start of its SHA-256, as versions of its file differ."""
        return f"{self.pruner} (plugin, {self.pruner_sha256[:8]})" if self.pruner_sha256 else pruner_title(self.pruner)

    def parsed_pattern(self) -> Pattern:
        return parse_pattern(self.pattern)

    def made_method(self) -> Method:
        return make_method(self.method, self.options)

    def to_dict(self) -> Overrides:
        """Plain values, for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Overrides) -> "RunConfig":
        """The inverse of `to_dict`.

        Raises:
            SDSError: unknown fields, or values that contradict each other.
        """
        known = {f.name for f in dataclasses.fields(cls)}
        if unknown := sorted(set(values) - known):
            raise SDSError("a run has no such option", got=", ".join(unknown), allowed=", ".join(sorted(known)))
        try:
            parent = None if values.get("parent") is None else typed_json.from_json(Parent, values["parent"])
        except ValueError as error:
            raise SDSError(f"not a run's parent: {error}") from error
        return cls(**{**values, "parent": parent})
