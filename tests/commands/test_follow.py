"""What is said of a worker that ended without a word."""

import signal
from dataclasses import replace

import pytest

from sds_core.commands import follow
from sds_core.commands.follow import follow_new
from sds_core.errors import SDSError
from sds_core.runs.config import RunConfig
from sds_core.runs.events import BlockFinished, DistillationSaved, JobFailed
from sds_core.runs.new_run import create
from tests.records import write_log


class Ended:
    """A worker that has ended, or that one waits for in vain."""

    def __init__(self, code, interrupt=False):
        self.code, self.interrupt = code, interrupt

    def poll(self):
        if self.interrupt:
            raise KeyboardInterrupt
        return self.code

    def wait(self):
        return self.code


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (-signal.SIGKILL, "was killed, probably because memory ran out"),
        (-signal.SIGSEGV, "was ended by signal 11"),
        (3, "died with exit code 3"),
    ],
)
def test_dead_worker_is_reported_with_its_likely_cause(runs_root, capsys, code, message):
    run = create(RunConfig())
    assert follow_new([run], lambda runs: [Ended(code)]) == 1
    said = capsys.readouterr().err
    assert f"the worker of run {run.id} {message}" in said
    assert f"sds_core resume {run.id}" in said.lower()


def test_run_whose_folder_is_gone_is_reported(runs_root, capsys):
    run = create(RunConfig())

    def start(runs):
        run.delete()
        return [Ended(1)]

    assert follow_new([run], start) == 1
    assert f"the folder of run {run.id} is gone" in capsys.readouterr().err
    assert not list(runs_root.iterdir())


def test_a_second_interrupt_keeps_the_line_that_resumes(runs_root, capsys, monkeypatch):
    run = create(RunConfig())

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(follow, "_show", interrupted)
    with pytest.raises(KeyboardInterrupt):
        follow_new([run], lambda runs: [Ended(1, interrupt=True)])
    assert f"resume with: python -m sds_core resume {run.id}" in capsys.readouterr().err
    assert run.cancel_requested


def test_a_run_cancelled_while_it_starts_elsewhere_is_stopped(runs_root, monkeypatch):
    run = create(RunConfig())

    class Starting(Ended):
        """A worker that removes a request to stop as it starts, and ends at the next one."""

        def poll(self):
            if self.code is None and run.cancel_requested:
                (run.folder / "cancel").unlink()
                self.code = -1
            elif self.code == -1 and run.cancel_requested:
                self.code = 0
            return None if self.code == -1 else self.code

    worker = Starting(None)
    monkeypatch.setattr(follow, "_show", lambda *_: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        follow_new([run], lambda runs: [worker])
    assert worker.code == 0


def test_sigterm_cancels_like_an_interrupt(runs_root, capsys, monkeypatch):
    run = create(RunConfig())
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(follow, "_show", lambda *_: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(KeyboardInterrupt):
        follow_new([run], lambda runs: [Ended(0)])
    assert run.cancel_requested and "sds_core resume" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("worked", [True, False])
def test_a_distillation_that_fails_later_is_kept_with_its_states(runs_root, worked):
    run = create(RunConfig(method="base"))
    block = BlockFinished(
        phase="sparse", stage="sparse", block=0, of=1, seconds=1.0, cpu_seconds=1.0, sha256="", layers=()
    )
    saved = DistillationSaved(step=32, sha256="")

    def fail(runs):
        write_log(
            run, [replace(block, inherited_from="parent"), *([saved] if worked else []), JobFailed(message="full")]
        )
        return [Ended(1)]

    assert follow_new([run], fail) == 1
    assert run.folder.exists() == worked


def test_new_runs_that_cannot_be_started_are_deleted(runs_root):
    def refuse(runs):
        raise SDSError("the disk is full")

    with pytest.raises(SDSError, match="the disk is full"):
        follow_new([create(RunConfig()), create(RunConfig())], refuse)
    assert not list(runs_root.iterdir())
