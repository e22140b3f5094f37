"""Queries that are refused before anything is loaded; results as values and as a file."""

import dataclasses
import json
import math
import shlex

import pytest

from sds_core.commands.parser import build_parser
from sds_core.errors import SDSError
from sds_core.runs.names import called
from sds_core.runs.sweep import DEMO_SETTINGS, method_configs
from sds_core.runs.typed_json import parse, to_json
from sds_core.texts.query import EXAMPLE, MOST_CHARACTERS, PromptReading, TextQuery, TextResult
from tests.readings import reading, result

DENSE = PromptReading(losses=(1.0, 3.0), continuation=("a", "b", "c"))
PRUNED = PromptReading(losses=(1.5, 2.0), continuation=("a", "b", "d"))


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"runs": ()}, "the number of runs is out of range: got '0'; allowed: 1 to 4"),
        ({"runs": ("a", "a")}, "the number of runs is"),
        ({"runs": tuple("abcde")}, "the number of runs is out of range: got '5'"),
        ({"prompts": ()}, "there is no text to read. Type a few words."),
        ({"prompts": ("x",) * 9}, "there are too many prompts: got '9'; allowed: 8 at most"),
        ({"prompts": ("x", "")}, "there is no text to read. Type a few words."),
        ({"prompts": (" \n\t",)}, "there is no text to read"),
        ({"prompts": ("x" * (MOST_CHARACTERS + 1),)}, "the text has 1001 characters; allowed: 1000 at most."),
        ({"prompts": ("a\0b",)}, "an invalid character"),
        ({"prompts": ("a\udcffb",)}, "an invalid character"),
        ({"tokens": 0}, "the number of tokens that follow is out of range: got '0'; allowed: 1 to 200"),
        ({"tokens": 201}, "the number of tokens that follow is"),
        ({"temperature": 0.0}, "the temperature is out of range: got '0.0'; allowed: 0.01 to 2, or none"),
        ({"temperature": math.nan}, "the temperature is out of range"),
        ({"temperature": 2.1}, "the temperature is out of range"),
        ({"sampling_seed": -1}, "the seed of sampling is out of range"),
    ],
)
def test_a_question_that_makes_no_sense_is_one_sentence(changed, sentence):
    with pytest.raises(SDSError) as refused:
        TextQuery(**{"runs": ("a",), "prompts": ("hello",)} | changed)
    assert sentence in str(refused.value)


@pytest.mark.parametrize("more", [{}, {"tokens": 3}, {"temperature": 0.75, "sampling_seed": 4}])
def test_the_command_of_a_query_asks_the_same(more):
    query = TextQuery(runs=("a", "b"), prompts=('--it\'s\n"so" $(x)', "y"), **more)
    words = shlex.split(query.command())
    assert words[:4] == ["python", "-m", "sds_core", "text"] and len(words) == 8 + len(more)
    options = build_parser().parse_args(words[3:])
    asked = {"tokens": options.tokens, "temperature": options.temperature, "sampling_seed": options.sampling_seed}
    assert TextQuery(runs=tuple(options.runs), prompts=tuple(options.prompts), **asked) == query


def test_readings_are_compared_token_by_token():
    assert PRUNED.above(DENSE) == [0.5, -1.0] and PRUNED.mean == 1.75
    assert PRUNED.agreed(DENSE) == 2 and DENSE.agreed(DENSE) == 3
    ended = dataclasses.replace(PRUNED, continuation=("a",))
    assert ended.agreed(DENSE) == 1 and dataclasses.replace(PRUNED, continuation=()).agreed(DENSE) == 0


def test_a_result_survives_its_file():
    made = result(reading("dense", (1.0,), (2.0, 3.0)), reading("Wanda", (1.0,), (2.5, 3.0), sampled=("a",)))
    for one in (made, dataclasses.replace(made, temperature=0.5, sampling_seed=3)):
        assert parse(TextResult, json.dumps(to_json(one))) == one


def test_shipped_result_covers_the_example_models():
    shown = parse(TextResult, EXAMPLE.read_text(encoding="utf-8"))
    configs = {str(i): config for i, config in enumerate(method_configs(DEMO_SETTINGS))}
    dense, *others = [reading.name for reading in shown.readings]
    assert dense == "dense" and {"Wanda", "SDS · Wanda"} <= set(others) <= set(called(configs).values())
    assert shown.model == "demo" and tuple(map("".join, shown.pieces)) == shown.prompts
    for one in shown.readings:
        for pieces, prompt in zip(shown.pieces, one.prompts, strict=True):
            assert len(prompt.losses) == len(pieces) - 1 and 0 < len(prompt.continuation) <= shown.tokens
