"""Every page for everybody: whole on a small projector, legible in both themes, headings in order, controls named."""

import pytest

PAGES = {
    "start": "/",
    "walk": "/walk?step=3&guess=46&shown=1",
    "micro": "/micro?seed=10",
    "lab": "/lab",
    "studio": "/studio?experiment=tiny-2-4",
    "details": "/studio?experiment=tiny-2-4&run=sds-wanda&layer=1.mlp.up_proj&details=1",
    "compare": "/compare?experiment=tiny-2-4",
    "text": "/text",
    "report": "/report",
}
SMALL = {"width": 1280, "height": 720}
SIZE = (
    "(({ scrollWidth, scrollHeight }) => [scrollWidth, scrollHeight])(document.querySelector('[data-testid=stMain]'))"
)
LOOK = """() => {
  const inside = (one) => (one.shadowRoot ? all(one.shadowRoot) : []);
  const all = (root) => [...root.querySelectorAll('*')].flatMap((one) => [one, ...inside(one)]);
  const up = (one) => one.parentElement ?? one.getRootNode().host;
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const known = new Map();
  const rgba = (color) => {
    if (!known.has(color)) {
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = color;
      canvas.fillRect(0, 0, 1, 1);
      known.set(color, [...canvas.getImageData(0, 0, 1, 1).data].map((v) => v / 255));
    }
    return known.get(color);
  };
  const over = ([r, g, b, a], under) => [r, g, b].map((v, i) => v * a + under[i] * (1 - a));
  const paper = (one) => {
    if (!one) return [1, 1, 1];
    const style = getComputedStyle(one), own = rgba(style.backgroundColor);
    return own[3] === 1 ? own.slice(0, 3) : over(own, paper(up(one)));
  };
  const bright = (rgb) => rgb.map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const shown = { opacityProperty: true, visibilityProperty: true };
  const seen = (one) => one.checkVisibility(shown) && one.getBoundingClientRect().width > 2;
  // Drawings, what is switched off, and numbers that hang above the knob of a slider.
  const spared = ['svg', '[disabled]', '[aria-disabled=true]', '[data-testid=stSliderThumbValue]',
    '[data-testid=stIconMaterial]'].join();
  const pale = [], nameless = [], levels = [];
  const dialog = document.querySelector('[role=dialog]');
  for (const one of all(dialog ?? document.querySelector('[data-testid=stMain]'))) {
    if (/^H[1-6]$/.test(one.tagName) && one.checkVisibility()) levels.push(Number(one.tagName[1]));
    if (!seen(one) || one.closest(spared)) continue;
    const text = [...one.childNodes].filter((node) => node.nodeType === 3).map((node) => node.data.trim()).join('');
    if (text) {
      const style = getComputedStyle(one), below = paper(one);
      let alpha = 1;
      for (let each = one; each; each = up(each)) alpha *= Number(getComputedStyle(each).opacity);
      const [r, g, b, a] = rgba(style.color);
      const [x, y] = [bright(over([r, g, b, a * alpha], below)), bright(below)];
      const ratio = (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05);
      if (ratio < 4.5) pale.push(`${text.slice(0, 40)}: ${ratio.toFixed(2)}`);
    }
    if (one.matches('button, a[href], input:not([type=hidden]), select, textarea, [role=button], [role=slider]')) {
      const labels = [...(one.labels ?? [])].map((label) => label.textContent).join('');
      const named = one.ariaLabel || one.title || one.textContent.trim() || labels;
      if (!named && !one.hasAttribute('aria-labelledby')) nameless.push(one.outerHTML.slice(0, 120));
    }
  }
  const jumps = levels.filter((level, i) => level > (i ? levels[i - 1] : dialog ? 2 : 1) + 1);
  return { pale, nameless, jumps, first: levels[0] };
}"""


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_whole_and_legible_on_a_small_projector(visitor, name):
    page = visitor.page
    page.set_viewport_size(SMALL)
    visitor.open(PAGES[name] + ("&" if "?" in PAGES[name] else "?") + "present=1")
    page.wait_for_timeout(500)
    wide, high = page.evaluate(SIZE)
    assert wide <= SMALL["width"] and high <= SMALL["height"]
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_timeout(200)
        found = page.evaluate(LOOK)
        assert (found["pale"], found["nameless"], found["jumps"]) == ([], [], []), scheme
        assert name == "details" or found["first"] == 1


def test_the_studio_is_whole_below_an_error(visitor):
    page = visitor.page
    page.set_viewport_size(SMALL)
    visitor.open("/studio?experiment=none-of-that-name")
    page.locator("[data-testid=stAlert]").wait_for()
    page.locator("main.studio > *").first.wait_for()
    page.wait_for_timeout(500)
    assert page.evaluate(SIZE) == [SMALL["width"], SMALL["height"]]


@pytest.mark.parametrize("path", ["/studio?experiment=tiny-2-4", "/compare?experiment=tiny-2-4"])
def test_a_page_does_not_go_sideways_on_a_phone(visitor, path):
    page = visitor.page
    page.set_viewport_size({"width": 390, "height": 844})
    visitor.open(path)
    page.locator("main.picture > *").first.wait_for()
    page.wait_for_timeout(500)
    assert page.evaluate(SIZE)[0] == 390
