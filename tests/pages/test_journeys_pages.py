"""What people do on the pages, in a real browser: a class learns, the details and Compare by keyboard, a text.

Every pick is in the address and comes back.
"""

import re
from html import unescape
from pathlib import Path

from sds_core.lesson import micro
from sds_core.lesson.questions import STEPS

EXPERIMENT = "/studio?experiment=tiny-2-4&run=sds-wanda"


def press(visitor, name, key="Enter"):
    """Press a key on a button."""
    visitor.page.get_by_role("button", name=name, exact=isinstance(name, str)).focus()
    visitor.page.keyboard.press(key)


def test_the_details_open_turn_and_close_by_keyboard(workshop, visitor):
    page = visitor.open(f"{EXPERIMENT}&layer=1.mlp.up_proj&stage=final").page
    page.locator(".studio .cells").wait_for()
    press(visitor, "Details")
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("Where did each weight go?").wait_for()
    page.wait_for_url("**details=1**")
    dialog.get_by_role("application", name=re.compile("Density")).focus()
    page.keyboard.press("ArrowUp")
    assert "as trained" in dialog.locator(".density .say").inner_text()
    press(visitor, "re-dense")
    page.wait_for_url("**stage=redense**")
    dialog.get_by_text("Every weight may move").wait_for()
    dialog.get_by_label("Linear").select_option("down_proj")
    page.wait_for_url("**layer=1.mlp.down_proj**")
    page.reload()
    dialog.get_by_text("Every weight may move").wait_for()
    assert dialog.get_by_label("Linear").evaluate("box => box.selectedOptions[0].text") == "down_proj"
    page.keyboard.press("Escape")
    dialog.wait_for(state="detached")
    visitor.idle()
    assert "details" not in page.url and "layer=1.mlp.down_proj" in page.url
    assert "block 1 · down_proj" in page.locator(".studio h2").all_inner_texts()[-1]


def test_the_back_button_closes_the_details(workshop, visitor):
    page = visitor.open(EXPERIMENT).page
    press(visitor, "Details")
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("Where did each weight go?").wait_for()
    page.go_back()
    dialog.wait_for(state="detached")


def test_compare_opens_a_layer_by_keyboard(workshop, visitor):
    page = visitor.open("/compare?experiment=tiny-2-4").page
    compare = page.locator("main.compare")
    compare.get_by_role("heading", level=2).wait_for()
    best = compare.locator(".row").first.locator(".who").inner_text()
    press(visitor, re.compile("^Pin " + best.split("\n")[0]))
    page.wait_for_url("**ref=*")
    compare.get_by_text("pinned", exact=True).wait_for()
    visitor.idle()
    before = compare.get_by_role("heading", level=2).inner_text()
    page.reload()
    compare.get_by_text("pinned", exact=True).wait_for()
    visitor.idle()
    assert compare.get_by_role("heading", level=2).inner_text() == before
    compare.get_by_role("application", name=re.compile("Windows")).focus()
    page.keyboard.press("ArrowRight")
    compare.get_by_text(re.compile(r"window \d+, ")).first.wait_for()
    layers = compare.get_by_role("application", name=re.compile("Layers"))
    layers.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_url("**/studio?*details=1*")
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("Where did each weight go?").wait_for()


def test_two_prompts_are_asked_and_answered(workshop, visitor):
    page = visitor.open("/text?tokens=4").page
    box = page.get_by_role("textbox", name="Prompts")
    box.fill("The model reads a text.\n\nA second prompt")
    box.press("Control+Enter")
    page.wait_for_url("**prompts=*second*")
    visitor.idle()
    ask = page.get_by_role("button", name="Ask the models")
    ask.focus()
    page.keyboard.press("Enter")
    right = page.locator(".st-key-text-right")
    right.get_by_text("How much more surprised than the dense model?").wait_for(timeout=120_000)
    visitor.idle()
    said = right.inner_text()
    second = page.locator(".st-key-text-prompt").get_by_role("radio", name="Prompt 2")
    second.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**prompt=2*")
    visitor.idle()
    assert right.inner_text() != said
    page.go_back()
    page.reload()
    right.get_by_text("How much more surprised than the dense model?").wait_for()
    visitor.idle()
    assert right.inner_text() == said


def plots(visitor):
    """The numbers written in each matrix of the page."""
    visitor.page.locator("main.micro .matrix").last.wait_for()
    return [table.get_by_role("cell").all_inner_texts() for table in visitor.page.get_by_role("table").all()]


def mask_changed(visitor):
    """The number under this heading, in per cent."""
    row = visitor.page.locator("main.lab dl div").filter(has_text="mask changed")
    number = row.locator("dd", has_text=re.compile(r"\d+.*%"))
    number.wait_for()  # a picture is hidden, its text empty, until its style sheet is there
    return float(number.inner_text().strip("< %"))


def test_walk_works_by_keyboard_up_to_the_hand_out(visitor):
    page = visitor.open(f"/walk?step={len(STEPS) - 1}").page
    go = page.locator("main.walk .go")
    for number, step in list(enumerate(STEPS, 1))[-2:]:
        page.get_by_text(step.question).wait_for()
        before = go.bounding_box()
        assert page.get_by_text(step.why).count() == 0
        page.keyboard.press("1")
        page.wait_for_url(f"**step={number}&guess=*")
        page.keyboard.press("Enter")
        page.get_by_text(step.why).wait_for()
        assert go.bounding_box() == before or number == len(STEPS), "the button stays where it is"
        assert (
            page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight") <= page.viewport_size["height"]
        )
        page.wait_for_url(f"**step={number}&guess=*&shown=1*")
        visitor.idle()
        if number < len(STEPS):
            page.keyboard.press("ArrowRight")
    assert page.title() == "Walk · SDS Studio" and go.get_attribute("href") == "studio"
    page.reload()
    page.get_by_text(STEPS[-1].why).wait_for()
    page.get_by_role("link", name="Micro").focus()
    page.keyboard.press("Enter")  # it is the link's
    page.get_by_text("What does each pruner look at?").wait_for()
    page.get_by_role("link", name="Walk").focus()
    page.keyboard.press("Enter")
    page.get_by_text(STEPS[-1].why).wait_for()
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("ArrowLeft")
    page.get_by_text(STEPS[-2].question).wait_for()
    page.keyboard.press("ArrowRight")
    page.get_by_text(STEPS[-1].why).wait_for()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the hand-out").click()
    printed = unescape(Path(download.value.path()).read_text())
    assert all(step.question in printed and step.why in printed for step in STEPS)


def test_micro_is_the_same_from_its_address(workshop, visitor):
    page = visitor.open("/micro?pruner=magnitude&seed=3").page
    weight = micro.example(3).weight
    row = micro.telling_row(micro.example(3))
    kept = {group + int(j) for group in (0, 4) for j in weight[row, group : group + 4].abs().topk(2).indices}
    shown = plots(visitor)
    for j in sorted(kept):
        page.get_by_test_id("stButtonGroup").get_by_role("button", name=str(j + 1), exact=True).click()
    page.get_by_role("button", name="Reveal", exact=True).click()
    page.get_by_text("all right.").wait_for()
    other = workshop[1]().open("/micro?pruner=magnitude&seed=3")
    assert plots(other) == shown
    assert [float(n.replace("−", "-")) for n in shown[0]] == [round(float(n), 2) for n in weight.flatten()]
    other.page.goto(page.url)  # with the step
    other.page.get_by_text(f"Row {row + 1} keeps inputs {', '.join(str(j + 1) for j in sorted(kept))}.").wait_for()
    assert other.left == [] and other.errors == []


def test_the_lab_without_the_dual_and_with_it(visitor):
    page = visitor.open("/lab?dual=off&rounds=6").page
    page.get_by_text("Without the memory, nothing changes.").wait_for()
    assert page.get_by_text("no larger than they were").count() == 1
    assert mask_changed(visitor) < 0.5
    page.get_by_test_id("stButtonGroup").get_by_text("on", exact=True).click()
    page.get_by_text("With the memory, the mask moves.").wait_for()
    page.wait_for_url("**dual=on*")
    visitor.idle()
    assert mask_changed(visitor) > 2
    page.get_by_role("slider", name="Round", exact=True).focus()
    page.keyboard.press("Home")
    page.get_by_text("What do the weights look like after round 1?").wait_for()
    page.wait_for_url("**round=1*")
    page.reload()
    page.get_by_text("What do the weights look like after round 1?").wait_for()
    assert page.title() == "Layer lab · SDS Studio"
