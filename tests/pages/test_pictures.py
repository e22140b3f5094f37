"""What pictures are drawn from: payloads there and back, their size, and numbers as text on both sides."""

import json
import math
import shutil
import subprocess

import pytest

from pages.ui.pictures import component, measured
from pages.ui.pictures import wire as wires
from tests.pages import gallery
from tests.pages.browser import ROOT

ASSETS = ROOT / "pages/ui/pictures/assets"
NAMES = sorted(path.stem for path in gallery.PAYLOADS.glob("*.json"))
BLOCK = 15_000
"""Bytes that a finished block may take."""
node = pytest.mark.skipif(not shutil.which("node"), reason="no node on this machine")


def javascript(code: str) -> object:
    """What a module printed as JSON; it may import from the pictures."""
    command = ["node", "--input-type=module", "--eval", code.replace("ASSETS", ASSETS.as_uri())]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.parametrize("name", NAMES)
def test_a_payload_travels_unchanged(name):
    sent = json.loads((gallery.PAYLOADS / f"{name}.json").read_text("utf-8"))
    assert wires.wire(gallery.read(name)) == sent


def test_a_block_of_six_runs_is_small():
    four = gallery.read("studio-live")
    six = wires.wire(gallery.replace(four, runs=four.runs + four.runs[2:]))
    assert len(json.dumps(six).encode()) + len(component.root("studio").encode()) < BLOCK


def test_nothing_that_is_none_travels():
    assert wires.wire(measured.Cell(3, zeros=1 / 3)) == {"done": 3, "zeros": 0.333333333}


@node
def test_packed_numbers_arrive():
    curve, values = wires.pack_curve([0, 0.5, 16.75, 99]), wires.pack_values([0.0625, None, -2.5])
    code = 'import { curve, values } from "ASSETS/marks.js";'
    got = javascript(f'{code} console.log(JSON.stringify([curve("{curve}"), values("{values}")]))')
    assert got == [pytest.approx([0, 0.5, 16.75, 32767 / 1800]), [0.0625, None, -2.5]]


@node
def test_numbers_have_the_digits_of_the_report():
    shares = [0.0625, 0.15731, 1.0, 0.00021, 0.0, -0.031, 1 / 3]
    code = 'import { percent, perplexity, times } from "ASSETS/marks.js";'
    said = f"[{shares}.map((v) => percent(v)), [83.8768, 5e3].map(perplexity), times(7.2259), percent(null)]"
    expected = [f"{share:.1%}".replace("%", " %").replace("-", "−") for share in shares]
    expected[3] = "< 0.1 %"
    got = javascript(f"{code} console.log(JSON.stringify({said}))")
    assert got == [expected, [f"{83.8768:.2f}", "5000"], f"× {7.2259:.2f}", "–"]


@node
def test_an_expert_is_named_by_its_number():
    linears = ["self_attn.q_proj", "mlp.experts.17.down_proj", "fc1"]
    code = 'import { layerName } from "ASSETS/marks.js";'
    got = javascript(f"{code} console.log(JSON.stringify([3, 4, 5].map((at) => layerName(at, {linears}))))")
    assert got == ["block 1 · q_proj", "block 1 · 17 · down_proj", "block 1 · fc1"]


@pytest.mark.parametrize("path", sorted(ASSETS.glob("*.js")), ids=lambda path: path.name)
def test_modules_are_short_and_state_their_purpose(path):
    lines = path.read_text("utf-8").splitlines()
    assert len(lines) <= 200 and lines[0].startswith("// ")
    assert max(map(len, lines)) <= 120


@pytest.mark.skipif(not (ROOT / "node_modules/.bin/eslint").exists(), reason="npm has installed nothing here")
@pytest.mark.parametrize("tool", ["prettier --check", "eslint"])
def test_modules_keep_to_the_rules(tool):
    program, *flags = tool.split()
    found = subprocess.run([ROOT / "node_modules/.bin" / program, *flags, "pages"], cwd=ROOT, capture_output=True)
    assert found.returncode == 0, found.stdout.decode()


def test_shares_that_are_unknown_stay_unknown():
    with pytest.raises(ValueError):
        wires.pack_curve([math.nan])
