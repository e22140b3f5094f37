"""Accuracy on a local task, against log likelihoods in plain words; needs the extra of requirements-eval.txt."""

import importlib.util
import json
import math
import sys
from pathlib import Path

import pytest
import torch

from sds_core.__main__ import main
from sds_core.errors import SDSError
from sds_core.extras.zero_shot import Score, table, zero_shot
from sds_core.models.load import load_model
from sds_core.runs.new_run import create
from sds_core.runs.pruned_model import pruned_model
from tests.small_runs import config

installed = pytest.mark.skipif(
    importlib.util.find_spec("lm_eval") is None, reason="lm-eval is not installed (requirements-eval.txt)"
)
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
    return [
        float((likelihood(loaded, q["start"], q["second"]) > likelihood(loaded, q["start"], q["first"])) == q["right"])
        for q in QUESTIONS
    ]


@installed
def test_scores_pick_the_likelier_ending_for_each_model(finished, task_folder, tiny_folder):
    dense, pruned = zero_shot([finished], ["ends"], str(task_folder), None)
    assert (dense.model, pruned.model) == ("dense", finished.id)
    assert dense.right == answers(load_model(str(tiny_folder)))
    assert pruned.right == answers(pruned_model(finished))
    stored = json.loads((finished.folder / "zero-shot.json").read_text())
    assert [score["right"] for score in stored["scores"]] == [dense.right, pruned.right]


@installed
def test_unknown_task_is_reported(finished, task_folder):
    with pytest.raises(SDSError, match="unknown task: got 'begins'"):
        list(zero_shot([finished], ["begins"], str(task_folder), None))


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
