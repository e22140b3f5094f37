"""The Text page: without runs, before, while and after a query is answered, and wrong addresses."""

import json
import math
import os
import shutil

import pytest

from sds_core.runs import lock
from sds_core.runs.events import JobCancelled, JobFailed, JobQueued, TextModelLoading, TextReadingStarted
from sds_core.runs.run_folder import Run, ids, open_run
from sds_core.runs.typed_json import to_json
from sds_core.texts import job as module
from sds_core.texts.job import TextJob
from sds_core.texts.query import EXAMPLE, TextQuery
from tests.pages.test_studio_runs import address, texts
from tests.readings import reading, result
from tests.records import change_model

PAGE = "pages/text.py"
PROMPT = "a <b>bold</b> text"
RESULT = result(
    reading("dense", (1.0, 2.0), (1.0,), continuation=("and", " so")),
    reading("SDS · Wanda", (3.0, 1.5), (1.5,), continuation=("and", " <i>")),
    reading("Wanda", (4.0, 1.5), (1.5,), continuation=("and", " <i>")),
    pieces=[("a ", "<b>bold</b>", " text"), ("x", "y")],
    tokens=40,
)


@pytest.fixture
def own(finished, runs, tmp_path, monkeypatch):
    """Copies of two finished runs, and a cache without answers; no process is started."""
    monkeypatch.setenv("SDS_RUNS", str(runs))
    monkeypatch.setenv("SDS_CACHE", str(tmp_path / "cache"))
    return [Run(shutil.copytree(finished[name].folder, runs / finished[name].id)) for name in ("fused", "staged")]


@pytest.fixture
def started(monkeypatch):
    """Names of the questions that were given a process."""
    names: list[str] = []
    monkeypatch.setattr(module, "start_process", lambda command, *_, stay: names.append(command[1]))
    return names


@pytest.fixture
def job(own):
    """The folder of a query about one run, made but not answered."""
    found = TextJob.of(TextQuery(runs=(own[0].id,), prompts=(PROMPT,)))
    found.folder.mkdir(parents=True)
    return found


def opened(app, run, **more):
    at = app(PAGE, **{"runs": run.id, "prompts": PROMPT, **more})
    assert not at.exception
    return at


def drawn(at):
    """What is drawn of an answer."""
    return "".join(element.proto.body for element in at.get("html") if "<section" in element.proto.body)


def test_without_runs_the_example_is_shown(runs, app):
    at = app(PAGE)
    assert not at.exception and "None of the runs here has its weights" in texts(at)
    assert [link.proto.page for link in at.get("page_link")][-2:] == ["", "studio"]  # Start is the default page
    shown = json.loads(EXAMPLE.read_text(encoding="utf-8"))
    assert at.segmented_control(key="text-prompt").options == [f"Prompt {n + 1}" for n in range(len(shown["prompts"]))]
    assert all(reading["name"] in drawn(at) for reading in shown["readings"])


def test_address_names_the_prompt_in_view(runs, app):
    shown = json.loads(EXAMPLE.read_text(encoding="utf-8"))
    at = app(PAGE, prompt="2")
    assert list(at.dataframe[0].value["token"]) == [repr(piece)[1:-1] for piece in shown["pieces"][1]]
    at.segmented_control(key="text-prompt").set_value(4).run()
    assert address(at, "prompt") == "4"
    assert list(at.dataframe[0].value["token"]) == [repr(piece)[1:-1] for piece in shown["pieces"][3]]
    assert "“prompt=9” in the address" in app(PAGE, prompt="9").error[0].value


def test_runs_without_weights_are_not_offered(own, app):
    for run in own:
        shutil.rmtree(run.folder / "phase3")
    assert "None of the runs here has its weights" in texts(app(PAGE))


def test_opens_with_runs_of_one_model(own, app, started):
    at = app(PAGE)
    assert not at.exception and not at.error
    assert sorted(at.multiselect(key="text-runs").value) == sorted(run.id for run in own)
    prompts = json.loads(EXAMPLE.read_text(encoding="utf-8"))["prompts"]
    assert at.text_area(key="text-prompts").value == "\n\n".join(prompts) and started == []
    asked = TextQuery(runs=tuple(at.multiselect(key="text-runs").value), prompts=tuple(prompts))
    assert at.code[0].value == asked.command()


@pytest.mark.parametrize("differs", ["precision", "excluded layers"])
def test_opens_with_runs_that_can_be_queried_together(own, app, started, differs):
    newest, other = ids()[0], ids()[1]
    if differs == "precision":
        change_model(open_run(other), dtype="bfloat16")
    else:
        config = open_run(other).raw_config() | {"exclude": "*.0.*"}
        path = open_run(other).folder / "config.json"
        stamp = path.stat()
        path.write_text(json.dumps(config))
        os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    at = app(PAGE)
    assert not at.error and at.multiselect(key="text-runs").value == [newest] and at.button(key="ask")


def test_a_temperature_between_the_steps_is_kept(own, app, started):
    at = app(PAGE, runs=own[0].id, prompts=PROMPT, temperature="0.25")
    assert not at.error and at.number_input(key="text-temperature").value == 0.25
    at.number_input(key="text-temperature").set_value(0.15).run()
    assert not at.error and address(at, "temperature") == "0.15" and "--temperature=0.15" in at.code[0].value


def test_button_starts_one_process_for_the_query(own, app, started):
    at = app(PAGE, runs=own[0].id)
    at.text_area(key="text-prompts").set_value(PROMPT).run()
    assert address(at, "prompts") == PROMPT and address(at, "runs") == own[0].id
    at.number_input(key="text-tokens").set_value(3).run()
    assert address(at, "tokens") == "3"
    at.button(key="ask").click().run()
    query = TextQuery(runs=(own[0].id,), prompts=(PROMPT,), tokens=3)
    job = TextJob.of(query)
    assert not at.exception and started == [job.id]
    assert json.loads((job.folder / "query.json").read_text())["prompts"] == [PROMPT]


@pytest.mark.parametrize(
    ("events", "sentence"),
    [
        ([], "Starting."),
        ([JobQueued(behind="a-long-run")], "Waiting for a-long-run, which uses the same device."),
        ([TextModelLoading(model="tiny")], "Loading tiny."),
        ([TextReadingStarted(name="dense", model=0, of=2)], "Model 1 of 2, dense, reads and writes."),
    ],
)
def test_while_a_process_lives_it_says_what_it_does(own, job, app, started, events, sentence):
    for event in events:
        job.writer().append(event)
    descriptor = lock.take(job.lock_path)
    at = opened(app, own[0])
    assert sentence in texts(at) and at.button(key="ask").disabled
    at.button(key="cancel").click().run()
    assert job.cancel_requested and "Cancelling" in texts(at) and at.button(key="cancel").disabled
    os.close(descriptor)


@pytest.mark.parametrize(
    ("event", "sentence"),
    [
        (JobFailed(message="the weights in x are gone. Repeat the run."), "The weights in x are gone."),
        (JobCancelled(message="cancelled"), "Cancelled."),
        (TextModelLoading(model="tiny"), "is gone; ask again"),
    ],
)
def test_failed_process_says_why_and_can_be_repeated(own, job, app, started, event, sentence):
    job.writer().append(event)
    at = opened(app, own[0])
    assert sentence in texts(at) and not drawn(at)
    at.button(key="ask").click().run()
    assert started == [job.id]


def test_prompts_are_parted_by_blank_lines(own, app, started):
    at = app(PAGE, runs=own[0].id, prompts="one\ntwo\n\n\n  three\n \nfour\n", temperature="0.7", tokens="3")
    at.number_input(key="text-seed").set_value(5).run()
    assert address(at, "sampling-seed") == "5" and address(at, "temperature") == "0.7"
    prompts = ("one\ntwo", "  three", "four")
    query = TextQuery(runs=(own[0].id,), prompts=prompts, tokens=3, temperature=0.7, sampling_seed=5)
    assert at.code[0].value == query.command()


def test_stored_result_is_shown_escaped(own, job, app, started):
    (job.folder / "result.json").write_text(json.dumps(to_json(RESULT)))
    at = opened(app, own[0])
    assert not at.error and "<b>" not in drawn(at) and "<i>" not in drawn(at)
    assert "&lt;b&gt;bold&lt;/b&gt;" in drawn(at) and "&lt;i&gt;" in drawn(at) and started == []
    first = at.dataframe[0].value
    assert list(first["token"]) == list(RESULT.pieces[0])
    assert list(first["SDS · Wanda − dense"])[1:] == [2.0, -0.5]
    at.button(key="ask").click().run()
    assert started == []


def test_greedy_and_sampled_continuations_take_turns(own, app, started):
    query = TextQuery(runs=(own[0].id,), prompts=(PROMPT,), temperature=0.5)
    folder = TextJob.of(query).folder
    folder.mkdir(parents=True)
    how = {"continuation": ("greedily",), "sampled": ("drawn",)}
    answer = result(reading("dense", (1.0,), **how), reading("Wanda", (2.0,), **how), temperature=0.5)
    (folder / "result.json").write_text(json.dumps(to_json(answer)))
    at = opened(app, own[0], temperature="0.5")
    assert "greedily" in drawn(at) and "drawn" not in drawn(at)
    at.segmented_control(key="text-continued").set_value("sampled").run()
    assert address(at, "continued") == "sampled" and "drawn" in drawn(at) and "greedily" not in drawn(at)


def test_the_judgement_is_by_the_mean_over_prompts(own, job, app, started):
    (job.folder / "result.json").write_text(json.dumps(to_json(RESULT)))
    said = [element.value for element in opened(app, own[0]).markdown]
    ratio = math.exp((3.0 + 1.5 + 1.5 - 4.0 - 1.5 - 1.5) / 3)
    assert any(f"**SDS · Wanda** or **Wanda** is better: ratio {ratio:.3f} ± " in sentence for sentence in said)


def test_broken_answer_is_reported(own, job, app):
    (job.folder / "result.json").write_text("{")
    assert "is broken" in opened(app, own[0]).error[0].value


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"prompts": ""}, "There is no text to read."),
        ({"prompts": " \n "}, "There is no text to read."),
        ({"prompts": "x" * 9000}, "The text in the address has 9000 characters, 8100 are allowed: the rest is cut off"),
        ({"prompts": "x" * 1200}, "The text has 1200 characters; allowed: 1000 at most"),
        ({"prompts": "x\n\n" * 9}, "There are too many prompts"),
        ({"temperature": "hot"}, "“temperature=hot” in the address is not a number from 0 to 2; here is 0."),
        ({"temperature": "2.5"}, "“temperature=2.5” in the address is not a number from 0 to 2"),
        ({"temperature": "nan"}, "“temperature=nan” in the address is not a number from 0 to 2"),
        ({"prompts": "a\x00b"}, "contains an invalid character"),
        ({"tokens": "1000"}, "“tokens=1000” in the address is not a whole number from 1 to 200"),
        ({"runs": ""}, "The number of runs is out of range"),
        ({"runs": "../x"}, "There is no finished run with weights “../x”"),
        ({"runs": "<script>" * 50}, "There is no finished run with weights “\\<script>"),
    ],
)
def test_wrong_address_is_reported(own, app, started, more, sentence):
    at = opened(app, own[0], **more)
    assert sentence in at.error[0].value and len(at.error[0].value) < 200 and started == []


def test_runs_of_two_models_are_refused(own, app, started):
    change_model(own[1], dtype="bfloat16")
    at = opened(app, own[0], runs=",".join(run.id for run in own))
    assert "pruned another model than run" in at.error[0].value and not at.button
