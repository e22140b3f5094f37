"""A text through the models of finished runs: numbers, the one process, and what stops it."""

import json
import os
import shutil
import signal
import time
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import cross_entropy

from sds_core.__main__ import main
from sds_core.errors import SDSError
from sds_core.models.load import load_model
from sds_core.runs import lock
from sds_core.runs.events import BlockFinished, JobQueued
from sds_core.runs.new_run import create
from sds_core.runs.pruned_model import pruned_model
from sds_core.runs.run_folder import Run
from sds_core.texts import job as module
from sds_core.texts.job import TextJob, askable, work
from sds_core.texts.query import TextQuery
from tests.records import change_model, write_log
from tests.small_runs import config, finish

PROMPT = "Pruning removes half of its weights"


@pytest.fixture(scope="module")
def base(tiny_folder, tmp_path_factory):
    """A finished run of the base pruner, to stand beside the finished `sds-admm` run; read only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SDS_RUNS", str(tmp_path_factory.mktemp("base")))
        return finish(create(config(tiny_folder, method="base", pruner="magnitude", samples=2)))


@pytest.fixture
def runs(base, finished, runs_root, tmp_path, monkeypatch):
    """Copies of the two runs in a folder of their own, and a cache without answers."""
    monkeypatch.setenv("SDS_CACHE", str(tmp_path / "cache"))
    return [Run(shutil.copytree(run.folder, runs_root / run.id)) for run in (base, finished)]


def asked(runs, *prompts, tokens=6, **more):
    return TextQuery(runs=tuple(run.id for run in runs), prompts=prompts or (PROMPT,), tokens=tokens, **more)


@pytest.fixture
def here(monkeypatch):
    """Questions are answered in this process; their names."""
    names: list[str] = []

    def start(command, locks, errors, root, stay):
        names.append(command[1])
        work(command[1], os.dup(locks[0]))  # the launcher closes its own

    monkeypatch.setattr(module, "start_process", start)
    return names


def answered(query):
    job = TextJob.of(query)
    job.launch(query)
    assert job.state() == "finished", job.log.read()[-1]
    return job.result()


def plainly(loaded, prompt):
    """Losses and continuation by the shortest way through transformers."""
    ids = torch.tensor(loaded.tokenizer(prompt).input_ids)
    with torch.inference_mode():
        scores = loaded.model(ids[None]).logits[0]
        losses = cross_entropy(scores[:-1].double(), ids[1:], reduction="none").tolist()
        whole = loaded.model.generate(ids[None], do_sample=False, max_new_tokens=6, pad_token_id=0)[0]
    return losses, loaded.tokenizer.decode(whole[len(ids) :], skip_special_tokens=True)


def test_every_reading_is_what_the_plain_model_says(runs, here, tiny_folder):
    prompts = (PROMPT, "A second text")
    result = answered(asked(runs, *prompts))
    assert [reading.name for reading in result.readings] == ["dense", "Magnitude", "SDS-ADMM · Wanda"]
    assert tuple(map("".join, result.pieces)) == result.prompts == prompts
    for reading, loaded in zip(result.readings, [load_model(str(tiny_folder)), *map(pruned_model, runs)], strict=True):
        for prompt, read in zip(prompts, reading.prompts, strict=True):
            losses, text = plainly(loaded, prompt)
            assert read.losses == pytest.approx(losses, rel=1e-4) and read.sampled is None
            assert "".join(read.continuation) == text
    assert len({reading.prompts[0].losses for reading in result.readings}) == 3


def test_a_temperature_adds_a_continuation_that_its_seed_repeats(runs, here):
    greedy, sampled, again = (
        answered(asked(runs, temperature=temperature, sampling_seed=seed))
        for temperature, seed in ((None, 0), (1.5, 0), (1.5, 1))
    )
    written = [[reading.prompts[0].sampled for reading in one.readings] for one in (greedy, sampled, again)]
    assert written[0] == [None] * 3 and all(written[1]) and written[1] != written[2]
    assert [r.prompts[0].continuation for r in greedy.readings] == [r.prompts[0].continuation for r in sampled.readings]
    assert len(here) == 3


def test_runs_that_differ_only_in_seed_share_configuration(base, finished, runs, here, tiny_folder):
    other = finish(create(config(tiny_folder, method="base", pruner="magnitude", samples=2, seed=1)))
    result = answered(asked([runs[0], other, runs[1]]))
    assert [(r.configuration, r.seed, r.pruned) for r in result.readings[1:]] == [
        ("Magnitude", 0, True),
        ("Magnitude", 1, True),
        ("SDS-ADMM · Wanda", 0, True),
    ]
    assert [reading.name for reading in result.readings[1:3]] == ["Magnitude · seed 0", "Magnitude · seed 1"]


def test_equal_queries_share_one_result(runs, here):
    result = answered(asked(runs))
    assert answered(asked(runs)) == result == answered(asked(runs[::-1])) and len(here) == 1
    for other in (asked(runs, PROMPT + "."), asked(runs, tokens=7), asked(runs[:1])):
        assert answered(other) is not None
    assert len(set(here)) == 4
    events = runs[0].log.read()
    first = next(i for i, event in enumerate(events) if isinstance(event, BlockFinished))
    write_log(runs[0], [*events[:first], replace(events[first], sha256="of other weights"), *events[first + 1 :]])
    assert TextJob.of(asked(runs[:1])).id not in here


def test_an_answer_does_not_depend_on_what_its_process_did_before(runs, here, monkeypatch):
    ask, seen = module._ask, []

    def noted(*arguments):
        seen.append((torch.get_num_threads(), torch.get_float32_matmul_precision()))
        return ask(*arguments)

    monkeypatch.setattr(module, "_ask", noted)
    for tokens, threads, precision in ((1, 1, "highest"), (2, 2, "high")):
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(precision)
        answered(asked(runs[:1], tokens=tokens))
    assert seen[0] == seen[1] and seen[0][0] == runs[0].config.threads


def test_other_code_answers_again(runs, monkeypatch):
    before = TextJob.of(asked(runs)).id
    monkeypatch.setattr(module, "code_identity", lambda families: ("torch 0", *families))
    assert TextJob.of(asked(runs)).id != before


def test_only_finished_runs_with_weights_can_be_asked(runs, runs_root):
    bare = Run(shutil.copytree(runs[0].folder, runs_root / "bare"))
    shutil.rmtree(bare.folder / "phase1")
    begun = create(runs[0].config)
    broken = shutil.copytree(runs[0].folder, runs_root / "broken")
    (broken / "result.json").write_text("{")
    assert {run.id for run in askable()} == {run.id for run in runs}
    for run, sentence in ((bare, "run bare has no weights. Repeat it"), (begun, "is new, not finished")):
        with pytest.raises(SDSError, match=sentence):
            TextJob.of(asked([run]))
    with pytest.raises(SDSError, match="not a run id"):
        TextJob.of(TextQuery(runs=("../x",), prompts=("x",)))


def failed(query):
    job = TextJob.of(query)
    job.launch(query)
    assert job.state() == "failed" and job.result() is None
    return job.log.read()[-1].message


def test_faults_are_reported_and_the_query_can_be_repeated(runs, here):
    path = runs[1].checkpoint("final", 1)
    whole = path.read_bytes()
    path.unlink()
    assert "are gone. Repeat the run" in failed(asked(runs))
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert "is not what was written" in failed(asked(runs))
    path.write_bytes(whole)
    assert "the text has 290 tokens" in failed(asked(runs, "é" * 145))
    assert answered(asked(runs)) is not None


def test_a_replaced_model_is_refused(runs, here, tiny_folder, tmp_path):
    own = shutil.copytree(tiny_folder, tmp_path / "model")
    for run in runs:
        values = run.raw_config()
        (run.folder / "config.json").write_text(json.dumps(values | {"model": str(own)}))
    (own / "generation_config.json").write_text("{}")
    refusal = failed(asked(runs))
    assert f"is not the one that run {runs[0].id} pruned: generation_config.json changed since" in refusal


def test_a_file_added_to_the_model_changes_no_answer(runs, here, tiny_folder, tmp_path):
    own = shutil.copytree(tiny_folder, tmp_path / "model")
    for run in runs:
        (run.folder / "config.json").write_text(json.dumps(run.raw_config() | {"model": str(own)}))
    (own / "dict.txt").write_text("of a tokenizer of another kind")
    change_model(runs[1], sha256=runs[1].model().sha256 | {"dict.txt": "met by this run alone"})
    assert "dict.txt changed since" in failed(asked(runs))
    change_model(runs[1], sha256=runs[0].model().sha256)
    assert answered(asked(runs)) is not None


def test_runs_with_different_excluded_layers_are_not_queried_together(runs):
    values = runs[1].raw_config()
    (runs[1].folder / "config.json").write_text(json.dumps(values | {"exclude": "*down_proj"}))
    with pytest.raises(SDSError, match=f"run {runs[1].id} excluded other layers than run {runs[0].id}"):
        TextJob.of(asked(runs))
    for run, exclude in zip(runs, ("*.0.* *down_proj", "*down_proj *.0.*"), strict=False):
        (run.folder / "config.json").write_text(json.dumps(run.raw_config() | {"exclude": exclude}))
    assert TextJob.of(asked(runs[:2])).state() == "new"


def test_runs_of_different_models_are_not_asked_together(runs):
    change_model(runs[1], dtype="bfloat16")
    with pytest.raises(SDSError, match=f"run {runs[1].id} pruned another model than run {runs[0].id}"):
        TextJob.of(asked(runs))


def test_question_that_is_worked_on_gets_no_second_process(runs, here):
    query = asked(runs)
    job = TextJob.of(query)
    job.folder.mkdir(parents=True)
    descriptor = lock.take(job.lock_path)
    assert descriptor is not None
    job.launch(query)
    assert here == [] and job.state() == "running"
    os.close(descriptor)
    assert job.state() == "new"


def test_a_cancelled_question_stops_between_two_tokens(runs, here, monkeypatch):
    query, seen = asked(runs), []

    def endless(model, ids, count, temperature, seed, after_token):
        while True:
            after_token()
            seen.append(len(seen))
            TextJob.of(query).cancel()

    monkeypatch.setattr(module, "continuation", endless)
    job = TextJob.of(query)
    job.launch(query)
    assert job.state() == "cancelled" and seen == [0] and job.result() is None
    monkeypatch.undo()


def test_an_answer_that_cannot_be_read_is_a_sentence(tmp_path):
    (tmp_path / "result.json").mkdir()
    with pytest.raises(SDSError, match=r"the result in .* is broken: .*Is a directory"):
        TextJob(tmp_path).result()


def test_broken_answer_is_reported(runs, here):
    answered(asked(runs))
    job = TextJob.of(asked(runs))
    (job.folder / "result.json").write_text('{"readings": []}')
    with pytest.raises(SDSError, match="is broken"):
        job.result()


def until(job, states, seconds=60):
    deadline = time.monotonic() + seconds
    while job.state() not in states and time.monotonic() < deadline:
        time.sleep(0.02)
    return job.state()


def test_killed_text_process_can_be_asked_again(runs, request, capsys):
    """Launcher, inherited lock, queue and death with a process as page and command line start it."""
    from sds_core.files import cache_folder
    from sds_core.models.device import device_name, pick_device

    query = asked(runs)
    job = TextJob.of(query)
    cache_folder().mkdir(parents=True)
    device = lock.take(cache_folder() / f"{device_name(pick_device())}.lock", "a-long-run")
    assert device is not None
    job.launch(query)
    job.launch(query)
    assert until(job, ["queued"]) == "queued"
    assert job.log.read() == [JobQueued(behind="a-long-run")]
    os.kill(lock.owner(job.lock_path).pid, signal.SIGKILL)
    assert until(job, ["interrupted"]) == "interrupted"
    os.close(device)
    request.getfixturevalue("here")
    out = runs[0].folder.parent / "result.json"
    words = ["text", *(run.id for run in runs), "--prompt", PROMPT, "--tokens", "6", "--out", str(out)]
    assert main(words) == 0
    assert job.state() == "finished" and "Magnitude continues prompt 1, greedily:" in capsys.readouterr().out
    assert json.loads(out.read_text()) == json.loads((job.folder / "result.json").read_text())


def test_command_says_why_there_is_no_result(runs, here, capsys):
    assert main(["text", runs[0].id, "--prompt", "é" * 145]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: the text has 290 tokens; allowed: 1 to 216")
