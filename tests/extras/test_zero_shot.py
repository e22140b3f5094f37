"""Accuracy on a local task, against log likelihoods in plain words; needs the extra of requirements-eval.txt."""

import importlib.util
import json
import math
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from sds_core.__main__ import main
from sds_core.errors import SDSError
from sds_core.extras.zero_shot import Score, table, zero_shot
from sds_core.models.load import load_model
from sds_core.runs import typed_json
from sds_core.runs.new_run import create
from sds_core.runs.pruned_model import pruned_model
from sds_core.runs.run_folder import Run
from tests.records import change_model, model_loaded, write_log
from tests.small_runs import config

installed = pytest.mark.skipif(
    importlib.util.find_spec("lm_eval") is None, reason="lm-eval is not installed (requirements-eval.txt)"
)
INSPECTED = {"method": "checkpoint", "pruner": "none", "options": {}, "weights": "memory"}
QUESTIONS = [
    {"start": f"for i in range({n}):", "first": ends[n % 3], "second": ends[(n + 1) % 3], "right": n % 2}
    for ends in [(" print(i)", " return None", " import os")]
    for n in range(9)
]


@pytest.fixture
def task_folder(tmp_path):
    data = tmp_path / "questions.jsonl"
    data.write_text("".join(json.dumps(question) + "\n" for question in QUESTIONS))
    (tmp_path / "ends.yaml").write_text(
        f"""task: ends
dataset_path: json
dataset_kwargs:
  data_files: {{test: {data}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{start}}}}"
doc_to_choice: "{{{{[first, second]}}}}"
doc_to_target: right
target_delimiter: ""
metric_list:
  - metric: acc
"""
    )
    return tmp_path


def likelihood(loaded, start, end):
    """Log likelihood of an end after a start, token by token."""
    before, whole = (loaded.tokenizer(text).input_ids for text in (start, start + end))
    with torch.inference_mode():
        scores = loaded.model(torch.tensor([whole])).logits[0].double().log_softmax(-1)
    return sum(float(scores[i - 1, whole[i]]) for i in range(len(before), len(whole)))


def answers(loaded):
    return tuple(
        float((likelihood(loaded, q["start"], q["second"]) > likelihood(loaded, q["start"], q["first"])) == q["right"])
        for q in QUESTIONS
    )


@installed
def test_scores_pick_the_likelier_ending_for_each_model(finished, task_folder, tiny_folder):
    dense, pruned = zero_shot([finished], ["ends"], str(task_folder), None)
    assert (dense.model, pruned.model) == ("dense", finished.id)
    assert dense.right == answers(load_model(str(tiny_folder)))
    assert pruned.right == answers(pruned_model(finished))
    stored = json.loads((finished.folder / "zero-shot.json").read_text())
    assert [tuple(score["right"]) for score in stored["scores"]] == [dense.right, pruned.right]


@installed
def test_unknown_task_is_reported(finished, task_folder):
    with pytest.raises(SDSError, match="unknown task: got 'begins'"):
        list(zero_shot([finished], ["begins"], str(task_folder), None))


def harness(monkeypatch, evaluate):
    """The harness without the extra: the tasks `ends` and `begins` in the group `all`."""
    manager = SimpleNamespace(all_tasks=["all", "begins", "ends"], all_subtasks=["begins", "ends"])
    monkeypatch.setitem(sys.modules, "lm_eval", SimpleNamespace(simple_evaluate=evaluate))
    monkeypatch.setitem(sys.modules, "lm_eval.models", SimpleNamespace())
    monkeypatch.setitem(
        sys.modules, "lm_eval.models.huggingface", SimpleNamespace(HFLM=lambda model, **_: SimpleNamespace(model=model))
    )
    monkeypatch.setitem(sys.modules, "lm_eval.tasks", SimpleNamespace(TaskManager=lambda **_: manager))


def right(*_, **asked):
    """Scores of a model that has answered everything."""
    return {"samples": {task: [{"doc_id": 0, "acc": 1.0}] for task in asked["tasks"]}}


def never(*_, **__):
    pytest.fail("a model was scored")


def test_what_is_no_single_task_is_refused_before_anything_is_scored(finished, monkeypatch):
    harness(monkeypatch, never)
    for name, why in (("all", "a group of tasks, not a task: got 'all'"), ("starts", "unknown task: got 'starts'")):
        with pytest.raises(SDSError, match=why):
            list(zero_shot([finished], [name], None, None))


@pytest.mark.parametrize("limit", [0, -1])
def test_no_question_is_refused(finished, monkeypatch, limit):
    harness(monkeypatch, never)
    with pytest.raises(SDSError, match=rf"no question to ask: got '--limit {limit}'"):
        list(zero_shot([finished], ["ends"], None, limit))


def test_runs_that_cannot_be_scored_are_refused_before_others_are(finished, tmp_path, monkeypatch):
    harness(monkeypatch, never)
    monkeypatch.setenv("SDS_RUNS", str(tmp_path))
    bare = Run(shutil.copytree(finished.folder, tmp_path / "bare"))
    bare.drop_weights()
    changed = Run(shutil.copytree(finished.folder, tmp_path / "changed"))
    change_model(changed, sha256=changed.model().sha256 | {"config.json": "another"})
    looked_at = create(replace(finished.config, **INSPECTED, checkpoint=finished.config.model))
    write_log(looked_at, [model_loaded(sha256=finished.model().sha256)])
    replaced = Run(shutil.copytree(finished.folder, tmp_path / "replaced"))
    typed_json.write(replaced.folder / "config.json", looked_at.config.to_dict())
    change_model(replaced, sha256=replaced.model().sha256 | {"checkpoint/config.json": "another"})
    for run, why in (
        (create(finished.config), "is new, not finished"),
        (looked_at, "is interrupted, not finished"),
        (replaced, r"is not what run replaced inspected: config\.json changed since"),
        (bare, "run bare has no weights"),
        (changed, r"that run changed pruned: config\.json changed since"),
    ):
        with pytest.raises(SDSError, match=why):
            list(zero_shot([finished, run], ["ends"], None, None))


def test_scores_are_told_though_they_cannot_be_stored(finished, monkeypatch):
    harness(monkeypatch, right)

    def full(*_):
        raise SDSError("the disk is full")

    monkeypatch.setattr("sds_core.extras.zero_shot.write_json", full)
    told = list[str]()
    scores = zero_shot([finished], ["ends"], None, None)
    with pytest.raises(SDSError, match="the disk is full"):
        for score in scores:
            told.append(score.model)
    assert told == ["dense", finished.id]


def test_scores_of_other_tasks_and_limits_are_kept(finished, tmp_path, monkeypatch):
    run = Run(shutil.copytree(finished.folder, tmp_path / "run"))
    path = run.folder / "zero-shot.json"
    earlier = {"model": "dense", "task": "ends", "right": [0.0, 1.0]}
    path.write_text(json.dumps({"limit": 2, "scores": [earlier]}), encoding="utf-8")  # as earlier versions wrote it

    def measured(tasks, limit, acc):
        """What the file holds after one more measurement, as accuracies by model, task and limit."""
        harness(monkeypatch, lambda *_, **asked: {"samples": {t: [{"doc_id": 0, "acc": acc}] for t in asked["tasks"]}})
        list(zero_shot([run], tasks, None, limit))
        scores = json.loads(path.read_text("utf-8"))["scores"]
        found = {(score["model"], score["task"], score["limit"]): score["right"] for score in scores}
        assert len(found) == len(scores)
        return found

    def both(task, limit, acc):
        return {(model, task, limit): [acc] for model in ("dense", "run")}

    old = {("dense", "ends", 2): [0.0, 1.0]}
    first = measured(["ends", "begins"], None, 1.0)
    assert first == old | both("ends", None, 1.0) | both("begins", None, 1.0)
    trial = measured(["ends"], 5, 0.0)
    assert trial == first | both("ends", 5, 0.0)
    assert measured(["ends"], None, 0.0) == trial | both("ends", None, 0.0)
    assert measured(["ends"], 2, 1.0) == trial | both("ends", None, 0.0) | both("ends", 2, 1.0)


def test_broken_earlier_scores_are_refused_before_anything_is_scored(finished, tmp_path, monkeypatch):
    harness(monkeypatch, never)
    run = Run(shutil.copytree(finished.folder, tmp_path / "run"))
    (run.folder / "zero-shot.json").write_text('{"scores": 3}', encoding="utf-8")
    with pytest.raises(SDSError, match=r"the earlier scores of run run are broken: scores is not a list.*Move .* away"):
        list(zero_shot([run], ["ends"], None, None))


def test_memory_that_runs_out_is_a_sentence(finished, monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3.00 GiB.")

    harness(monkeypatch, full)
    with pytest.raises(SDSError, match=r"memory ran out: 3,072 MB more were needed at once"):
        list(zero_shot([finished], ["ends"], None, None))


@installed
def test_unavailable_data_is_reported(finished, task_folder):
    (task_folder / "questions.jsonl").unlink()
    with pytest.raises(SDSError, match="the data of ends cannot be loaded"):
        list(zero_shot([finished], ["ends"], str(task_folder), None))


def test_without_the_extra_the_error_says_what_to_install(finished, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    monkeypatch.setenv("SDS_RUNS", str(finished.folder.parent))
    requirement = (Path(__file__).parents[2] / "requirements-eval.txt").read_text("utf-8").strip()
    assert main(["evaluate", finished.id]) == 1
    assert f"pip install {requirement}." in capsys.readouterr().err


def test_differences_are_paired_question_by_question():
    first, second = Score("dense", "t", [1, 1, 0, 1]), Score("run", "t", [1, 0, 0, 0])
    mean, error = second.above(first)
    assert mean == -0.5 and error == pytest.approx(math.sqrt(1 / 3) / 2)
    third = Score("sds", "t", [1, 1, 0, 0])
    printed = table([first, second, third]).splitlines()
    assert printed[1].split("  ")[-1].strip() == "50.00 (-25.00 ± 25.00, +25.00 ± 25.00)"
    assert printed[2].split() == ["mean", "75.00", "25.00", "50.00"]


def test_runs_of_different_models_are_not_paired(finished, tmp_path, monkeypatch):
    monkeypatch.setenv("SDS_RUNS", str(tmp_path))
    with pytest.raises(SDSError, match="different models"):
        list(zero_shot([finished, create(config(tmp_path))], ["ends"], None, None))
