"""Questions that are refused before anything is loaded; answers as values, as a file and as text."""

import dataclasses
import json
import shlex

import pytest

from sds_core.commands.parser import build_parser
from sds_core.errors import SDSError
from sds_core.runs.lineup import DEMO, lineup
from sds_core.runs.text_query import EXAMPLE, MOST_CHARACTERS, TextQuery, TextReading, TextResult, table
from sds_core.runs.typed_json import parse, to_json

DENSE = TextReading(name="dense", weights="", losses=(1.0, 3.0), continuation=("a", "b", "c"))
PRUNED = TextReading(name="wanda", weights="x", losses=(1.5, 2.0), continuation=("a", "b", "d"))
ANSWER = TextResult(model="demo", prompt="p q r", tokens=3, pieces=("p", " q", " r"), readings=(DENSE, PRUNED))


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"runs": ()}, "the number of runs is out of range: got '0'; allowed: 1 to 4"),
        ({"runs": ("a", "a")}, "the number of runs is"),
        ({"runs": tuple("abcde")}, "the number of runs is out of range: got '5'"),
        ({"prompt": ""}, "there is no text to read. Type a few words."),
        ({"prompt": " \n\t"}, "there is no text to read"),
        ({"prompt": "x" * (MOST_CHARACTERS + 1)}, "the text has 1001 characters; allowed: 1000 at most."),
        ({"prompt": "a\0b"}, "something that is no character"),
        ({"prompt": "a\udcffb"}, "something that is no character"),
        ({"tokens": 0}, "the number of tokens that follow is out of range: got '0'; allowed: 1 to 200"),
        ({"tokens": 201}, "the number of tokens that follow is"),
    ],
)
def test_a_question_that_makes_no_sense_is_one_sentence(changed, sentence):
    with pytest.raises(SDSError) as refused:
        TextQuery(**{"runs": ("a",), "prompt": "hello"} | changed)
    assert sentence in str(refused.value)


def test_the_command_of_a_question_asks_the_same():
    query = TextQuery(runs=("a", "b"), prompt='--it\'s\n"so" $(x)', tokens=3)
    words = shlex.split(query.command())
    assert words[:4] == ["python", "-m", "sds_core", "text"]
    options = build_parser().parse_args(words[3:])
    assert TextQuery(runs=tuple(options.runs), prompt=options.prompt, tokens=options.tokens) == query
    assert "--tokens" not in TextQuery(runs=("a",), prompt="x").command()


def test_readings_are_compared_token_by_token():
    assert PRUNED.above(DENSE) == [0.5, -1.0] and PRUNED.mean == 1.75
    assert PRUNED.agreed(DENSE) == 2 and DENSE.agreed(DENSE) == 3
    ended = dataclasses.replace(PRUNED, continuation=("a",))
    assert ended.agreed(DENSE) == 1 and dataclasses.replace(PRUNED, continuation=()).agreed(DENSE) == 0


def test_an_answer_survives_its_file():
    assert parse(TextResult, json.dumps(to_json(ANSWER))) == ANSWER


def test_the_table_has_a_line_a_token_and_every_continuation():
    told = table(ANSWER)
    lines = [line.split() for line in told.splitlines()]
    assert ["'p'"] in lines and ["'", "q'", "1.000", "1.500"] in lines
    assert ["mean", "2.000", "1.750"] in lines and ["mean,", "above", "dense", "-0.250"] in lines
    assert "wanda goes on, greedily:\nabd" in told


def test_a_single_token_has_a_table_too():
    alone = [dataclasses.replace(reading, losses=()) for reading in (DENSE, PRUNED)]
    assert "'p'" in table(dataclasses.replace(ANSWER, pieces=("p",), readings=tuple(alone)))


def test_the_example_that_comes_along_is_of_the_demos_models():
    from sds_core.runs.names import called

    result = parse(TextResult, EXAMPLE.read_text(encoding="utf-8"))
    configs = {str(i): config for i, config in enumerate(lineup(DEMO))}
    dense, *others = [reading.name for reading in result.readings]
    assert dense == "dense" and {"Wanda", "SDS · Wanda"} <= set(others) <= set(called(configs).values())
    assert result.model == "demo" and "".join(result.pieces) == result.prompt
    for reading in result.readings:
        assert len(reading.losses) == len(result.pieces) - 1 and 0 < len(reading.continuation) <= result.tokens
