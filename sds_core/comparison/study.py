"""The spread of a ratio of perplexities over calibration seeds, from the study that ships with the product."""

from typing import NamedTuple

from sds_core.models.gguf_files import DEMO
from sds_core.pruning.methods import METHODS
from sds_core.pruning.pattern import NM, parse_pattern
from sds_core.runs.config import RunConfig

MODEL, PATTERN, CALIBRATION = DEMO, NM(2, 4), "self"
"""The study's model, and the text that it calibrated on."""
DENSE = "dense"
ADJUSTED = {"beta": 0.2, "sequential": True}
"""Options of the study's `adjusted`, the control of `sds-admm`."""

SPREAD = {
    ("base:wanda", DENSE): 0.020,
    ("base:sparsegpt", DENSE): 0.047,
    ("sds-admm:wanda", DENSE): 0.026,
    ("base:sparsegpt", "base:wanda"): 0.065,
    ("sds-admm:wanda", "base:wanda"): 0.041,
    ("sds-admm:wanda", "base:sparsegpt"): 0.026,
    ("sds:wanda", "base:wanda"): 0.034,
    ("adjusted:wanda", "base:wanda"): 0.047,
    ("sds:sparsegpt", "base:sparsegpt"): 0.027,
    ("sds-admm:wanda", "adjusted:wanda"): 0.009,
}
"""Standard deviation over the seeds 0, 1 and 2 of the log ratio of perplexities, by METHOD:PRUNER. Source:
docs/results.md, "Perplexity at the same sparsity", 2:4: the perplexities given seed by seed for the first six, the
bracketed deviation over its ratio for the others. At 50 % the study has one seed, so it says nothing there."""
WIDEST = max(SPREAD.values())


class StudySpread(NamedTuple):
    """Standard deviation over seeds of a log ratio, and where it comes from, in words."""

    value: float
    source: str


def study_spread(config: RunConfig, reference: RunConfig | None) -> StudySpread | None:
    """Return the spread over seeds of the log ratio of two configurations; None where the study does not cover them.

    A pair that the study did not run with three seeds gets the widest spread of those that it did.

    Args:
        config, reference: the configurations; None for the dense model.
    """
    if not all(_as_in_study(side) for side in (config, reference) if side):
        return None
    pair = _name(config), _name(reference) if reference else DENSE
    value = SPREAD.get(pair, SPREAD.get(pair[::-1]))
    if value is None:
        return StudySpread(WIDEST, "seeds, the widest of the shipped study")
    return StudySpread(value, "seeds of the shipped study")


def _as_in_study(config: RunConfig) -> bool:
    uniform = config.allocation == "uniform" and not config.exclude and not config.checkpoint
    uniform = uniform and not config.distillation  # which the study did not do
    where = (config.model, parse_pattern(config.pattern), config.calibration)
    return uniform and where == (MODEL, PATTERN, CALIBRATION)


def _name(config: RunConfig) -> str:
    """METHOD:PRUNER where the options are those of the study, else empty."""
    options = ADJUSTED if config.method == "adjusted" else {}
    same = (
        config.schedule == "fused"
        and not config.reconstruction
        and config.made_method() == METHODS[config.method](**options)
    )
    return f"{config.method}:{config.pruner}" if same else ""
