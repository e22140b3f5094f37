from dataclasses import dataclass, field

import pytest

from sds_core.options import faults, option, options_of


@dataclass(frozen=True)
class Example:
    rounds: int = option(3, "Number of rounds.", low=1, high=10)
    samples: int = option(4, "Number of samples.", low=1)
    rho: float = option(
        0.5,
        """A penalty,
        documented in two lines.""",
        low=0,
        high=2,
    )
    quick: bool = option(False, "Whether it is quick.")
    dtype: str = option("auto", "A precision.", choices=("auto", "float32"))
    title: str = option("", "Any text.")
    parent: dict = field(default_factory=dict)


def messages(**values):
    return [str(fault) for fault in faults(Example(**values))]


def test_fields_become_options_in_their_order():
    assert list(options_of(Example)) == ["rounds", "samples", "rho", "quick", "dtype", "title"]
    assert Example().rounds == 3 and Example().rho == 0.5
    rounds = options_of(Example)["rounds"]
    assert (rounds.default, rounds.doc, rounds.low, rounds.high) == (3, "Number of rounds.", 1, 10)


def test_documentation_of_several_lines_becomes_one():
    assert options_of(Example)["rho"].doc == "A penalty, documented in two lines."


def test_the_defaults_are_allowed():
    assert messages() == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rounds": 0}, "option rounds out of range: got '0'; allowed: 1 to 10."),
        ({"rounds": 11}, "option rounds out of range: got '11'; allowed: 1 to 10."),
        ({"rounds": 2.0}, "option rounds is a whole number: got '2.0'; allowed: 1 to 10."),
        ({"rounds": True}, "option rounds is a whole number: got 'True'; allowed: 1 to 10."),
        ({"samples": 0}, "option samples out of range: got '0'; allowed: 1 or more."),
        ({"rho": -0.1}, "option rho out of range: got '-0.1'; allowed: 0 to 2."),
        ({"rho": float("nan")}, "option rho out of range: got 'nan'; allowed: 0 to 2."),
        ({"rho": "1"}, "option rho is a number: got '1'; allowed: 0 to 2."),
        ({"quick": 1}, "option quick is yes or no: got '1'."),
        ({"dtype": "int8"}, "unknown value of option dtype: got 'int8'; allowed: auto, float32."),
    ],
)
def test_a_value_that_is_not_allowed_is_refused(values, message):
    assert messages(**values) == [message]


@pytest.mark.parametrize("values", [{"rounds": 1}, {"rounds": 10}, {"samples": 10**9}, {"rho": 0}, {"rho": 2.0}])
def test_the_limits_themselves_are_allowed(values):
    assert messages(**values) == []


def test_every_fault_is_found():
    assert len(messages(rounds=0, rho=3.0, dtype="int8")) == 3
