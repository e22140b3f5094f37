"""The configuration of a run: its options, and what follows from them."""

import dataclasses
import re
from dataclasses import dataclass, field

from sds_core.errors import SDSError, raise_together
from sds_core.models.text_spec import disjoint
from sds_core.options import Overrides, faults, is_unicode, options_of
from sds_core.pruning.methods import METHODS, Method, make_method
from sds_core.pruning.pattern import NM, Pattern, parse_pattern
from sds_core.pruning.reconstruction import MATRIX, Distillation, Reconstruction, Windows, windows_of
from sds_core.pruning.registry import NO_PRUNER, check_reference
from sds_core.pruning.stages import Phase, Stage
from sds_core.pruning.titles import CHECKPOINT, pruner_title
from sds_core.runs import typed_json
from sds_core.runs.phases import PHASES, RECONSTRUCTED, phase_numbers_of
from sds_core.runs.run_options import RunOptions

EXPERIMENT_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
CALIBRATED = ("calibration", "samples", "length", "seed", "held_out", "bos", "observation")
MEASURED = ("evaluation", "eval_windows", "eval_length", "eval_rows")
FIXED_BY_PARENT = ("model", "dtype", "pattern", "allocation", "exclude", "pruner", *CALIBRATED, *MEASURED)
"""Options that a branch takes over from its parent, whose weights were made with them."""


def meaning(name: str, value: object) -> object:
    """Return what the value of an option says; values written differently may say the same.

    Raises:
        SDSError: it is no pattern.
    """
    match name, value:
        case "pattern", str():
            return parse_pattern(value)
        case "exclude", str():
            return frozenset(value.split())
        case _:
            return value


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
class RunConfig(RunOptions):
    """One run: its options, those of its method, and its parent."""

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
        for check in (self._check_names, self._check_method, self._check_phases):
            try:
                check()
            except SDSError as error:
                found.append(error)
        raise_together(found)

    def _check_names(self) -> None:
        check_reference(self.pruner, self.pruner_sha256)
        pattern = parse_pattern(self.pattern)
        if self.allocation != "uniform" and isinstance(pattern, NM):
            raise SDSError(
                f"an N:M pattern is the same in every block, so {self.allocation} cannot share it out",
                got=self.pattern,
                cure="choose a ratio such as 0.5, or the uniform allocation",
            )
        _ = self.texts
        if self.eval_windows == 1:
            raise SDSError("one evaluation window has no error", got=1, allowed="2 or more, or 0 for every one")
        if self.experiment and not EXPERIMENT_NAME.fullmatch(self.experiment):
            raise SDSError(
                "not an experiment's name", got=self.experiment, allowed="small letters, digits and hyphens, 64 at most"
            )
        if not self.model:
            raise SDSError("no model was named", allowed="a hub id, a folder, a .gguf file or demo")

    def _check_method(self) -> None:
        make_method(self.method, self.options)
        _ = self.reconstruction
        external = (self.method == CHECKPOINT, bool(self.checkpoint), self.pruner == NO_PRUNER)
        if any(external) and not all(external):
            raise SDSError(
                f"--method checkpoint, --checkpoint FOLDER and --pruner {NO_PRUNER} go together",
                cure="to look at a pruned checkpoint, use: python -m sds_core inspect",
            )
        if self.checkpoint and self.weights != "memory":
            raise SDSError("a checkpoint is held beside its dense model in memory", got=f"--weights {self.weights}")
        if self.distillation and self.weights == "disk":
            raise SDSError("distilling needs the whole model in memory", got="--weights disk")
        if self.distillation and not self.held_out:
            raise SDSError("held-out windows decide what distilling has gained", got="--held-out 0")
        if self.checkpoint and self.reconstruct != MATRIX:
            raise SDSError("a checkpoint is inspected as it is", got=f"--reconstruct {self.reconstruct}")

    def _check_phases(self) -> None:
        if self.phase not in (0, *PHASES):
            raise SDSError("unknown phase", got=self.phase, allowed="1 to 4, or 0 for all of them")
        if self.phase in (1, 2, 3) and self.schedule != "staged":
            raise SDSError(
                "single phases belong to a staged schedule", got=self.schedule, cure="drop --schedule, or drop --phase"
            )
        if self.phase > 1:
            numbers = self.phase_numbers if self.method in METHODS else (1,)
            if self.phase not in numbers:
                raise SDSError(
                    f"method {self.method} has no phase {self.phase}", allowed=" or ".join(map(str, numbers))
                )
            before = numbers[numbers.index(self.phase) - 1]
            if self.parent is None or self.parent.phase != before:
                raise SDSError(
                    f"phase {self.phase} continues from a run that has finished phase {before}", cure="name it: --from"
                )
        if self.phase <= 1 and self.parent is not None:
            raise SDSError("phase 1 does not continue from a run", got=f"phase {self.phase}")

    @property
    def phases(self) -> list[Phase]:
        """The passes over the model that this run consists of."""
        if self.phase:
            return [PHASES[self.phase]]
        if self.schedule == "fused":
            return ["fused", *(PHASES[number] for number in self.phase_numbers if number > 3)]
        return [PHASES[number] for number in self.phase_numbers]

    @property
    def one_shot(self) -> Stage:
        """The stage of the weights that the method leaves, before anything is distilled."""
        return "final" if 3 in self.phase_numbers else "sparse"

    @property
    def phase_numbers(self) -> tuple[int, ...]:
        """The numbers of the phases that the method goes through, with what is adjusted after it."""
        return phase_numbers_of(self.method, self.reconstruct)

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
        return disjoint(self.calibration, self.evaluation, self.eval_rows)

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
