"""The processes that jobs run in: new ones, and those of earlier jobs that stay, warm, for the next.

To import torch and transformers takes seconds. A process that was asked to stay keeps them after its job, but no model
and no lock; the next job of the process that started it goes to it. It ends by itself where none comes for a while, and
with the process that started it.
"""

import gc
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from sds_core.files import disk_error
from sds_core.models.code_identity import code_identity
from sds_core.subprocess_environment import with_package

PATIENCE = 300.0
"""Seconds that a process stays for another job."""
PROMPTNESS = 2.0
"""Seconds within which a process that is free takes a job; later it is taken for hung, and ended."""
AT_MOST = 2
"""Processes that stay: several hundred megabytes each."""
CHUNK = 1 << 16
"""Bytes that are read at a time."""
MOST = 64
"""Descriptors that a command comes with."""
FREE, TAKEN, END = b"free", b"taken", b"\n"


class _Staying(NamedTuple):
    """A process that was asked to stay, at work or free."""

    process: subprocess.Popen
    line: socket.socket
    environment: dict[str, str]
    code: tuple[str, ...]
    """The identity of the code when it was started: what has changed since is not what it would execute."""

    def take(self, command: list[str], errors: int, locks: list[int]) -> bool:
        """Let it run a command, if it is free; return whether it does."""
        try:
            self.line.setblocking(False)
            if len(locks) >= MOST or self.line.recv(len(FREE)) != FREE:
                return False
            self.line.settimeout(PROMPTNESS)
            socket.send_fds(self.line, [json.dumps(command).encode() + END], [errors, *locks])
            return self.line.recv(len(TAKEN)) == TAKEN
        except TimeoutError:
            self.process.kill()
            return False
        except OSError:  # it is at work, or has ended
            return False


_staying: list[_Staying] = []
_lock = threading.Lock()
"""The app serves each visitor in a separate thread."""


def start_process(
    command: list[str], locks: list[int], errors: Path, runs: Path, stay: bool = False
) -> subprocess.Popen:
    """Run `python -m sds_core COMMAND --locks LOCKS` in a process of its own session, so that it outlives this one.

    Args:
        command: one of `commands/internal.py`.
        locks: descriptors that it inherits.
        errors: the file that its standard error is appended to.
        runs: the folder of runs.
        stay: whether the process may be one that has stayed, and stays for the next job.

    Raises:
        SDSError: the file cannot be written.
    """
    try:
        file = open(errors, "a", encoding="utf-8")  # noqa: SIM115, closed below
    except OSError as error:
        raise disk_error(errors, error) from error
    environment, code = _environment(runs), code_identity(own=["**/*.py"]) if stay else ()
    with file, _lock:
        for one in list(_staying):
            if one.process.poll() is not None:
                one.line.close()
                _staying.remove(one)
            elif (one.environment, one.code) == (environment, code) and one.take(command, file.fileno(), locks):
                return one.process
        if not stay or len(_staying) >= AT_MOST:
            return _start(command, locks, file.fileno(), environment)
        ours, theirs = socket.socketpair()
        with theirs:
            process = _start(command, locks, file.fileno(), environment, theirs.fileno())
        _staying.append(_Staying(process, ours, environment, code))
        return process


def _environment(runs: Path) -> dict[str, str]:
    return with_package() | {
        "SDS_RUNS": str(runs),
        # Waiting threads must not spin: on a busy laptop that made small solves hundreds of times slower.
        "OMP_WAIT_POLICY": "PASSIVE",
        # One heap for all threads: what one of them has freed, the others could not use.
        "MALLOC_ARENA_MAX": "1",
        # Matrices of a few megabytes come and go: pages that go back to the system are cleared before they return.
        "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
        "MALLOC_TRIM_THRESHOLD_": str(256 << 20),
        "TOKENIZERS_PARALLELISM": "false",
    }


def _start(
    command: list[str], locks: list[int], errors: int, environment: dict[str, str], line: int | None = None
) -> subprocess.Popen:
    staying = [] if line is None else [line]
    words = [*command, "--locks", ",".join(map(str, locks)), *(f"--stay={one}" for one in staying)]
    return subprocess.Popen(
        [sys.executable, "-m", "sds_core", *words],
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=errors,
        pass_fds=[*locks, *staying],
        env=environment,
    )


def stay(line: int, do: Callable[[list[str]], object]) -> None:
    """Run further commands of the process that started this one, until none comes for a while or that one ends.

    Args:
        line: the descriptor of a socket to it.
        do: runs a command, as `start_process` would.
    """
    import torch  # here, for pages that only start processes

    from sds_core.models.device import forget_peak_memory, return_freed_memory

    with socket.socket(fileno=line) as theirs:
        theirs.settimeout(PATIENCE)
        os.set_inheritable(line, False)
        while True:
            gc.collect()
            return_freed_memory()
            forget_peak_memory()
            if torch.accelerator.is_available():
                torch.accelerator.empty_cache()
            try:
                theirs.sendall(FREE)
                text, (errors, *locks), *_ = socket.recv_fds(theirs, CHUNK, MOST)
                while not text.endswith(END):
                    text += theirs.recv(CHUNK) or END
                command = json.loads(text)
                theirs.sendall(TAKEN)
            except (OSError, ValueError):  # none has come, or there is no one any more
                return
            os.dup2(errors, 2)
            os.close(errors)
            do([*command, "--locks", ",".join(map(str, locks))])
