"""Faults injected on purpose into runs of a tiny model, and what becomes of them: a row a kind, a count an outcome.

python benchmarks/faults.py [--kills 100 --races 50 --hostile 1000 --flips 40 --runs 500] [--out FILE]
"""

import argparse
import contextlib
import errno
import io
import os
import random
import signal
import subprocess
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
from sds_core.commands.records import list_runs
from sds_core.runs import lock
from sds_core.runs.config import RunConfig
from sds_core.runs.new_run import create
from sds_core.runs.run_folder import Run
from sds_core.runs.worker import launch
from tests.conftest import PROSE, byte_level_tokenizer
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


def full_disks(model: Path) -> Outcomes:
    """Let every durable write of a run be the one for which the disk is full."""
    whole, real = finished(model), os.fsync
    for failing in range(1, 1000):
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
        told = "said" if said else "could not be written to the log"
        yield "disk full at a write", f"{kept}; {told}" + ("; RUBBISH" if rubbish else "")
        run.delete()


RACER = """
import sys, time
from sds_core.errors import SDSError
from sds_core.runs import lock
from sds_core.runs.run_folder import open_run
lock.PATIENCE = 0.05
run = open_run(sys.argv[1])
while time.time() < float(sys.argv[2]):
    pass
try:
    run.take_lock()
    time.sleep(0.5)
    print("got it")
except SDSError:
    print("refused")
"""
WAITER = """
import sys, time
from sds_core.runs.device_queue import device_to_itself
class Log:
    append = staticmethod(lambda event: None)
with device_to_itself("cpu", sys.argv[1], float(sys.argv[2]), Log(), lambda: False):
    print(f"begin {time.time()}")
    time.sleep(0.05)
    print(f"end {time.time()}")
"""


def _together(code: str, arguments: list[list[str]]) -> list[str]:
    """Return what processes that run side by side print."""
    command = [sys.executable, "-c", code]
    started = [subprocess.Popen([*command, *words], stdout=subprocess.PIPE, text=True) for words in arguments]
    return [process.communicate()[0] for process in started]


def races(model: Path, count: int) -> Outcomes:
    """Let two processes race for a run, and four for the device."""
    for _ in range(count):
        run = create(config(model))
        at = str(time.time() + 3)
        told = sorted(said.strip() for said in _together(RACER, [[run.id, at]] * 2))
        yield "two processes race for a run", "one gets it" if told == ["got it", "refused"] else f"BOTH: {told}"
        run.delete()
    for i in range(count):
        said = _together(WAITER, [[f"job-{j}", str(i + j)] for j in range(3)])
        times = sorted(tuple(float(line.split()[1]) for line in one.splitlines()) for one in said)
        alone = all(before[1] <= after[0] for before, after in zip(times, times[1:], strict=False))
        yield "three processes race for a device", "one after the other" if alone else "TOGETHER"


def many_runs(count: int) -> Outcomes:
    """List a folder of many runs."""
    for _ in range(count):
        create(RunConfig())
    began = time.monotonic()
    with contextlib.redirect_stdout(io.StringIO()):
        list_runs(argparse.Namespace())
    seconds = time.monotonic() - began
    yield f"a folder of {count} runs is listed", f"{seconds:.2f} s" + ("" if seconds < 0.5 else ", LONGER than 0.5 s")


def table(outcomes: Counter[tuple[str, str]]) -> str:
    lines = ["| fault | count | what became of it |", "|---|---|---|"]
    rows = (f"| {kind} | {count} | {became} |" for (kind, became), count in sorted(outcomes.items()))
    return "\n".join([*lines, *rows]) + "\n"


def main() -> int:
    """Run all; 1 if something was lost, crashed or shared that must not be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, count in {"kills": 100, "races": 50, "hostile": 1000, "flips": 40, "runs": 500}.items():
        parser.add_argument(f"--{name}", type=int, default=count)
    parser.add_argument("--no-full-disks", action="store_true")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    dice, outcomes = random.Random(0), Counter[tuple[str, str]]()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ |= {"SDS_RUNS": str(folder / "runs"), "SDS_CACHE": str(folder / "cache")}
        lock.PATIENCE = 0.2
        model = tiny_model(folder / "model")
        for found in (
            kills(model, options.kills, dice),
            iter(()) if options.no_full_disks else full_disks(model),
            flips(finished(model), options.flips, dice),
            races(model, options.races),
            hostile(finished(model), model, options.hostile, dice),
            many_runs(options.runs),
        ):
            for kind, became in found:
                outcomes[kind, became] += 1
    print(text := table(outcomes))
    if options.out:
        options.out.write_text(text, encoding="utf-8")
    return int(any(word in became for _, became in outcomes for word in ("LOST", "CRASH", "BOTH", "TOGETHER")))


if __name__ == "__main__":
    sys.exit(main())
