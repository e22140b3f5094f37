import pickle

import pytest

from sds_core.errors import Cancelled, SDSError


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({}, "unknown pruner."),
        ({"got": "owl"}, "unknown pruner: got 'owl'."),
        ({"got": 0}, "unknown pruner: got '0'."),
        ({"allowed": "wanda"}, "unknown pruner; allowed: wanda."),
        ({"cure": "use wanda"}, "unknown pruner. Use wanda."),
        (
            {"got": "owl", "allowed": "wanda", "cure": "use wanda"},
            "unknown pruner: got 'owl'; allowed: wanda. Use wanda.",
        ),
    ],
)
def test_message_names_fault_value_allowed_and_cure(arguments, sentence):
    assert str(SDSError("unknown pruner", **arguments)) == sentence


def test_full_stops_are_not_doubled():
    assert str(SDSError("the file is empty.", cure="choose another.")) == "the file is empty. Choose another."


def test_a_long_value_is_cut():
    message = str(SDSError("not a pattern", got="x" * 1000))
    assert "x" * 200 in message and "x" * 201 not in message


def test_the_parts_can_be_read_back():
    error = SDSError("unknown pruner", got="owl", allowed="wanda", cure="use wanda")
    assert (error.what, error.got, error.allowed, error.cure) == ("unknown pruner", "owl", "wanda", "use wanda")


def test_an_error_survives_the_way_between_processes():
    error = SDSError("unknown pruner", got="owl", allowed="wanda", cure="use wanda")
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert type(copy) is SDSError and str(copy) == str(error) and copy.cure == error.cure


def test_cancelling_is_caught_like_every_user_error():
    with pytest.raises(SDSError, match="stopped"):
        raise Cancelled("the run was stopped")


def test_a_message_has_an_end():
    message = str(SDSError("x" * 10**6, allowed=", ".join(map(str, range(10**5))), cure="look at the end"))
    assert len(message) < 2100 and message.startswith("xxx") and message.endswith("Look at the end.")
