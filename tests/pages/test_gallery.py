"""Every picture in a browser: it draws, it is worked by mouse and keyboard, and meets no error."""

import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from tests.pages import gallery
from tests.pages.browser import MISSING, Visitor, server, visitors

NAMES = sorted(path.stem for path in gallery.PAYLOADS.glob("*.json"))
SCREEN = 720


@pytest.fixture(scope="module")
def visit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Visitor]]:
    """Show a payload as it is before anything is picked, in the page that is open unless the address says more."""
    if MISSING:
        pytest.skip(MISSING)
    runs, cache = tmp_path_factory.mktemp("runs"), tmp_path_factory.mktemp("cache")
    with server(runs, cache, "tests/pages/gallery.py") as address, visitors(address) as browser:
        guest: Visitor = browser()
        guest.open(f"/?show={NAMES[0]}")

        def shown(name: str, query: str = "", reduced_motion: str = "no-preference") -> Visitor:
            page = guest.page
            page.set_viewport_size({"width": 1280, "height": SCREEN})
            page.emulate_media(color_scheme="light", reduced_motion=reduced_motion)
            if query:
                guest.open(f"/?show={name}{query}")
            else:
                others = [one for one in NAMES[:2] if one != name]
                again = page.locator(f".st-key-{name}").count() > 0
                for one in (*others[:again], name):
                    page.get_by_role("combobox", name="Picture").fill(one)
                    page.keyboard.press("Enter")
                    page.wait_for_selector(f".st-key-{one} main.picture > *")
                page.evaluate("document.activeElement.blur()")
            page.wait_for_selector("main.picture > *")
            return guest.idle()

        yield shown
        assert guest.errors + guest.left == []


def picked(visitor: Visitor, what: str = "pick", **expected: Any) -> None:
    """Wait until the pick, or event, that the page has written into the address holds what is expected."""
    deadline = time.monotonic() + 30
    while True:
        visitor.idle()
        (value,) = parse_qs(urlsplit(visitor.page.url).query).get(what, ["{}"])
        found = json.loads(value)
        if found | expected == found:
            return
        assert time.monotonic() < deadline, f"{what}: {found}"


@pytest.mark.parametrize("name", NAMES)
def test_every_picture_fits_its_page(visit, name):
    page = visit(name).page
    main = page.locator("main.picture")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert main.locator("svg, .track, .matrix").count() > 0
        assert "NaN" not in main.inner_html()
        assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight") <= SCREEN
    page.set_viewport_size({"width": 800, "height": SCREEN})
    page.wait_for_timeout(200)
    assert main.evaluate("main => main.scrollWidth <= main.clientWidth + 1")


def test_type_is_20_pixels_for_a_projector(visit):
    page = visit("studio-four", "&present=1").page
    page.set_viewport_size({"width": 1920, "height": 1080})
    page.wait_for_timeout(200)
    size = page.locator("main.picture").evaluate(
        "main => getComputedStyle(main).zoom * parseFloat(getComputedStyle(main).fontSize)"
    )
    assert size >= 20


def test_a_layer_is_picked_with_the_keyboard(visit):
    visitor = visit("studio-four")
    board = visitor.page.get_by_role("grid")
    board.focus()
    for key in ("ArrowDown", "ArrowRight", "Enter"):
        visitor.page.keyboard.press(key)
    picked(visitor, at=13, follow=False)
    assert board.get_attribute("aria-activedescendant") == "layer-13"
    assert visitor.page.locator("#layer-13").get_attribute("aria-selected") == "true"


def test_late_answer_does_not_undo_a_newer_pick(visit):
    visitor = visit("studio-four")
    cells = visitor.page.locator("button.cell")
    cells.nth(0).click()
    cells.nth(1).focus()
    visitor.page.keyboard.press("Enter")
    picked(visitor, run="sparsegpt", stage="sparse")
    assert cells.nth(1).get_attribute("aria-pressed") == "true"
    assert cells.nth(0).get_attribute("aria-pressed") == "false"


def test_the_scrubber_turns_distribution_map_and_numbers_together(visit):
    visitor = visit("studio-four")
    look = """main => ({
        final: main.querySelectorAll('button.cell.final path.edge')[1].getAttribute('d'),
        map: main.querySelector('#layer-40').style.cssText,
        number: main.querySelector('.player dd').textContent,
    })"""
    main, slider = visitor.page.locator("main.picture"), visitor.page.get_by_role("slider")
    before = main.evaluate(look)
    slider.focus()
    visitor.page.keyboard.press("ArrowLeft")
    after = main.evaluate(look)
    assert all(before[part] != after[part] for part in before), json.dumps(after)
    assert slider.get_attribute("aria-valuetext") == "round 8"
    picked(visitor, round=8)


def test_another_quantity_is_asked_for(visit):
    visitor = visit("studio-four")
    visitor.page.get_by_label("Colour shows").select_option("mask_changed")
    picked(visitor, quantity="mask_changed")


def test_a_poll_keeps_nodes_and_focus(visit):
    visitor = visit("studio-four")
    main, board = visitor.page.locator("main.picture"), visitor.page.get_by_role("grid")
    main.evaluate("main => main.querySelectorAll('*').forEach((node, i) => (node.stamp = i))")
    board.focus()
    visitor.page.keyboard.press("ArrowDown")
    visitor.page.keyboard.press("Enter")
    picked(visitor, at=12)
    fresh = main.evaluate("main => [...main.querySelectorAll('*')].filter((node) => node.stamp === undefined).length")
    assert fresh == 0
    assert board.evaluate("board => board.getRootNode().activeElement === board")


def test_nothing_moves_where_motion_is_reduced(visit):
    visitor = visit("studio-four")
    visitor.page.emulate_media(reduced_motion="reduce")
    seconds = "(parts) => parts.map((part) => parseFloat(getComputedStyle(part).transitionDuration))"
    assert set(visitor.page.locator("main.picture *").evaluate_all(seconds)) == {0}
    visitor.page.get_by_label("Play the rounds").click()
    visitor.page.wait_for_timeout(900)
    assert visitor.page.get_by_role("slider").get_attribute("aria-valuetext") == "round 1"


def test_details_say_what_lies_under_the_keyboards_cursor(visit):
    visitor = visit("details-final-weights")
    weights, density = (
        visitor.page.get_by_role("application", name=name) for name in ("Weights of the first", "Density")
    )
    said = visitor.page.locator(".say")
    weights.focus()
    visitor.page.keyboard.press("ArrowRight")
    assert re.fullmatch(r"output 32, input 33 · weight −?0\.\d{4} · norm [\d.]+ · \w+", said.nth(1).inner_text())
    density.focus()
    visitor.page.keyboard.press("ArrowUp")
    assert re.search(r"as trained, .* now: [\d,]+ weights", said.nth(0).inner_text())
    assert said.nth(1).inner_text().startswith("the first 64 outputs")


def test_details_are_picked_with_the_keyboard(visit):
    visitor = visit("details-final-mask")
    for role, name in (("Corner shows", "weights"), ("Stage", "sparse"), ("Run", "Wanda")):
        visitor.page.get_by_role("group", name=role).get_by_role("button", name=name, exact=True).focus()
        visitor.page.keyboard.press("Enter")
    visitor.page.get_by_label("Block").select_option("3")
    picked(visitor, corner="weights", stage="sparse", run="wanda", at=23)


def test_a_round_turns_the_mask_of_the_corner(visit):
    visitor = visit("details-final-mask")
    lost = visitor.page.locator("path.kind.lost")
    before = lost.get_attribute("d")
    visitor.page.get_by_role("slider").focus()
    visitor.page.keyboard.press("Home")
    assert lost.get_attribute("d") != before
    assert visitor.page.get_by_role("slider").get_attribute("aria-valuetext") == "round 1"


def test_compare_selects_reference_and_row_by_keyboard(visit):
    visitor = visit("compare-four")
    visitor.page.get_by_role("button", name="Pin SparseGPT as the reference").focus()
    visitor.page.keyboard.press("Enter")
    visitor.page.locator("button.who").filter(has_text="Wanda").last.focus()
    visitor.page.keyboard.press("Enter")
    picked(visitor, ref="sparsegpt", a="wanda")
    said = visitor.page.locator("main.picture").inner_text()
    assert "Is it better than SparseGPT on the same windows?" in said
    lower = gallery.read("compare-four").pairs["wanda"]["sparsegpt"].lower
    assert f"Wanda against SparseGPT: lower on {lower} of 16" in said


def test_compare_opens_a_layer_of_its_map(visit):
    visitor = visit("compare-four")
    board = visitor.page.get_by_role("application", name="Layers")
    board.focus()
    visitor.page.keyboard.press("ArrowLeft")
    block, row = (int(visitor.page.locator("rect.chosen").get_attribute(side)) for side in "xy")
    visitor.page.keyboard.press("Enter")
    picked(visitor, "open", run="sds-admm", at=7 * block + row)
    board.locator("rect").nth(8).click()
    picked(visitor, "open", run="sds-admm", at=8)


def test_layers_that_are_not_pruned_are_left_out_of_the_map(visit):
    visitor = visit("compare-eight")  # its block 0 is not pruned
    said = visitor.page.locator("main.picture")
    assert " of 203 layers." in said.inner_text() and "block 0 ·" not in said.locator(".read").inner_text()
    assert said.locator("rect[data-at]").count() == 203
    board = visitor.page.get_by_role("application", name="Layers")
    board.focus()
    for _ in range(30):
        visitor.page.keyboard.press("ArrowLeft")
    assert "not pruned" in said.locator(".read").inner_text() and said.locator(".read button").count() == 0


def test_the_reference_is_a_ring_in_every_window(visit):
    windows = visit("compare-four").page.locator(".windows")
    assert windows.locator(".panel:first-child .point.ring").count() == 16
    assert windows.locator(".panel:first-child .point:not(.ring)").count() == 16


def test_compare_reads_windows_by_keyboard(visit):
    visitor = visit("compare-four")
    visitor.page.get_by_role("application", name="Windows of text").focus()
    visitor.page.keyboard.press("ArrowRight")
    assert re.search(r"window \d+, [\d.]+ against [\d.]+, × [\d.]+", visitor.page.locator("main.picture").inner_text())


def test_compare_leaves_a_run_out(visit):
    visitor = visit("compare-four")
    visitor.page.locator(".choice button").first.click()
    picked(visitor, runs=["sparsegpt", "sds", "sds-admm"])


def test_start_goes_to_a_stage_and_rests_there(visit):
    visitor = visit("start-sds")
    visitor.page.get_by_role("button", name="re-dense").focus()
    visitor.page.keyboard.press("Enter")
    visitor.page.wait_for_timeout(2500)
    assert visitor.page.locator(".now h2").inner_text() == "re-dense"
    assert visitor.page.locator(".count").inner_text() == "no zeros"
    assert visitor.page.get_by_role("button", name="Play").is_visible()


def test_start_says_no_number_while_it_moves(visit):
    visitor = visit("start-sds")
    visitor.page.get_by_role("button", name="sparse").first.click()
    assert visitor.page.locator(".count").inner_text() == ""


def test_start_stands_still_where_motion_is_reduced(visit):
    visitor = visit("start-sds", reduced_motion="reduce")
    assert visitor.page.locator(".ridge").count() == 4
    assert visitor.page.get_by_role("button", name="Play").count() == 0


def test_the_walk_is_walked_with_the_keyboard(visit):
    visitor = visit("walk-3")
    keyboard = visitor.page.keyboard
    keyboard.press("2")
    picked(visitor, step=3, guess="46", shown=False)
    keyboard.press("Enter")
    picked(visitor, shown=True)
    visitor.page.wait_for_selector("text=You said 46: 38 too low.")
    assert visitor.page.locator(".bar-row.asked .track b").inner_text() == "83.88"
    keyboard.press("ArrowRight")
    picked(visitor, step=4, guess="", shown=False)
    keyboard.press("ArrowLeft")
    picked(visitor, step=3, guess="46", shown=True)


@pytest.mark.parametrize(("step", "guess"), [(3, "10"), (8, "c")])
def test_a_step_keeps_its_reveal_on_reload(visit, step, guess):
    view = quote(json.dumps({"step": step, "guess": guess, "shown": True}))
    visitor = visit(f"walk-{step}", f"&pick={view}")
    answer = gallery.read(f"walk-{step}").step
    assert answer.said in visitor.page.locator(".answer").inner_text()
    assert "your guess" in visitor.page.locator("main.walk").inner_text()


def test_guess_is_dragged_on_the_axis_of_the_answer(visit):
    visitor = visit("walk-3")
    box = visitor.page.locator(".right > .over").first.bounding_box()
    visitor.page.mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] / 2)
    visitor.page.mouse.down()
    visitor.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    visitor.page.mouse.up()
    picked(visitor, guess="60")
    assert visitor.page.get_by_label("Your guess").get_attribute("aria-valuetext") == "60"


def test_the_lab_turns_weights_and_costs_together(visit):
    visitor = visit("lab-admm")
    numbers, shape = visitor.page.locator(".lab dd").first, visitor.page.locator(".redense .edge")
    before = numbers.inner_text(), shape.get_attribute("d")
    slider = visitor.page.get_by_role("slider")
    slider.focus()
    visitor.page.keyboard.press("Home")
    assert numbers.inner_text() != before[0] and shape.get_attribute("d") != before[1]
    assert slider.get_attribute("aria-valuetext") == "round 1"
    picked(visitor, round=1)


def test_the_matrices_of_micro_are_tables_with_their_numbers(visit):
    shown = gallery.read("micro-dense")
    visitor = visit("micro-dense")
    tables = visitor.page.get_by_role("table")
    assert tables.count() == len(shown.matrices) == 3
    for drawn, one in zip(tables.all(), shown.matrices, strict=True):
        assert drawn.get_attribute("aria-label") == one.alt
        cells = drawn.get_by_role("cell").all_inner_texts()
        assert [float(text.replace("−", "-")) for text in cells] == pytest.approx(sum(one.rows, ()), abs=0.006)
        coloured = "cells => cells.map((one) => getComputedStyle(one).backgroundColor !== 'rgba(0, 0, 0, 0)')"
        colours = drawn.get_by_role("cell").evaluate_all(coloured)
        assert [at for at, colour in enumerate(colours) if not colour] == list(one.faded)
        for kind in ("lost", "returned"):
            assert drawn.locator(f".{kind}").count() == len(getattr(one, kind))
