"""What the page tests share: folders of runs, made by the engine once or written by hand, and the app itself."""

import functools
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from streamlit.components.v2 import manifest_scanner
from streamlit.testing.v1 import AppTest

from sds_core.pruning.registry import BUILT_IN
from sds_core.runs import experiment
from sds_core.runs.config import RunConfig
from sds_core.runs.events import Event
from sds_core.runs.experiment import Experiment
from sds_core.runs.launch_phases import runs_for
from sds_core.runs.model_cache import ModelCache
from sds_core.runs.new_run import create
from sds_core.runs.run_folder import Run
from sds_core.runs.run_job import run_job
from sds_core.runs.variant import Variant
from tests.pages.browser import MISSING, Visitor, server, visitors
from tests.records import write_log
from tests.small_runs import config, made_once, work_here

APP = str(Path(__file__).parents[2] / "app.py")
SDS = Variant("sds", "wanda", {"iterations": 2})
WANDA = Variant("base", "wanda")


@pytest.fixture(scope="session", autouse=True)
def components() -> Iterator[None]:
    """Look once for components among the installed packages: every `AppTest` would read the metadata of all."""
    scan = functools.cache(manifest_scanner.scan_component_manifests)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest_scanner, "scan_component_manifests", scan)
        yield


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of runs."""
    folder = tmp_path / "runs"
    folder.mkdir()
    monkeypatch.setenv("SDS_RUNS", str(folder))
    return folder


@pytest.fixture
def app() -> Callable[..., AppTest]:
    """The app, opened on one of its pages with some parameters in the address."""

    def opened(page: str = "pages/studio.py", **parameters: str) -> AppTest:
        at = AppTest.from_file(APP, default_timeout=60)
        if page != "pages/start.py":
            at.switch_page(page)
        for name, value in parameters.items():
            at.query_params[name] = value
        return at.run()

    return opened


def figure(at, key: str) -> dict:
    """A drawn picture as the browser gets it."""
    return next(json.loads(c.proto.spec) for c in at.get("plotly_chart") if c.proto.id.endswith(key))


def keys(at) -> list[str]:
    """The keys of the drawn pictures."""
    return [chart.proto.id.rpartition("-")[2] for chart in at.get("plotly_chart")]


@pytest.fixture
def made() -> Callable[..., Run]:
    """A run with a configuration and a log of the given events, but no worker."""

    def make(*events: Event, **options) -> Run:
        run = create(RunConfig(**{"model": "somewhere", **options}))
        write_log(run, events)
        return run

    return make


def work_off(run: Run) -> Run:
    """Do a run in this process, as the worker would."""
    log = run.writer()
    for event in run_job(run, ModelCache(keep_dense=True)):
        log.append(event)
    return run


def tiny(folder: Path, **options) -> RunConfig:
    """A run of seconds."""
    text = f"{folder}/text.txt"
    small = {"calibration": text, "evaluation": text, "samples": 2, "length": 32, "eval_windows": 3, "eval_length": 32}
    return RunConfig(**{"model": str(folder), "threads": 1, **small, **options})


@pytest.fixture(scope="session")
def finished_folder(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three real runs of the tiny model: fused with a memory, the paper's staged, phase 1 alone."""
    papers = {"method": "sds", "schedule": "staged"}

    def make(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SDS_RUNS", str(folder))
            work_off(create(tiny(tiny_folder, options={"rounds": 3})))
            work_off(create(tiny(tiny_folder, **papers, options={"iterations": 3}, title="The paper’s")))
            work_off(create(tiny(tiny_folder, **papers, phase=1, pruner="magnitude")))

    made = made_once(tmp_path_factory, "three-finished", make)
    return shutil.copytree(made, tmp_path_factory.mktemp("finished") / "runs")  # with locks of their own


@pytest.fixture
def finished(finished_folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Run]:
    """Those runs by what they are: fused, staged, phase1. They are shared: nothing may be written there."""
    monkeypatch.setenv("SDS_RUNS", str(finished_folder))
    found = {}
    for path in finished_folder.iterdir():
        config = Run(path).config
        found["phase1" if config.phase else config.schedule] = Run(path)
    return found


@pytest.fixture(scope="session")
def stepped_folder(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one experiment: all phases of SDS."""

    def make(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SDS_RUNS", str(folder))
            found = experiment.with_settings(config(tiny_folder))
            while phase := found.next_phase([WANDA, SDS]):
                runs = runs_for(found, [WANDA, SDS], phase, BUILT_IN)
                work_here(runs)
                assert all(run.state() == "finished" for run in runs), runs[-1].log.read()[-1]
                found = experiment.find(found.name)

    made = made_once(tmp_path_factory, "stepped", make)
    return shutil.copytree(made, tmp_path_factory.mktemp("stepped") / "runs")  # with locks of their own


@pytest.fixture
def stepped(stepped_folder: Path, runs: Path) -> Experiment:
    """A copy of that experiment, which may be written to."""
    shutil.copytree(stepped_folder, runs, dirs_exist_ok=True)
    return experiment.experiments()[0]


@pytest.fixture(scope="session")
def served(
    finished_folder: Path, stepped_folder: Path, tmp_path_factory: pytest.TempPathFactory, cache: Path
) -> Iterator[tuple[Path, str]]:
    """A folder of runs that may be written to, and the address of a server on it."""
    if MISSING:
        pytest.skip(MISSING)
    runs = tmp_path_factory.mktemp("journeys") / "runs"
    for folder in (finished_folder, stepped_folder):
        shutil.copytree(folder, runs, dirs_exist_ok=True)
    with server(runs, cache) as address:
        yield runs, address


@pytest.fixture(scope="module")
def workshop(served: tuple[Path, str]) -> Iterator[tuple[Path, Any]]:
    """That folder, and a function that opens browsers; not for the session, for its loop stands in others' way."""
    with visitors(served[1]) as visit:
        yield served[0], visit


@pytest.fixture
def visitor(workshop: tuple[Path, Any]) -> Iterator[Visitor]:
    """A visitor who must not have met an error, nor looked elsewhere, in the end."""
    visitor = workshop[1](reduced_motion="reduce")  # a reveal alone takes more than a second
    yield visitor
    assert visitor.left == [] and visitor.errors == []
    assert visitor.page.locator("[data-testid=stException]").count() == 0
    visitor.page.close()
