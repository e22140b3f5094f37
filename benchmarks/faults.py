"""Faults injected on purpose into runs of a tiny model, and what becomes of them: a row a kind, a count an outcome.

    python benchmarks/faults.py [--quick] [--kills 100 --hostile 1000 …] [--out FILE]

Sessions of the app are websockets that send what a browser's tab sends (`sessions.py`); no browser is needed.
"""

import argparse
import contextlib
import errno
import io
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ["HF_HUB_OFFLINE"] = "1"

from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.hostile import Outcomes, flips, hostile
from benchmarks.races import races
from benchmarks.sessions import hostile_addresses, killed_servers, many_sessions
from sds_core.commands.records import list_runs
from sds_core.runs import lock
from sds_core.runs.config import RunConfig
from sds_core.runs.new_run import create
from sds_core.runs.run_folder import Run, root
from sds_core.runs.worker import launch
from tests.fixtures import PROSE, byte_level_tokenizer
from tests.models.families import randomised
from tests.small_runs import config, work_here

SHAPES = ({"schedule": "fused"}, {"schedule": "staged", "method": "sds", "options": {"iterations": 3}})
"""The kinds of run that are killed."""


def tiny_model(folder: Path) -> Path:
    """Write a model of three blocks, its tokenizer and a text."""
    tokenizer = byte_level_tokenizer()
    tokenizer.save_pretrained(folder)
    (folder / "text.txt").write_text(PROSE * 150, encoding="utf-8")
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}
    randomised(LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **sizes))).save_pretrained(folder)
    return folder


def numbers(run: Run) -> tuple[object, ...]:
    """What must be the same however often a run was interrupted: digests of its weights, and perplexities."""
    result = run.finished_result()
    return result.perplexity, result.pruned, {stage: run.checkpoints(stage) for stage in ("sparse", "redense", "final")}


def finished(model: Path, **options: object) -> Run:
    run = create(config(model, **options))
    work_here([run])
    assert run.state() == "finished", run.log.read()[-1]
    return run


def kills(model: Path, count: int, dice: random.Random) -> Outcomes:
    """Kill the worker at a random moment, resume, and compare with a run that was left in peace."""
    whole = [finished(model, **shape) for shape in SHAPES]
    began = time.monotonic()
    launch([first := create(config(model))]).wait()
    usual = time.monotonic() - began
    first.delete()
    for i in range(count):
        run = create(config(model, **SHAPES[i % len(SHAPES)]))
        worker = launch([run])
        time.sleep(dice.uniform(0.3, 1.0) * usual)
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker.pid, signal.SIGKILL)
        worker.wait()
        if run.state() != "finished":
            launch([run]).wait()
        same = run.state() == "finished" and numbers(run) == numbers(whole[i % len(SHAPES)])
        yield "kill -9 at a random moment, resumed", "bit-identical" if same else f"LOST: {run.state()}"
        run.delete()


def full_disks(model: Path, each: int) -> Outcomes:
    """Let every durable write of a run, or one of so many, be the one for which the disk is full."""
    whole, real = finished(model), os.fsync
    for failing in range(1, 1000, each):
        calls, run = 0, create(config(model))

        def fsync(descriptor: int, failing: int = failing) -> None:
            nonlocal calls
            calls += 1
            if calls == failing:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            real(descriptor)

        with mock.patch("os.fsync", fsync), contextlib.redirect_stderr(io.StringIO()):
            work_here([run])
        if calls < failing:
            return
        said = run.state() == "failed" and "No space left" in run.log.read()[-1].message
        rubbish = list(run.folder.rglob("*.partial"))
        if run.state() != "finished":
            work_here([run])
        kept = "resumed, bit-identical" if numbers(run) == numbers(whole) else "LOST"
        recorded = "said" if said else "could not be written to the log"
        yield "disk full at a write", f"{kept}; {recorded}" + ("; RUBBISH" if rubbish else "")
        run.delete()


def many_runs(model: Path, count: int) -> Outcomes:
    """List a folder of many runs, half of them finished."""
    done = finished(model)
    for i in range(count):
        if i % 2:
            shutil.copytree(done.folder, root() / f"copy-{i}", ignore=shutil.ignore_patterns("phase*"))
        else:
            create(RunConfig())
    began, used = time.monotonic(), time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        list_runs(argparse.Namespace())
    seconds, used = time.monotonic() - began, time.process_time() - used
    outcome = f"{seconds:.2f} s (CPU {used:.2f} s)" + ("" if seconds < 0.5 else ", LONGER than 0.5 s")
    yield f"a folder of {count} runs is listed", outcome


def table(outcomes: Counter[tuple[str, str]]) -> str:
    lines = ["| fault | count | what became of it |", "|---|---|---|"]
    rows = (f"| {kind} | {count} | {outcome} |" for (kind, outcome), count in sorted(outcomes.items()))
    return "\n".join([*lines, *rows]) + "\n"


COUNTS = {
    "kills": (100, 4),
    "flips": (40, 10),
    "races": (50, 5),
    "hostile": (1000, 110),
    "addresses": (200, 20),
    "servers": (5, 1),
    "sessions": (20, 20),
    "polls": (60, 10),
    "runs": (500, 500),
}
"""How many of each, and how many with `--quick`."""
WRONG = ("LOST", "CRASH", "BOTH", "TOGETHER", "RUBBISH")


def main() -> int:
    """Run all; 1 if something was lost, crashed or shared that must not be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few of each, one disk write of four")
    for name, (full, _) in COUNTS.items():
        parser.add_argument(f"--{name}", type=int, metavar="N", help=f"(default: {full})")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    asked = vars(options)
    count = {name: asked[name] if asked[name] is not None else both[options.quick] for name, both in COUNTS.items()}
    dice, outcomes = random.Random(0), Counter[tuple[str, str]]()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ |= {"SDS_RUNS": str(folder / "runs"), "SDS_CACHE": str(folder / "cache")}
        lock.PATIENCE = 0.2
        model = tiny_model(folder / "model")
        for part in (
            kills(model, count["kills"], dice),
            full_disks(model, each=4 if options.quick else 1),
            flips(finished(model), count["flips"], dice),
            races(count["races"]),
            hostile(finished(model), model, count["hostile"], dice),
            hostile_addresses(count["addresses"], dice),
            killed_servers(model, count["servers"], dice),
            many_sessions(count["sessions"], count["polls"]),
            many_runs(model, count["runs"]),
        ):
            began, kind = time.monotonic(), ""
            for kind, outcome in part:
                outcomes[kind, outcome] += 1
            print(f"{time.monotonic() - began:.0f} s until: {kind}", file=sys.stderr, flush=True)
    print(text := table(outcomes))
    if options.out:
        options.out.write_text(text, encoding="utf-8")
    return int(any(word in outcome for _, outcome in outcomes for word in WRONG))


if __name__ == "__main__":
    sys.exit(main())
