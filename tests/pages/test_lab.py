"""The Layer lab: the dual on and off, every control, the round in view, and wrong addresses."""

import json

import pytest

from sds_core.lesson import lab, lab_layer
from sds_core.pruning.methods import SDSAdmm
from sds_core.pruning.pattern import NM
from sds_core.pruning.registry import PRUNERS
from tests.pages.test_studio_runs import address, texts

PAGE = "pages/lab.py"


def numbers(at) -> dict:
    """What the picture is drawn from."""
    (picture,) = at.get("bidi_component")
    return json.loads(picture.proto.json)[0]


def test_with_the_dual_mask_and_error_change(runs, app):
    at = app(PAGE)
    assert not at.exception and not at.error
    found = numbers(at)
    last = found["rounds"][-1]["final"]
    assert last["mask_changed"] > 0.05 and last["held_out"] < found["solved"]["held_out"]
    assert "With the memory, the mask moves" in texts(at) and "Stopping early hurts" in texts(at)


def test_without_the_dual_nothing_changes(runs, app):
    at = app(PAGE, dual="off")
    found = numbers(at)
    assert found["rounds"][-1]["final"]["mask_changed"] < 0.001
    assert "Without the memory, nothing changes" in texts(at) and "100\N{NO-BREAK SPACE}%" in texts(at)
    at.segmented_control(key="lab-dual").set_value("on").run()
    assert address(at, "dual") == "on" and numbers(at)["rounds"][-1]["final"]["mask_changed"] > 0.05


def test_numbers_are_those_of_the_engine(runs, app):
    at = app(PAGE, pruner="magnitude", rounds="3", alpha="0.5")
    method = SDSAdmm(rounds=3, alpha=0.5)
    found = lab.rounds(lab_layer.read_lab_layer(), PRUNERS["magnitude"](), NM(2, 4), method, dual=True)
    shown = numbers(at)
    assert [one["number"] for one in shown["rounds"]] == [1, 2, 3]
    for one, other in zip(shown["rounds"], found.rounds, strict=True):
        for part, state in (("redense", other.redense), ("final", other.pruned)):
            assert one[part]["seen"] == pytest.approx(state.seen, rel=1e-5)
            assert one[part]["held_out"] == pytest.approx(state.held_out, rel=1e-5)
    assert shown["first"]["held_out"] == pytest.approx(found.first.held_out, rel=1e-5)


def test_every_control_writes_the_address(runs, app):
    at = app(PAGE, rounds="2")
    at.selectbox(key="lab-pruner").set_value("magnitude")
    at.selectbox(key="lab-pattern").set_value("50%")
    at.slider(key="lab-rounds").set_value(4)
    at.select_slider(key="lab-alpha").set_value("0")
    at.run()
    assert not at.exception and not at.error
    names = ("pruner", "pattern", "rounds", "alpha")
    assert [address(at, name) for name in names] == ["magnitude", "50%", "4", "0"]


@pytest.mark.parametrize(("asked", "shown"), [("2", 2), ("", 0), ("-1", 0), ("²", 0)])
def test_the_address_names_the_round_in_view(runs, app, asked, shown):
    at = app(PAGE, rounds="2", round=asked)
    assert not at.exception and numbers(at)["view"] == {"round": shown}


@pytest.mark.parametrize("dual", ["on", "off"])
def test_one_round_is_drawn_and_has_no_memory_yet(runs, app, dual):
    at = app(PAGE, rounds="1", dual=dual)
    assert len(numbers(at)["rounds"]) == 1 and "In the first round the memory is still empty" in texts(at)


def test_what_is_said_follows_the_numbers(runs, app):
    at = app(PAGE, dual="off", pruner="magnitude")
    assert numbers(at)["rounds"][-1]["final"]["mask_changed"] > 0.03
    assert "Without the memory, little changes" in texts(at) and "nothing changes" not in texts(at)
    at = app(PAGE, alpha="1")
    found = numbers(at)
    assert found["rounds"][-1]["final"]["held_out"] > found["first"]["held_out"]
    assert "at the end" in texts(at) and ", 12, the layer" not in texts(at)


def test_a_projector_has_the_controls_too(runs, app):
    at = app(PAGE, rounds="1", present="1")
    assert not at.exception and numbers(at)["present"] and at.slider(key="lab-rounds").value == 1


def test_origin_of_the_layer_is_reported(runs, app):
    written = texts(app(PAGE, rounds="1"))
    assert lab_layer.LINEAR in written and "write-lab-layer" in written and "β" in written


@pytest.mark.parametrize(
    ("name", "value"),
    [("dual", "maybe"), ("pruner", "owl"), ("pattern", "3:7"), ("rounds", "0"), ("rounds", "1e3"), ("alpha", "2")],
)
def test_wrong_address_is_reported(runs, app, name, value):
    at = app(PAGE, **({"rounds": "2"} | {name: value}))
    assert not at.exception and numbers(at)["rounds"]
    assert f"“{name}={value}” in the address" in at.error[0].value


def test_broken_layer_is_reported(runs, app, tmp_path, monkeypatch):
    from streamlit import cache_data, cache_resource

    cache_resource.clear()
    cache_data.clear()
    monkeypatch.setattr(lab_layer.read_lab_layer, "__defaults__", (tmp_path / "missing.safetensors",))
    at = app(PAGE)
    assert not at.exception and "cannot be read" in at.error[0].value and not at.get("bidi_component")
    cache_resource.clear()
