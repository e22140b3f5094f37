"""Judge which model reads the prompts of a query better, by the mean over prompts and calibration seeds."""

from collections.abc import Callable, Sequence
from statistics import fmean

from sds_core.comparison.claims import Claim, judge, listed, seed_error, statement
from sds_core.texts.query import TextReading, TextResult, compare_readings


def judgement(result: TextResult, mark: Callable[[str], str] = str) -> list[tuple[str, str]]:
    """Return how the best configuration of a query compares to each other one, as a statement and what it rests on.

    Readings that differ only in the calibration seed are one configuration. The shipped study does not cover a few
    prompts, so with one seed everything is undecided. Dense and re-dense models are not ranked, distilled ones among
    themselves.

    Args:
        mark: applied to every name, to set it in bold.
    """
    pruned = [reading for reading in result.readings if reading.pruned]
    return [
        said
        for distilled in (False, True)
        for said in _judged([reading for reading in pruned if reading.distilled is distilled], mark)
    ]


def sentences(result: TextResult, mark: Callable[[str], str] = str) -> list[str]:
    """Return the same, one sentence each."""
    return [f"{said}: {why}." for said, why in judgement(result, mark)]


def _judged(readings: Sequence[TextReading], mark: Callable[[str], str]) -> list[tuple[str, str]]:
    groups: dict[str, list[TextReading]] = {}
    for reading in readings:
        groups.setdefault(reading.configuration, []).append(reading)
    if len(groups) < 2:
        return []
    best, *others = sorted(groups.values(), key=lambda group: fmean(reading.mean for reading in group))
    return [statement(_claim(best, other), mark(_title(best)), mark(_title(other)), "prompts") for other in others]


def _claim(mine: Sequence[TextReading], reference: Sequence[TextReading]) -> Claim:
    """Return the claim on the seeds that both have, or on all of each if they share none."""
    ours, theirs = ({reading.seed: reading for reading in group} for group in (mine, reference))
    shared = sorted(ours.keys() & theirs.keys())
    ratios = {seed: compare_readings([ours[seed]], [theirs[seed]]).log_ratio for seed in shared}
    if shared:
        mine, reference = [ours[seed] for seed in shared], [theirs[seed] for seed in shared]
    return judge(compare_readings(mine, reference), *seed_error(ratios, None))


def _title(group: Sequence[TextReading]) -> str:
    """Return the name of a configuration, with its seeds where there are several."""
    seeds = listed([str(seed) for seed in sorted({reading.seed for reading in group})])
    return group[0].configuration + (f" (mean over seeds {seeds})" if len(group) > 1 else "")


def table(result: TextResult) -> str:
    """Return a result as plain text: losses token by token, their means, continuations and the judgement."""
    dense, *others = result.readings
    width = max(len(reading.name) for reading in result.readings) + 2
    lines = list[str]()

    def row(head: str, cells: Sequence[str]) -> None:
        lines.append((f"{head:<26}" + "".join(f"{cell:>{width}}" for cell in cells)).rstrip())

    for number, pieces in enumerate(result.pieces):
        readings = [reading.prompts[number] for reading in result.readings]
        row(f"prompt {number + 1}, nats a token", [reading.name for reading in result.readings])
        for i, piece in enumerate(pieces):
            row(repr(piece), [f"{reading.losses[i - 1]:.3f}" if i else "" for reading in readings])
        row("mean", [f"{reading.mean:.3f}" for reading in readings])
        lines.append("")
    row("all prompts", [reading.name for reading in result.readings])
    row("mean", [f"{reading.mean:.3f}" for reading in result.readings])
    above = [compare_readings([other], [dense]) for other in others]
    row("mean, above dense", ["", *(f"{paired.log_ratio:+.3f}" for paired in above)])
    row("± over prompts", ["", *("?" if paired.error != paired.error else f"{paired.error:.3f}" for paired in above)])
    lines += ["", *sentences(result)]
    for number in range(len(result.prompts)):
        for reading in result.readings:
            lines += _continuations(result, reading, number)
    return "\n".join(lines)


def _continuations(result: TextResult, reading: TextReading, number: int) -> list[str]:
    """Return how a model continues a prompt, greedily and sampled."""
    prompt = reading.prompts[number]
    lines = ["", f"{reading.name} continues prompt {number + 1}, greedily:", "".join(prompt.continuation)]
    if prompt.sampled is not None:
        how = f"at temperature {result.temperature:g}, seed {result.sampling_seed}"
        lines += ["", f"{reading.name} continues prompt {number + 1}, {how}:", "".join(prompt.sampled)]
    return lines
