"""Finished runs beside each other, paired window by window with the dense model, the base pruner and the control."""

from dataclasses import dataclass
from typing import Any

from sds_core.errors import SDSError
from sds_core.maths.perplexity import Comparison, Perplexity, compare
from sds_core.runs.config import CALIBRATED, RunConfig
from sds_core.runs.store import Run

REFERENCES = {"base": "base", "control": "adjusted"}
"""Methods that others with the same pruner and pattern are compared to."""


@dataclass(frozen=True)
class Row:
    """One run's outcome."""

    run: str
    config: RunConfig
    sparsity: float
    """Share of pruned weights among the prunable ones."""
    model_sparsity: float
    """Share of pruned weights among all."""
    perplexity: float
    against: dict[str, Comparison]
    """To the `dense` model, to the `base` pruner alone and to the weights-only `control`, as far as they are here."""


def side_by_side(runs: list[Run]) -> list[Row]:
    """Rows in the order of the runs, unfinished ones left out.

    Raises:
        SDSError: runs differ in model or evaluation windows, so that nothing can be paired.
    """
    finished = [(run, run.config, result) for run in runs if (result := run.result())]
    for what in ("evaluation_sha256", "total"):
        if len({result[what] for _, _, result in finished}) > 1:
            raise SDSError("these runs differ in model or evaluation text, so they cannot be compared window by window")
    rows = []
    for run, config, result in finished:
        mine = _measured(result, result["last"])
        against = {"dense": compare(mine, _measured(result, "dense"))}
        for name, method in REFERENCES.items():
            other = next((r for _, c, r in finished if _is_reference(c, method, config)), None)
            if other is not None and config.method not in ("base", method):
                against[name] = compare(mine, _measured(other, other["last"]))
        rows.append(Row(run.id, config, result["sparsity"], result["model_sparsity"], mine.value, against))
    return rows


def table(rows: list[Row]) -> str:
    """Rows as plain text; a ratio below 1 is better, its error is the paired standard error over windows."""
    head = f"{'method':<12}{'pruner':<11}{'pattern':<9}{'sparsity':<11}{'perplexity':<12}{'× dense':<9}"
    lines = [f"{head}{'× base ± error':<18}× control ± error"]
    for row in rows:
        base, control = (_ratio(row.against.get(name)) for name in REFERENCES)
        line = (
            f"{row.config.method:<12}{row.config.pruner:<11}{row.config.pattern:<9}{row.sparsity:<11.4%}"
            f"{row.perplexity:<12.2f}{row.against['dense'].ratio:<9.3f}{base:<18}{control}"
        )
        lines.append(line.rstrip())
    return "\n".join(lines)


def _ratio(paired: Comparison | None) -> str:
    return f"{paired.ratio:.4f} ± {paired.ratio * paired.error:.4f}" if paired else ""


def _measured(result: dict[str, Any], stage: str) -> Perplexity:
    found = result["perplexity"][stage]
    return Perplexity(tuple(found["losses"]), found["tokens"])


def _is_reference(config: RunConfig, method: str, mine: RunConfig) -> bool:
    """Whether a run is the base, or the control with the same shrinkage and share of the teacher."""
    alike = all(getattr(config, name) == getattr(mine, name) for name in ("pruner", "pattern", *CALIBRATED))
    its, own = config.made_method(), mine.made_method()
    comparable = method == "base" or (its.alpha, its.beta) == (own.alpha, own.beta)
    return config.method == method and alike and comparable
