"""Perplexities that the SDS paper published for one setting, to compare with runs that repeat it."""

from collections.abc import Iterable

from sds_core.comparison.outcomes import Outcome, outcome_of
from sds_core.pruning.pattern import NM
from sds_core.pruning.perplexity import format_perplexity, mean_over_runs
from sds_core.pruning.stages import Stage
from sds_core.pruning.titles import BASE, pruner_title
from sds_core.runs.config import MEASURED, RunConfig
from sds_core.runs.events import ModelLoaded, first
from sds_core.runs.presets import PRESETS
from sds_core.runs.run_folder import Run

FAMILY, WEIGHTS = "opt", 125_239_296
"""OPT-125M, whatever it is called here: its family and its number of weights."""
DENSE = 27.66
PUBLISHED = {"sparsegpt": (60.43, 51.30), "wanda": (82.47, 59.17)}
"""By base pruner: alone, and with SDS; 2:4, the whole raw WikiText-2 test text in windows of 2,048 tokens."""
SOURCE = "Li et al., arXiv 2408.10473, OPT-125M, 2:4, raw WikiText-2 test, every window of 2,048 tokens"


def beside_published(runs: Iterable[Run]) -> list[str]:
    """Return a table of the paper's perplexities and those of runs in its setting; empty if there is no such run.

    Of several seeds it is the mean, the first run of each.
    """
    here: dict[tuple[str, Stage], dict[int, Outcome]] = {}
    for run in runs:
        if not _in_its_setting(run):
            continue
        for stage in ("dense", "sparse") if run.config.method == BASE else ("dense", "sparse", "final"):
            if outcome := outcome_of(run, stage):
                here.setdefault((run.config.pruner, stage), {}).setdefault(run.config.seed, outcome)
    if not here:
        return []
    dense = next(found for (_, stage), found in here.items() if stage == "dense")
    first = next(iter(dense.values())).dense
    lines = [_line(SOURCE, "published", "here"), _line("dense", f"{DENSE:.2f}", format_perplexity(first.value))]
    for pruner, values in PUBLISHED.items():
        alone, with_sds = here.get((pruner, "sparse"), {}), here.get((pruner, "final"), {})
        for name, value, seeds in zip(("", "SDS · "), values, (alone, with_sds), strict=True):
            mean = mean_over_runs([each.measured for each in seeds.values()]) if seeds else None
            over = f", here the mean over {len(seeds)} seeds" if len(seeds) > 1 else ""
            cell = format_perplexity(mean.value) if mean else "–"
            lines.append(_line(f"{name}{pruner_title(pruner)}{over}", f"{value:.2f}", cell))
    return lines


def _in_its_setting(run: Run) -> bool:
    """Whether a run has that model, pattern, method and evaluation."""
    config, loaded, plain = run.config, first(run.log.read(), ModelLoaded), RunConfig()
    paper = PRESETS["paper"]
    alike = (*MEASURED, "bos", "exclude", "reconstruct")
    measured = all(getattr(config, name) == paper.get(name, getattr(plain, name)) for name in alike)
    model = loaded is not None and FAMILY in loaded.families and loaded.total == WEIGHTS
    return measured and model and config.parsed_pattern() == NM(2, 4) and config.method in (BASE, paper["method"])


def _line(name: str, published: str, here: str) -> str:
    return f"{name:<{len(SOURCE)}}{published:>11}{here:>10}"
