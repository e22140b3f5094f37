"""The Studio's details and Compare in a real browser, by keyboard: every pick is in the address and comes back."""

import re

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
