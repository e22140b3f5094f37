"""One run from its configuration to its result: load, measure the dense model, walk, measure again, store."""

import platform
import shutil
import time
from collections import Counter
from collections.abc import Generator, Iterator
from dataclasses import asdict
from fractions import Fraction
from functools import partial
from statistics import fmean
from typing import Any

import torch
import transformers
from torch import Tensor

import sds_core
from sds_core.errors import SDSError
from sds_core.layer_result import LayerResult
from sds_core.models.block_reconstruction import BlockChange
from sds_core.models.calibration import digest
from sds_core.models.device import allow_fast_matmul, machine, peak_memory, pick_device
from sds_core.models.outliers import owl
from sds_core.pruning.pattern import Pattern, Unstructured
from sds_core.pruning.perplexity import Perplexity, compare
from sds_core.pruning.registry import NO_PRUNER
from sds_core.pruning.stages import Phase
from sds_core.runs import checkpoint, layer_stats
from sds_core.runs.checkpoint import Checkpoints
from sds_core.runs.external import ExternalCheckpoint
from sds_core.runs.files import require_space, write_json
from sds_core.runs.model_cache import Event, ModelCache, use_threads
from sds_core.runs.plugins import load_registry
from sds_core.runs.run_folder import FOLDERS, Run
from sds_core.sds import Recipe, run_phase


def experiment(run: Run, bench: ModelCache) -> Iterator[Event]:
    """Do what a run's configuration asks for, going on from what its record says is done.

    Yields:
        Events for the run's log. Those of kind `measuring` only tell that time passes.

    Raises:
        SDSError: whatever the user can cause; finished blocks stay on disk.
    """
    config, past = run.config, run.log.read()
    pruners = load_registry([config.pruner], accepted=[config.pruner_sha256])
    pruner = None if config.pruner == NO_PRUNER else pruners.make(config.pruner, config.pruner_sha256)
    first = next((e for e in past if e["kind"] == "start"), None)
    threads = use_threads(first["threads"] if first else config.threads)
    yield {"kind": "start", "threads": threads, "matmul": allow_fast_matmul(pick_device(config.device)), **_versions()}
    bench.open(config)
    opened = _opened(bench)
    identity = _identity(bench, opened)
    _same_as_before(run, past, identity)
    yield identity
    require_space(run.folder, _bytes_needed(run, bench))

    dense = yield from bench.measure_dense()
    yield _perplexity("dense", dense)
    recipe = Recipe(
        pruner=pruner,
        method=config.made_method(),
        pattern=config.parsed_pattern(),
        by_block=(yield from _by_block(bench, past)),
        given=opened.given if opened else None,
    )
    measured = {e["stage"]: Perplexity(tuple(e["losses"]), e["tokens"]) for e in past if e["kind"] == "perplexity"}
    for phase in config.phases:
        bench.restore_dense()
        bench.changed = True
        yield from _walk(run, bench, phase, recipe)
        stage = config.written_by(phase)
        if stage not in measured:
            began = time.monotonic()
            measured[stage] = yield from bench.measure(stage, opened.structure if opened else None)
            yield _perplexity(stage, measured[stage], dense) | {"seconds": round(time.monotonic() - began, 3)}
    write_json(run.folder / "result.json", _result(run, bench, measured | {"dense": dense}, opened))
    if not config.keep_weights:
        for folder in FOLDERS.values():
            shutil.rmtree(run.folder / folder, ignore_errors=True)
    yield {"kind": "finished"}


def _opened(bench: ModelCache) -> ExternalCheckpoint | None:
    """The checkpoint that is only looked at, if that is what the run is for."""
    if not bench.config.checkpoint:
        return None
    opened = ExternalCheckpoint(bench.config.checkpoint, bench.loaded, bench.structure, bench.config.dtype)
    opened.refuse_other(bench.config.parsed_pattern())
    return opened


def _by_block(bench: ModelCache, past: list[Event]) -> Generator[Event, None, tuple[Pattern, ...]]:
    """Every block's pattern where the allocation makes them differ; what the record says already is not asked again."""
    pattern = bench.config.parsed_pattern()
    if bench.config.allocation == "uniform":
        return ()
    assert isinstance(pattern, Unstructured)
    known = next((e["ratios"] for e in past if e["kind"] == "allocation"), None)
    if known is None:
        bench.restore_dense()
        ratios = yield from bench.following(
            "outliers", owl(bench.structure, bench.calibration, pattern.ratio, bench.device)
        )
        known = list(map(str, ratios))
        yield {"kind": "allocation", "ratios": known}
    return tuple(Unstructured(Fraction(ratio)) for ratio in known)


def _walk(run: Run, bench: ModelCache, phase: Phase, recipe: Recipe) -> Iterator[Event]:
    """One walk over the blocks, each block's results stored before it is reported."""
    config, blocks = run.config, bench.structure.blocks
    stage = config.written_by(phase)
    past = Checkpoints(run, stage)
    if past.finished == len(blocks):
        for block in blocks:
            bench.structure.store.change(block.module, partial(past.restore, block))
        return
    yield {"kind": "walk", "phase": phase, "stage": stage, "of": len(blocks)}
    began, used = time.monotonic(), time.process_time()
    rows, lines, weights = list[dict[str, Any]](), dict[str, dict[str, Any]](), dict[str, Tensor]()
    windows = torch.cat([bench.calibration, bench.held_out])
    for event in run_phase(phase, bench.structure, windows, recipe, bench.device, past, len(bench.held_out)):
        if isinstance(event, LayerResult):  # what is not kept is let go at once: a block's rounds would fill a GPU
            its_rows = layer_stats.rows(event)
            rows += its_rows
            lines[event.linear.label] = lines.get(event.linear.label, {}) | _line(event, its_rows)
            for done in event.stages:
                if done.stage == stage:
                    weights |= checkpoint.packed(event.linear, done)
            del event
            continue
        block = blocks[event.block]
        if rows:
            layer_stats.save(run.folder / "distributions" / f"{phase}-{event.block:03}.parquet", rows)
        sha256 = checkpoint.save(run, stage, block, weights)
        yield {
            "kind": "block",
            "phase": phase,
            "stage": stage,
            "block": event.block,
            "of": len(blocks),
            "seconds": round(time.monotonic() - began, 3),
            "cpu_seconds": round(time.process_time() - used, 3),
            "sha256": sha256,
            "linears": list(lines.values()),
            **({"block_change": asdict(event.change)} if event.change else {}),
        }
        began, used = time.monotonic(), time.process_time()
        rows, lines, weights = [], {}, {}


def _line(solved: LayerResult, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """One layer in the log: its losses by stage, and the exact counts of its last mask."""
    line: dict[str, Any] = {"linear": solved.linear.label, "seconds": round(solved.seconds, 3), "chosen": solved.chosen}
    line |= {f"loss_{row['stage']}": row["loss"] for row in rows if row["round"] == 0}
    for _, _, mask in solved.stages:
        if mask is not None:
            line["pruned"], line["count"] = int((~mask).sum()), mask.numel()
    return line


def _versions() -> dict[str, str]:
    return {
        "version": sds_core.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "machine": machine(),
    }


def _identity(bench: ModelCache, opened: ExternalCheckpoint | None) -> Event:
    """What exactly is worked on: files, windows, counts."""
    structure = bench.structure
    return {
        "kind": "model",
        "model": bench.loaded.name,
        "folder": str(bench.loaded.folder),
        "dtype": str(bench.loaded.model.dtype).removeprefix("torch."),
        "device": str(bench.device),
        "weights": bench.loaded.store.kind,
        "sha256": bench.loaded.sha256 | (opened.sha256 if opened else {}),
        "blocks": len(structure.blocks),
        "prunable": structure.prunable,
        "total": structure.total,
        "matrices": structure.matrices,
        "excluded": structure.excluded,
        "calibration": bench.config.texts[0],
        "evaluation": bench.config.texts[1],
        "calibration_sha256": digest(bench.calibration),
        "evaluation_sha256": digest(bench.evaluation),
    }


def _same_as_before(run: Run, past: list[Event], now: Event) -> None:
    """A resumed or branched run must find the files it began with.

    Raises:
        SDSError: a file of the model or a text has changed; it is named.
    """
    before = next((e for e in past if e["kind"] == "model"), None)
    if before is None:
        return
    changed = [name for name, sha256 in before["sha256"].items() if now["sha256"].get(name) != sha256]
    changed += [f"the {text} text" for text in ("calibration", "evaluation") if _moved(text, before, now)]
    if changed:
        raise SDSError(
            f"run {run.id} cannot go on: {', '.join(changed)} changed since it began",
            cure="put the old files back, or start a new run",
        )


def _moved(text: str, before: Event, now: Event) -> bool:
    return before[f"{text}_sha256"] != now[f"{text}_sha256"]


def _bytes_needed(run: Run, bench: ModelCache) -> int:
    """Disk space of all checkpoints to come: weights in the model's precision, masks in bits, a little for records."""
    stages = [run.config.written_by(phase) for phase in run.config.phases]
    there = sum(path.stat().st_size for stage in stages for path in (run.folder / FOLDERS[stage]).glob("*"))
    return max(len(stages) * _weight_bytes(bench) - there, 0) + (16 << 20)


def _weight_bytes(bench: ModelCache) -> int:
    """Size of one stage's checkpoints."""
    return int(bench.structure.prunable * (bench.loaded.model.dtype.itemsize + 1 / 8))


def _perplexity(stage: str, measured: Perplexity, dense: Perplexity | None = None) -> Event:
    event: Event = {"kind": "perplexity", "stage": stage, "value": min(measured.value, 1e300), **asdict(measured)}
    if dense is not None:
        paired = compare(measured, dense)
        event |= {"log_ratio": paired.log_ratio, "error": paired.error}
    return event


def _result(
    run: Run, bench: ModelCache, measured: dict[str, Perplexity], opened: ExternalCheckpoint | None
) -> dict[str, Any]:
    """The run in numbers."""
    events = run.log.read()
    last = run.config.written_by(run.config.phases[-1])
    lines = [line for e in events if e["kind"] == "block" and e["stage"] == last for line in e["linears"]]
    pruned = sum(line.get("pruned", 0) for line in lines)
    return {
        "perplexity": {stage: _perplexity(stage, value, measured["dense"]) for stage, value in measured.items()},
        "last": last,
        "pruned": pruned,
        "prunable": bench.structure.prunable,
        "total": bench.structure.total,
        "sparsity": pruned / bench.structure.prunable,
        "model_sparsity": pruned / bench.structure.total,
        "excluded": bench.structure.excluded,
        **({"besides": opened.besides} if opened else {}),
        "chosen": Counter(line["chosen"] for line in lines if line["chosen"]),
        **_block_change(
            [BlockChange(**e["block_change"]) for e in events if e.get("stage") == last and "block_change" in e]
        ),
        "seconds": _by_phase(events, "seconds"),
        "cpu_seconds": _by_phase(events, "cpu_seconds"),
        "measuring_seconds": round(sum(e.get("seconds", 0.0) for e in events if e["kind"] == "perplexity"), 1),
        "peak_memory": peak_memory(),
        "weight_bytes": _weight_bytes(bench),
        "command": run.config.command(),
        "calibration": run.config.texts[0],
        "evaluation": run.config.texts[1],
        "calibration_sha256": digest(bench.calibration),
        "evaluation_sha256": digest(bench.evaluation),
        **_versions(),
    }


def _block_change(changes: list[BlockChange]) -> dict[str, Any]:
    """What adjusting blocks as a whole did to their error, the mean over all; one that did not gain stays as it was."""
    if not changes:
        return {}
    before = fmean(change.before for change in changes)
    after = fmean(change.after if change.kept else change.before for change in changes)
    kept = sum(change.kept for change in changes)
    return {"block_change": {"kept": kept, "of": len(changes), "before": before, "after": after}}


def _by_phase(events: list[Event], what: str) -> dict[str, float]:
    """Seconds of all blocks, by phase."""
    total = Counter[str]()
    for event in events:
        if event["kind"] == "block":
            total[event["phase"]] += event[what]
    return {phase: round(seconds, 1) for phase, seconds in total.items()}
