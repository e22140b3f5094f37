"""The Studio's details and Compare in a real browser, by keyboard: every pick is in the address and comes back."""

import re

EXPERIMENT = "/studio?experiment=tiny-2-4&run=sds-wanda"


def press(visitor, name, key="Enter"):
    """Press a key on a button."""
    visitor.page.get_by_role("button", name=name, exact=True).focus()
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
