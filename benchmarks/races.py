"""Processes that go for the same run or device at the same moment, again and again; see `faults.py`."""

import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise

from benchmarks.hostile import Outcomes
from sds_core.runs.config import RunConfig
from sds_core.runs.new_run import create

RACER = """
import os, sys, time
from sds_core.errors import SDSError
from sds_core.runs import lock
from sds_core.runs.run_folder import open_run
lock.PATIENCE = 0.05
for line in sys.stdin:
    try:
        descriptor = open_run(line.strip()).take_lock()
        time.sleep(0.2)
        os.close(descriptor)
        print("got it", flush=True)
    except SDSError:
        print("refused", flush=True)
"""
WAITER = """
import sys, time
from sds_core.runs.device_queue import device_to_itself
class Log:
    append = staticmethod(lambda event: None)
for line in sys.stdin:
    job, since = line.split()
    with device_to_itself("cpu", job, float(since), Log(), lambda: False):
        began = time.time()
        time.sleep(0.02)
        ended = time.time()
    print(began, ended, flush=True)
"""


class Crew:
    """Processes that do the same at the same moment, again and again."""

    def __init__(self, code: str, size: int):
        command = [sys.executable, "-c", code]
        self._members = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(size)
        ]

    def do(self, lines: Sequence[str]) -> list[str]:
        """Give each a line; return what they answer."""
        for member, line in zip(self._members, lines, strict=True):
            assert member.stdin
            member.stdin.write(f"{line}\n")
            member.stdin.flush()
        return [member.stdout.readline().strip() for member in self._members if member.stdout]

    def __enter__(self) -> "Crew":
        return self

    def __exit__(self, *_: object) -> None:
        for member in self._members:
            member.kill()
            member.communicate()


def races(count: int) -> Outcomes:
    """Let two processes race for a run, and three for the device."""
    with Crew(RACER, 2) as crew:
        for _ in range(count):
            run = create(RunConfig())
            said = sorted(crew.do([run.id] * 2))
            yield "two processes race for a run", "one gets it" if said == ["got it", "refused"] else f"BOTH: {said}"
            run.delete()
    with Crew(WAITER, 3) as crew:
        for i in range(count):
            answers = crew.do([f"job-{j} {i + j}" for j in range(3)])
            times = sorted((float(one.split()[0]), float(one.split()[1])) for one in answers)
            alone = all(before[1] <= after[0] for before, after in pairwise(times))
            yield "three processes race for a device", "one after the other" if alone else "TOGETHER"
