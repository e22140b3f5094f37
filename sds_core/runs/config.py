"""What a run is asked to do: options, presets, and the command line that equals them."""

import dataclasses
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sds_core.errors import SDSError
from sds_core.models.text_spec import apart
from sds_core.pruning.methods import METHODS, Method, make_method
from sds_core.pruning.pattern import NM, Pattern, parse_pattern
from sds_core.pruning.stages import Phase, Stage
from sds_core.runs import plugins
from sds_core.runs.plugin_file import NO_PRUNER

DTYPES = ("auto", "float32", "bfloat16", "float16")
SCHEDULES = ("fused", "staged")
WEIGHTS = ("auto", "memory", "disk")
ALLOCATIONS = ("uniform", "owl")
PHASES: dict[int, Phase] = {1: "sparse", 2: "redense", 3: "final"}
"""The paper's numbers for its phases."""

CALIBRATED = ("calibration", "samples", "length", "seed", "held_out")
MEASURED = ("evaluation", "eval_windows", "eval_length")
FIXED_BY_PARENT = ("model", "dtype", "pattern", "allocation", "exclude", "pruner", *CALIBRATED, *MEASURED)
"""What a branch takes over from its parent: it goes on from weights made this way."""
NOT_FLAGS = ("options", "parent", "pruner_sha256")
"""Fields that are no options of the command line."""


@dataclass(frozen=True)
class Parent:
    """The run whose phase this one goes on from."""

    run: str
    """Its id."""
    phase: int
    """Its last finished phase."""
    sha256: str
    """Digest over that phase's checkpoint files."""


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One run. Every field but those in `NOT_FLAGS` is an option of the command line, with this documentation."""

    model: str = "demo"
    """Hub id, local folder, .gguf file, or demo."""
    dtype: str = "auto"
    """Precision of the model: auto (its own), float32, bfloat16 or float16."""
    pruner: str = "wanda"
    """Base pruner: magnitude, wanda, sparsegpt, or one of your own (see --pruners)."""
    method: str = "sds-admm"
    """base, adjusted, sds (the paper's) or sds-admm (with a memory)."""
    checkpoint: str = ""
    """A pruned copy of the model, to be looked at as it is; goes with --method checkpoint and --pruner none."""
    pattern: str = "2:4"
    """KEPT:GROUP such as 2:4, or the ratio of pruned weights such as 0.5."""
    allocation: str = "uniform"
    """How a ratio is shared among blocks: uniform, or owl (blocks with more outliers are pruned less)."""
    exclude: str = field(default="", metadata={"several": True})
    """Layers to leave dense: patterns over their full names, such as *.0.* or *down_proj; several apart by spaces."""
    schedule: str = "fused"
    """fused (one pass, each block through all phases) or staged (each phase over the whole model)."""
    phase: int = 0
    """Only this phase: 1 sparse, 2 dense, 3 sparse again; 2 and 3 go on from a run. 0 for all of them."""
    calibration: str = "self"
    """Calibration text: self, python-docs, a .txt file, a .jsonl, .parquet or .csv FILE:COLUMN, or
    hub:ID:CONFIG:SPLIT:COLUMN; a part as TEXT@0-50%, several blended by weight as TEXT*2+TEXT."""
    samples: int = 16
    """Number of calibration windows."""
    length: int = 1024
    """Tokens in a calibration window."""
    seed: int = 0
    """Chooses the calibration windows."""
    held_out: int = 1
    """Calibration windows that no solver sees: on them every layer's error is recorded, and adjusted blocks are
    judged."""
    evaluation: str = "python-docs"
    """Held-out text to measure perplexity on; named like a calibration text. One that both name is halved: its first
    half calibrates."""
    eval_windows: int = 16
    """Number of evaluation windows, spread evenly over the text."""
    eval_length: int = 512
    """Tokens in an evaluation window."""
    device: str = "auto"
    """auto, cpu or cuda."""
    threads: int = 0
    """CPU threads; 0 for all cores."""
    weights: str = "auto"
    """Where weights and hidden states lie while they are not used: memory, disk (for models larger than memory), or
    auto (memory where there is room)."""
    keep_weights: bool = True
    """Keep the pruned weights after the run; without them it can be looked at, not exported."""
    partial: bool = False
    """Prune a model although less than half of its blocks' weights lie in layers that can be pruned."""
    title: str = ""
    """A name for people."""
    options: dict[str, float] = field(default_factory=dict)
    """Options of the method that differ from its defaults."""
    parent: Parent | None = None
    """Where phases after the first go on from."""
    pruner_sha256: str = ""
    """SHA-256 of the file of an own pruner, noted when the run is made; empty for those that come along."""

    def __post_init__(self) -> None:
        faults = []
        for check in (self._check_names, self._check_method, self._check_numbers, self._check_phases):
            try:
                check()
            except SDSError as error:
                faults.append(error)
        if len(faults) == 1:
            raise faults[0]
        if faults:
            raise SDSError("; ".join(str(fault).rstrip(".") for fault in faults))

    def _check_names(self) -> None:
        plugins.check_name(self.pruner, self.pruner_sha256)
        pattern = parse_pattern(self.pattern)
        if self.allocation not in ALLOCATIONS:
            raise SDSError("unknown allocation", got=self.allocation, allowed=", ".join(ALLOCATIONS))
        if self.allocation != "uniform" and isinstance(pattern, NM):
            raise SDSError(
                f"an N:M pattern is the same in every block, so {self.allocation} cannot share it out",
                got=self.pattern,
                cure="choose a ratio such as 0.5, or the uniform allocation",
            )
        _ = self.texts
        if self.dtype not in DTYPES:
            raise SDSError("unknown precision", got=self.dtype, allowed=", ".join(DTYPES))
        if self.weights not in WEIGHTS:
            raise SDSError("unknown place for weights", got=self.weights, allowed=", ".join(WEIGHTS))
        if not self.model:
            raise SDSError("no model was named", allowed="a hub id, a folder, a .gguf file or demo")

    def _check_method(self) -> None:
        make_method(self.method, self.options)
        opened = (self.method == "checkpoint", bool(self.checkpoint), self.pruner == NO_PRUNER)
        if any(opened) and not all(opened):
            raise SDSError(
                f"--method checkpoint, --checkpoint FOLDER and --pruner {NO_PRUNER} go together",
                cure="to look at a pruned checkpoint, use: python -m sds_core inspect",
            )
        if self.checkpoint and self.weights != "memory":
            raise SDSError("a checkpoint is held beside its dense model in memory", got=f"--weights {self.weights}")

    def _check_numbers(self) -> None:
        limits = {
            "samples": 1,
            "length": 2,
            "eval_windows": 2,
            "eval_length": 2,
            "threads": 0,
            "seed": 0,
            "held_out": 0,
        }
        for name, least in limits.items():
            value = getattr(self, name)
            if type(value) is not int or value < least:
                raise SDSError(f"option {name.replace('_', '-')} out of range", got=value, allowed=f"{least} or more")

    def _check_phases(self) -> None:
        if self.schedule not in SCHEDULES:
            raise SDSError("unknown schedule", got=self.schedule, allowed=", ".join(SCHEDULES))
        if self.phase not in (0, *PHASES):
            raise SDSError("unknown phase", got=self.phase, allowed="1, 2 or 3, or 0 for all of them")
        if self.phase and self.schedule != "staged":
            raise SDSError(
                "single phases belong to a staged schedule", got=self.schedule, cure="drop --schedule, or drop --phase"
            )
        if self.phase > 1 and self.method in METHODS and not METHODS[self.method].redenses:
            raise SDSError(f"method {self.method} is not stepped through", cure="use --schedule staged")
        if self.phase > 1 and (self.parent is None or self.parent.phase != self.phase - 1):
            raise SDSError(
                f"phase {self.phase} goes on from a run that has finished phase {self.phase - 1}",
                cure="name it: --from",
            )
        if self.phase <= 1 and self.parent is not None:
            raise SDSError("phase 1 does not go on from a run", got=f"phase {self.phase}")

    def _staged(self) -> list[Phase]:
        """The phases of this method, one walk each."""
        method = METHODS.get(self.method)
        phases: list[Phase] = ["sparse"]
        if method and method.redenses:
            phases.append("redense")
        if method and method.finishes:
            phases.append("final")
        return phases

    @property
    def phases(self) -> list[Phase]:
        """The walks over the model that this run consists of."""
        if self.phase:
            return [PHASES[self.phase]]
        return ["fused"] if self.schedule == "fused" else self._staged()

    def written_by(self, phase: Phase) -> Stage:
        """The stage of the weights that a walk leaves in the model."""
        last: Stage = "final" if METHODS[self.method].finishes else "sparse"
        stages: dict[Phase, Stage] = {"fused": last, "sparse": "sparse", "redense": "redense", "final": "final"}
        return stages[phase]

    def branch(self, changes: dict[str, Any], parent: Parent) -> "RunConfig":
        """This run's configuration for the phase after `parent`'s, with some options changed.

        Raises:
            SDSError: the change would contradict what the parent has done.
        """
        kept = FIXED_BY_PARENT if parent.phase == 1 else (*FIXED_BY_PARENT, "method")
        if fixed := [name for name in kept if changes.get(name, getattr(self, name)) != getattr(self, name)]:
            raise SDSError(f"a branch keeps its parent's {' and '.join(fixed)}", cure="start a new run instead")
        method = changes.get("method", self.method)
        options = (self.options if method == self.method else {}) | changes.get("options", {})
        place = {"schedule": "staged", "phase": parent.phase + 1, "parent": dataclasses.asdict(parent)}
        return RunConfig.from_dict(self.to_dict() | changes | {"options": options} | place)

    @property
    def texts(self) -> tuple[str, str]:
        """Calibration and evaluation text as they are used: no token is in both."""
        return apart(self.calibration, self.evaluation)

    @property
    def pruner_title(self) -> str:
        """What to call the base pruner: an own one with the start of its hash, for its file may have been another."""
        return f"{self.pruner} (own, {self.pruner_sha256[:8]})" if self.pruner_sha256 else self.pruner

    def parsed_pattern(self) -> Pattern:
        return parse_pattern(self.pattern)

    def made_method(self) -> Method:
        return make_method(self.method, self.options)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "RunConfig":
        """The inverse of `to_dict`.

        Raises:
            SDSError: unknown fields, or values that contradict each other.
        """
        known = {f.name for f in dataclasses.fields(cls)}
        if unknown := sorted(set(values) - known):
            raise SDSError("a run has no such option", got=", ".join(unknown), allowed=", ".join(sorted(known)))
        parent = values.get("parent")
        try:
            return cls(**{**values, "parent": Parent(**parent) if parent else None})
        except TypeError as error:
            raise SDSError(f"not a run's configuration: {error}") from error

    def command(self) -> str:
        """The command line that does the same."""
        origin = ["--from", self.parent.run] if self.parent else []
        return shlex.join(["python", "-m", "sds_core", "run", *self.flags(), *origin])

    def flags(self, without: Sequence[str] = ()) -> list[str]:
        """The command line's flags for everything that is not at its default; fields in `without` are left out."""
        words = []
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            hidden = f.name in (*NOT_FLAGS, *without) or (f.name == "schedule" and self.phase)
            if hidden or value == f.default:
                continue
            words += flag(f.name, value)
        for name, value in self.options.items():
            words += flag(name, value)
        return words if "pruner" in without else [*words, *plugins.flag([self.pruner])]


def flag(name: str, value: Any) -> list[str]:
    """A value as words of the command line."""
    name = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{name}" if value else f"--no-{name}"]
    return [f"--{name}", str(value)]


PRESETS: dict[str, dict[str, Any]] = {
    "quick": {"samples": 8, "length": 512, "eval_windows": 16, "eval_length": 512},
    "best": {
        "method": "sds-admm",
        "samples": 32,
        "length": 1024,
        "eval_windows": 64,
        "eval_length": 1024,
        "options": {"block_epochs": 2},
    },
    "paper": {
        "method": "sds",
        "schedule": "staged",
        "calibration": "hub:allenai/c4:en:train:text",
        "samples": 128,
        "length": 2048,
        "evaluation": "hub:Salesforce/wikitext:wikitext-2-raw-v1:test:text",
        "eval_windows": 64,
        "eval_length": 2048,
        "options": {
            "iterations": 200,
            "learning_rate": 0.1,
            "l1": 0.1,
            "l2": 0.1,
            "adjust_iterations": 200,
            "alpha": 0.0,
        },
    },
}
"""Named recipes: minutes on a laptop; the best there is; the paper's settings, as far as they are known."""


def describe(cls: Any) -> dict[str, str]:
    """The documentation under each field of a dataclass, read from its source."""
    import ast
    import inspect
    import textwrap

    body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    assert isinstance(body, ast.ClassDef)
    found: dict[str, str] = {}
    for item, following in zip(body.body, body.body[1:], strict=False):
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name) and isinstance(following, ast.Expr):
            assert isinstance(following.value, ast.Constant)
            found[item.target.id] = " ".join(str(following.value.value).split())
    return found
