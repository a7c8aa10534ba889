"""Text can be read: every text on every page has a contrast of 4.5:1 or more, in light and dark (WCAG AA).

Texts of charts are left out: their colours have 3:1 on both backgrounds. So is the value of a slider, which stands
above its handle and not on it.
"""

import pytest

from tests.dashboard.serving import ROOT, idle, serving
from trimcore import runs

pytestmark = pytest.mark.browser
PAGES = ("", "model", "profile", "plan", "run", "queue", "compare", "report")
LEAST = 4.5

# For each text that is shown, its colour over the colours of everything behind it.
FAINT = """least => {
    const parse = text => {
        const found = text.match(/[\\d.]+/g)?.map(Number) ?? [0, 0, 0, 0]
        const scale = text.startsWith('color(srgb') ? 255 : 1
        return {rgb: found.slice(0, 3).map(value => value * scale), a: found.length > 3 ? found[3] : 1}
    }
    const over = (top, below) => top.rgb.map((value, i) => value * top.a + below[i] * (1 - top.a))
    const light = rgb => {
        const linear = rgb.map(value => {
            value /= 255
            return value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4
        })
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    }
    const LEFT_OUT = "svg, canvas, [disabled], [aria-disabled=true], [aria-hidden=true], style, script, "
        + "[role=slider], [data-testid=stSliderThumbValue], [data-testid=stSlider] [data-baseweb=slider] *"
    const found = []
    const texts = document.createTreeWalker(document.querySelector('[data-testid=stApp]'), NodeFilter.SHOW_TEXT)
    while (texts.nextNode()) {
        const element = texts.currentNode.parentElement, text = texts.currentNode.textContent.trim()
        if (!text || element.closest(LEFT_OUT))
            continue
        if (!element.checkVisibility({opacityProperty: true, visibilityProperty: true})) continue
        let behind = [255, 255, 255], opacity = 1
        const parents = []
        for (let at = element; at; at = at.parentElement) parents.unshift(at)
        for (const parent of parents) {
            const style = getComputedStyle(parent)
            behind = over(parse(style.backgroundColor), behind)
            opacity *= Number(style.opacity)
        }
        const colour = parse(getComputedStyle(element).color)
        const seen = over({rgb: colour.rgb, a: colour.a * opacity}, behind)
        const [low, high] = [light(seen), light(behind)].sort((a, b) => a - b)
        const contrast = (high + 0.05) / (low + 0.05)
        if (contrast < least) found.push(`${contrast.toFixed(2)}: ${text.slice(0, 60)}`)
    }
    return [...new Set(found)]
}"""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("contrast")
    with serving("dashboard/app.py", ROOT, TRIMCORE_RUNS=str(folder), log=str(folder / "server.log")) as (url, _):
        yield url


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read(chromium, address, scheme):
    context = chromium.new_context(color_scheme=scheme, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(60_000)
    faint = {}
    for name in PAGES:
        page.goto(f"{address}/{name}?run={runs.EXAMPLE}")
        page.get_by_test_id("stSidebarNavLink").first.wait_for()
        page.wait_for_load_state("networkidle")
        idle(page)
        if found := page.evaluate(FAINT, LEAST):
            faint[name or "start"] = found
    context.close()
    assert not faint
