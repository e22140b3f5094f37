"""Launching an experiment's next phase, or all of them in one worker."""

import os
import time
from dataclasses import replace

import pytest

from sds_core.__main__ import main
from sds_core.errors import SDSError
from sds_core.pruning.registry import BUILT_IN
from sds_core.runs import experiment, launch_phases, lock
from sds_core.runs.config import RunConfig
from sds_core.runs.events import JobCancelled, JobFailed, RunStarted, of_kind
from sds_core.runs.experiment import Experiment
from sds_core.runs.launch_phases import (
    Plan,
    at_work,
    launch_all,
    launch_phase,
    plan_lock,
    reconfigure,
    runs_for,
    stopped,
)
from sds_core.runs.new_run import create_all
from sds_core.runs.run_folder import Run, ids
from sds_core.runs.variant import Variant
from tests.records import block_finished, model_loaded, run_started, write_log
from tests.small_runs import config, finish

SDS = Variant("sds", "wanda", {"iterations": 2, "adjust_iterations": 2})
MAGNITUDE = Variant("base", "magnitude")
CANCELLED = JobCancelled(message="cancelled")


@pytest.fixture
def empty(tiny_folder, runs_root):
    return experiment.with_settings(config(tiny_folder))


def test_one_worker_goes_through_all_phases(empty):
    (first, second) = launch_all(empty, [MAGNITUDE, SDS], BUILT_IN)
    assert {first.config.pruner, second.config.pruner} == {"magnitude", "wanda"}
    assert at_work(empty.name)
    with pytest.raises(SDSError, match="is being worked on"):
        launch_all(empty, [MAGNITUDE, SDS], BUILT_IN)
    deadline = time.monotonic() + 120
    while at_work(empty.name) and time.monotonic() < deadline:
        time.sleep(0.1)
    done = experiment.find(empty.name)
    assert done.next_phase([MAGNITUDE, SDS]) is None and len(done.members) == 4, first.errors.read_text()
    assert not at_work(empty.name)


def test_plans_survive_the_command_line():
    control = Variant("adjusted", "wanda", {"beta": 0.2, "sequential": True})
    settings = RunConfig(device="cpu", threads=3, weights="disk", partial=True)
    plan = Plan.of(Experiment("demo-2-4", settings), [MAGNITUDE, SDS, control])
    assert Plan.from_text(plan.to_text()) == plan and plan.variants == (MAGNITUDE, SDS, control)


def test_every_phase_of_a_plan_has_its_settings(empty):
    finish(launched_run := create_all(empty.configs([SDS], 1), BUILT_IN)[0])
    now = replace(empty, settings=replace(empty.settings, threads=2, weights="disk"))
    (run,) = Plan.of(now, [SDS]).next_runs()
    assert (run.config.threads, run.config.weights) == (2, "disk")
    assert (launched_run.config.threads, launched_run.config.weights) == (1, "auto")


def test_a_stopped_run_with_nothing_done_takes_the_present_options(empty):
    failing = replace(empty, settings=replace(empty.settings, device="no-such-device", threads=3, weights="memory"))
    (run,) = runs_for(failing, [SDS], 1, BUILT_IN)
    write_log(run, [run_started(threads=3), JobFailed(message="unknown device")])
    create_all([replace(empty.settings, seed=1)])
    order = ids()
    now = replace(experiment.find(empty.name), settings=replace(empty.settings, device="cpu", partial=True))
    assert runs_for(now, [SDS], 1, BUILT_IN) == [run] and ids() == order
    assert run.config == replace(empty.config_of(SDS.base, 1), device="cpu", partial=True)
    finish(run)
    assert [event.threads for event in of_kind(run.log.read(), RunStarted)] == [3, 1]


def test_a_run_that_has_begun_keeps_device_and_threads(empty):
    (run,) = runs_for(empty, [SDS], 1, BUILT_IN)
    write_log(run, [run_started(), model_loaded(device="cpu"), block_finished(phase="sparse"), CANCELLED])
    known = experiment.find(empty.name)
    now = replace(known, settings=replace(empty.settings, device="cpu", threads=2, weights="disk"))
    assert runs_for(now, [SDS], 1, BUILT_IN) == [run]
    assert (run.config.device, run.config.threads, run.config.weights) == ("cpu", 1, "disk")
    write_log(run, [run_started(), model_loaded(device="cuda:7"), block_finished(phase="sparse"), CANCELLED])
    with pytest.raises(SDSError, match=f"run {run.id} has begun on cuda:7: got 'cpu'"):
        runs_for(now, [SDS], 1, BUILT_IN)


def test_a_finished_run_keeps_its_options(empty):
    (run,) = create_all(empty.configs([SDS], 1))
    (run.folder / "result.json").write_text("{}")
    with pytest.raises(SDSError, match="is finished already"):
        reconfigure(run, {"partial": True})
    assert not run.config.partial


def test_weights_that_the_next_phase_needs_are_not_dropped(empty, monkeypatch):
    monkeypatch.setattr(launch_phases.worker, "launch", lambda runs, **_: None)
    light = replace(empty, settings=replace(empty.settings, keep_weights=False))
    for launch in (launch_phase, launch_all):
        with pytest.raises(SDSError, match="phase 2 begins with the weights of phase 1, which would not be kept"):
            launch(light, [MAGNITUDE, SDS], BUILT_IN)
    assert ids() == []
    (run,) = launch_phase(light, [MAGNITUDE], BUILT_IN)
    assert not run.config.keep_weights


def test_why_a_plan_ended_between_two_phases_is_told_until_the_next_launch(empty, monkeypatch, capsys):
    (run,) = create_all(empty.configs([SDS], 1), BUILT_IN)
    unfindable = replace(empty, name="moved")
    assert main(["work", run.id, f"--locks={run.take_lock()}", "--plan", Plan.of(unfindable, [SDS]).to_text()]) == 1
    assert run.state() == "finished" and stopped(empty.name) == ""
    why = stopped(unfindable.name)
    assert "there is no such experiment" in why and why in capsys.readouterr().err
    monkeypatch.setattr(launch_phases.worker, "launch", lambda runs, **_: None)
    launch_phase(unfindable, [SDS], BUILT_IN)
    assert stopped(unfindable.name) == ""


@pytest.mark.parametrize("launch", [launch_phase, launch_all])
def test_a_refused_launch_leaves_nothing(empty, monkeypatch, launch):
    def refuse(runs, **_):
        raise SDSError("no such device")

    monkeypatch.setattr(launch_phases.worker, "launch", refuse)
    with pytest.raises(SDSError, match="no such device"):
        launch(empty, [SDS], BUILT_IN)
    assert ids() == [] and not lock.held(plan_lock(empty.name))


def test_a_tab_that_is_behind_starts_nothing_twice(empty, monkeypatch):
    held = []
    monkeypatch.setattr(launch_phases.worker, "launch", lambda runs, **_: held.extend(map(Run.take_lock, runs)))
    (run,) = launch_phase(empty, [SDS], BUILT_IN)
    for launch in (launch_phase, launch_all):
        with pytest.raises(SDSError, match="is being worked on"):
            launch(empty, [SDS], BUILT_IN)
    os.close(held.pop())
    assert launch_phase(empty, [SDS], BUILT_IN) == [run] and ids() == [run.id], "it is resumed"
    os.close(held.pop())
    finish(run)
    for variant in (SDS, SDS.base):
        with pytest.raises(SDSError, match="has gone on meanwhile"):
            launch_phase(empty, [variant], BUILT_IN)
    with pytest.raises(SDSError, match="has gone on meanwhile"):
        launch_phase(experiment.find(empty.name), [SDS.base], BUILT_IN)
    with pytest.raises(SDSError, match="has begun meanwhile, with another samples"):
        launch_phase(replace(empty, settings=replace(empty.settings, samples=2)), [MAGNITUDE], BUILT_IN)
    assert ids() == [run.id]
