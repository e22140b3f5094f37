"""A text through dense and pruned models in a real browser, by keyboard: asked, answered, and kept in the address."""


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
