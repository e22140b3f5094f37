"""Check that a run's options agree with each other."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from sds_core.errors import SDSError
from sds_core.pruning.methods import METHODS, make_method
from sds_core.pruning.pattern import NM, parse_pattern
from sds_core.pruning.reconstruction import MATRIX
from sds_core.pruning.registry import NO_PRUNER, check_reference
from sds_core.runs.phases import PHASES

if TYPE_CHECKING:  # it checks itself with the functions here
    from sds_core.runs.config import RunConfig

EXPERIMENT_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


def contradictions(config: "RunConfig") -> Iterator[SDSError]:
    """Yield an error for each subject in which options contradict each other: names, method, phases."""
    for check in (_check_names, _check_method, _check_phases):
        try:
            check(config)
        except SDSError as error:
            yield error


def _check_names(config: "RunConfig") -> None:
    check_reference(config.pruner, config.pruner_sha256)
    pattern = parse_pattern(config.pattern)
    if config.allocation != "uniform" and isinstance(pattern, NM):
        raise SDSError(
            f"an N:M pattern is the same in every block, so {config.allocation} cannot share it out",
            got=config.pattern,
            cure="choose a ratio such as 0.5, or the uniform allocation",
        )
    _ = config.texts
    if config.eval_windows == 1:
        raise SDSError("one evaluation window has no error", got=1, allowed="2 or more, or 0 for every one")
    if config.experiment and not EXPERIMENT_NAME.fullmatch(config.experiment):
        raise SDSError(
            "not an experiment's name", got=config.experiment, allowed="small letters, digits and hyphens, 64 at most"
        )
    if not config.model:
        raise SDSError("no model was named", allowed="a hub id, a folder, a .gguf file or demo")


def _check_method(config: "RunConfig") -> None:
    make_method(config.method, config.options)
    _ = config.reconstruction
    external = (config.method == "checkpoint", bool(config.checkpoint), config.pruner == NO_PRUNER)
    if any(external) and not all(external):
        raise SDSError(
            f"--method checkpoint, --checkpoint FOLDER and --pruner {NO_PRUNER} go together",
            cure="to look at a pruned checkpoint, use: python -m sds_core inspect",
        )
    if config.checkpoint and config.weights != "memory":
        raise SDSError("a checkpoint is held beside its dense model in memory", got=f"--weights {config.weights}")
    if config.distillation and config.weights == "disk":
        raise SDSError("distilling needs the whole model in memory", got="--weights disk")
    if config.distillation and not config.held_out:
        raise SDSError("held-out windows decide what distilling has gained", got="--held-out 0")
    if config.checkpoint and config.reconstruct != MATRIX:
        raise SDSError("a checkpoint is inspected as it is", got=f"--reconstruct {config.reconstruct}")


def _check_phases(config: "RunConfig") -> None:
    if config.phase not in (0, *PHASES):
        raise SDSError("unknown phase", got=config.phase, allowed="1 to 4, or 0 for all of them")
    if config.phase in (1, 2, 3) and config.schedule != "staged":
        raise SDSError(
            "single phases belong to a staged schedule", got=config.schedule, cure="drop --schedule, or drop --phase"
        )
    if config.phase > 1:
        steps = config.steps if config.method in METHODS else (1,)
        if config.phase not in steps:
            raise SDSError(f"method {config.method} has no phase {config.phase}", allowed=" or ".join(map(str, steps)))
        before = steps[steps.index(config.phase) - 1]
        if config.parent is None or config.parent.phase != before:
            raise SDSError(
                f"phase {config.phase} continues from a run that has finished phase {before}", cure="name it: --from"
            )
    if config.phase <= 1 and config.parent is not None:
        raise SDSError("phase 1 does not continue from a run", got=f"phase {config.phase}")
