"""The papers' evaluation by options, against their procedure written out: one text, one start token, every window."""

import json
import math
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import cross_entropy

from sds_core.errors import SDSError
from sds_core.models.calibration import evaluation_windows
from sds_core.models.evaluate import evaluate
from sds_core.models.load import LoadedModel, load_model
from sds_core.models.structure import find_blocks
from sds_core.models.text_reader import read_text
from sds_core.runs.config import RunConfig
from tests.models.tokenizers import with_template

ROWS = [
    "",
    " = A title = \n",
    "",
    " The first paragraph , and a long one . \n",
    " Another one . \n",
    "",
] * 6
LENGTH = 24


@pytest.fixture
def loaded(tiny_folder) -> LoadedModel:
    found = load_model(str(tiny_folder))
    return replace(found, tokenizer=with_template(found.tokenizer, "<s> $A"))


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"text": row}) + "\n" for row in ROWS))
    return f"{path}:text"


def papers_perplexity(loaded: LoadedModel, rows: list[str]) -> tuple[float, int]:
    """As written in the papers' code: join, encode once, cut, and weigh each window's mean loss by its length."""
    encoded = loaded.tokenizer("\n\n".join(rows), return_tensors="pt").input_ids
    count = encoded.numel() // LENGTH
    sums = []
    for i in range(count):
        window = encoded[:, i * LENGTH : (i + 1) * LENGTH]
        with torch.no_grad():
            logits = loaded.model(window).logits
        sums.append(cross_entropy(logits[0, :-1].float(), window[0, 1:]) * LENGTH)
    return math.exp(float(torch.stack(sums).sum()) / (count * LENGTH)), count


def test_options_measure_what_the_papers_code_measures(loaded, table):
    expected, count = papers_perplexity(loaded, ROWS)
    windows = evaluation_windows(loaded, table, 0, LENGTH, bos="text", rows="whole")
    assert windows.shape == (count, LENGTH) and count > 10
    start = loaded.tokenizer.convert_tokens_to_ids("<s>")
    assert windows[0, 0] == start and not (windows.flatten()[1:] == start).any()
    passes = evaluate(find_blocks(loaded.model), windows, torch.device("cpu"))
    while True:
        try:
            next(passes)
        except StopIteration as done:
            measured = done.value
            break
    assert measured.value == pytest.approx(expected, rel=1e-6)
    stripped = evaluation_windows(loaded, table, 0, LENGTH, bos="text")
    assert len(stripped) < len(windows), "line ends are tokens, too"


def test_a_text_file_has_the_rows_of_its_data_set(tmp_path, table):
    path = tmp_path / "raw.txt"
    path.write_text("".join(row or " \n" for row in ROWS))
    assert read_text(str(path), "whole") == read_text(table, "whole") == "\n\n".join(ROWS)
    assert read_text(table) == "\n\n".join(row.rstrip("\n") for row in ROWS)


def test_every_window_of_each_part(loaded, table):
    halves = [evaluation_windows(loaded, f"{table}@{part}%", 0, LENGTH) for part in ("0-50", "50-100")]
    both = evaluation_windows(loaded, f"{table}@0-50%+{table}@50-100%", 0, LENGTH)
    assert torch.equal(both, torch.cat(halves))
    with pytest.raises(SDSError, match="too short for an evaluation window: 5000 tokens are needed"):
        evaluation_windows(loaded, table, 0, 5000, bos="text")


def test_one_window_alone_is_refused():
    with pytest.raises(SDSError, match="one evaluation window has no error"):
        RunConfig(eval_windows=1)


def test_every_window_that_is_one_alone_is_refused(loaded, table):
    with pytest.raises(SDSError, match=f"holds a single window of {LENGTH} tokens, whose perplexity has no error"):
        evaluation_windows(loaded, f"{table}@0-{LENGTH}", 0, LENGTH)
