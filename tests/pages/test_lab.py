"""The Layer lab: the dual on and off, every control, and wrong addresses."""

import pytest

from sds_core.lesson import lab, lab_layer
from sds_core.pruning.methods import SDSAdmm
from sds_core.pruning.pattern import NM
from sds_core.pruning.registry import PRUNERS
from tests.pages.test_layer import figure, keys
from tests.pages.test_run import address, texts

PAGE = "pages/lab.py"


def metrics(at) -> dict[str, float]:
    """The page's numbers, in per cent."""
    return {metric.label: float(metric.value.strip("<%\N{NO-BREAK SPACE}")) for metric in at.metric}


def test_with_the_dual_mask_and_error_change(runs, app):
    at = app(PAGE)
    assert not at.exception and not at.error
    assert keys(at) == ["rounds", "player"]
    found = metrics(at)
    assert found["Mask changed"] > 5
    assert found["Error: after the dense phase"] < found["Error: its weights solved"]
    assert "With the memory, the mask moves" in at.info[0].value and "Stopping early hurts" in at.info[0].value


def test_without_the_dual_nothing_changes(runs, app):
    at = app(PAGE, dual="off")
    found = metrics(at)
    assert found["Mask changed"] < 0.1
    assert found["Error: after the dense phase"] == pytest.approx(found["Error: its weights solved"], abs=0.02)
    assert "Without the memory, nothing changes" in at.info[0].value and "100\N{NO-BREAK SPACE}%" in at.info[0].value
    at.segmented_control(key="lab-dual").set_value("on").run()
    assert address(at, "dual") == "on" and metrics(at)["Mask changed"] > 5


def test_numbers_and_curves_are_those_of_the_engine(runs, app):
    at = app(PAGE, pruner="magnitude", rounds="3", alpha="0.5")
    method = SDSAdmm(rounds=3, alpha=0.5)
    found = lab.rounds(lab_layer.read_lab_layer(), PRUNERS["magnitude"](), NM(2, 4), method, dual=True)
    last = found[found["stage"] == "final"].iloc[0]
    assert metrics(at)["Error: after the dense phase"] == pytest.approx(100 * last["held_out"], abs=0.005)
    assert f"{100 * last['seen']:.2f}" in at.metric[2].delta
    curve = next(t for t in figure(at, "rounds")["data"] if t["name"] == "pruned again, held-out text")
    again = found[found["stage"] == "pruned"]
    assert curve["x"] == [0, 1, 2, 3] and curve["y"][1:] == pytest.approx((100 * again["held_out"]).tolist())
    assert [step["label"] for step in figure(at, "player")["layout"]["sliders"][0]["steps"]] == ["1", "2", "3"]


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


def test_one_round_is_drawn(runs, app):
    at = app(PAGE, rounds="1")
    assert not at.exception and keys(at) == ["rounds", "player"]


def test_the_origin_of_the_layer_is_told(runs, app):
    written = texts(app(PAGE, rounds="1"))
    assert lab_layer.LINEAR in written and "write-lab-layer" in written and "β" in written


@pytest.mark.parametrize(
    ("name", "value"),
    [("dual", "maybe"), ("pruner", "owl"), ("pattern", "3:7"), ("rounds", "0"), ("rounds", "1e3"), ("alpha", "2")],
)
def test_a_wrong_address_is_a_sentence(runs, app, name, value):
    at = app(PAGE, **({"rounds": "2"} | {name: value}))
    assert not at.exception and keys(at) == ["rounds", "player"]
    assert f"“{name}={value}” in the address" in at.error[0].value


def test_a_broken_layer_is_a_sentence(runs, app, tmp_path, monkeypatch):
    from streamlit import cache_data, cache_resource

    cache_resource.clear()
    cache_data.clear()
    monkeypatch.setattr(lab_layer.read_lab_layer, "__defaults__", (tmp_path / "missing.safetensors",))
    at = app(PAGE)
    assert not at.exception and "cannot be read" in at.error[0].value
    cache_resource.clear()
