"""The process that works runs off: started by command line, app and tests alike, one at a time per device."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sds_core.errors import Cancelled, SDSError
from sds_core.runs import lock
from sds_core.runs.store import Run


def launch(runs: list[Run]) -> subprocess.Popen:
    """Start a worker for these runs, which it works off in order, sharing the model.

    Each run's lock is taken here and inherited by the worker, so that it is held without a gap.

    Raises:
        SDSError: another process works on one of them, one is finished, or its pruner is not here.
    """
    from sds_core.runs import own_pruners

    for run in runs:
        own_pruners.require(run.config.pruner, run.config.pruner_sha256)
    descriptors: list[int] = []
    try:
        for run in runs:
            descriptors.append(run.take_lock())
            if (run.folder / "result.json").exists():
                raise SDSError(f"run {run.id} is finished already", cure="start a new run, or export this one")
            (run.folder / "cancel").unlink(missing_ok=True)
        command = [sys.executable, "-m", "sds_core", "work", *(run.id for run in runs)]
        package = str(Path(__file__).parents[2])
        paths = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
        with open(runs[0].folder / "stderr.txt", "a", encoding="utf-8") as errors:
            return subprocess.Popen(
                [*command, "--locks", ",".join(map(str, descriptors))],
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                pass_fds=descriptors,
                # Waiting threads must not spin: on a busy laptop that made small solves hundreds of times slower.
                env=os.environ
                | {
                    "PYTHONPATH": paths,
                    "SDS_RUNS": str(runs[0].folder.parent),
                    "OMP_WAIT_POLICY": "PASSIVE",
                    "TOKENIZERS_PARALLELISM": "false",
                },
            )
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def work(runs: list[Run], locks: list[int]) -> int:
    """Work runs off in order; returns the number that did not finish.

    `locks` are the inherited descriptors of the runs' locks; they stay open until this process ends.
    """
    for run, descriptor in zip(runs, locks, strict=True):
        os.set_inheritable(descriptor, False)
        lock.note_owner(descriptor)
        run.log.mend()
    for run, before in zip(runs[1:], runs, strict=False):
        run.log.append({"kind": "queued", "behind": before.id})
    try:
        with _device_to_itself(runs):
            return _work_off(runs)
    except SDSError as error:  # before the first run began: there is no such device
        for run in runs:
            run.log.append({"kind": "failed", "message": str(error)})
        return len(runs)


def _work_off(runs: list[Run]) -> int:
    import torch

    from sds_core.runs.experiment import experiment
    from sds_core.runs.workbench import Workbench

    walks = [len(run.config.walks) for run in runs]
    bench = Workbench(keep_dense=sum(walks) > 1)
    failed = 0
    for run in runs:
        began = time.monotonic()
        try:
            _refuse_cancelled(run)
            for count, event in enumerate(experiment(run, bench), start=len(run.log.read())):
                run.log.append({"n": count, "t": round(time.monotonic() - began, 2), **event})
                if event["kind"] != "finished":
                    _refuse_cancelled(run)
        except Cancelled as error:
            run.log.append({"kind": "cancelled", "message": str(error)})
            failed += 1
        except SDSError as error:
            run.log.mend()  # a full disk can have torn the last event
            run.log.append({"kind": "failed", "message": str(error)})
            failed += 1
        except (MemoryError, torch.OutOfMemoryError) as error:
            full = SDSError(f"memory ran out: {error}", cure="take fewer or shorter windows, or a smaller model")
            run.log.append({"kind": "failed", "message": str(full)})
            failed += 1
        except Exception as error:
            message = f"internal error, please report it: {type(error).__name__}: {error}"
            where = f"(see {runs[0].folder}/stderr.txt)"
            run.log.append({"kind": "failed", "internal": True, "message": f"{message} {where}"})
            raise
    return failed


def _refuse_cancelled(run: Run) -> None:
    if run.cancel_requested:
        raise Cancelled("cancelled; finished blocks are kept", cure=f"go on with: python -m sds_core resume {run.id}")


@contextmanager
def _device_to_itself(runs: list[Run]) -> Iterator[None]:
    """Wait until no other worker uses the device, or all runs are cancelled; the record says who is waited for."""
    from sds_core.models.device import pick_device
    from sds_core.models.load import cache_folder

    first = runs[0]
    path = cache_folder() / f"{str(pick_device(first.config.device)).replace(':', '-')}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    waiting = False
    while (descriptor := lock.take(path, {"pid": os.getpid(), "run": first.id, "since": time.time()})) is None:
        if not waiting:
            first.log.append({"kind": "queued", "behind": lock.owner(path).get("run", "another run")})
            waiting = True
        if all(run.cancel_requested for run in runs):
            break
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)
