"""The sortable list: its order logic directly, and its gestures in a real browser with a small Streamlit script."""

import pytest

from dashboard.widgets.sortable import merge_order
from tests.dashboard.serving import serving

pytestmark = pytest.mark.browser
SCRIPT = """
import streamlit as st
from dashboard.widgets.sortable import reset_order, sortable

state = st.session_state
state.setdefault("ids", ["a", "b", "c", "d"])
with st.container(horizontal=True):
    st.button("add e", on_click=lambda: state.update(ids=state.ids[:1] + ["e"] + state.ids[1:]))
    st.button("remove b", on_click=lambda: state.update(ids=[i for i in state.ids if i != "b"]))
    st.button("reverse", on_click=lambda: state.update(ids=state.ids[::-1]))
    st.button("reset", on_click=lambda: reset_order("steps"))
    st.button("rerun")
if st.toggle("show", value=True):
    order = sortable([{"id": i, "title": f"Card {i}", "caption": f"caption {i}"} for i in state.ids], key="steps")
    if st.query_params.get("feedback"):
        state.ids = order
    st.text("order " + " ".join(order))
state.runs = state.get("runs", 0) + 1
st.text(f"run {state.runs}")
"""


@pytest.mark.parametrize(("given", "order", "merged"), [
    ("abc", "cab", "cab"),
    ("abc", "", "abc"),
    ("abcd", "cba", "cdba"),  # d follows c, its predecessor in `given`
    ("xabc", "cba", "xcba"),
    ("ac", "cba", "ca"),
    ("abc", "ccxa", "cab"),
])
def test_merge_order(given, order, merged):
    assert merge_order(list(given), list(order)) == list(merged)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sortable")
    (folder / "app.py").write_text(SCRIPT)
    with serving("app.py", folder) as (url, _):
        yield url


@pytest.fixture
def page(chromium, server):
    context = chromium.new_context(viewport={"width": 700, "height": 800})
    page = context.new_page()
    page.goto(server)
    expect_order(page, "a b c d")
    yield page
    context.close()


def expect_order(page, order):
    """Wait until the script reports this order and the cards have it."""
    from playwright.sync_api import expect  # here, so that the other tests run without it

    page.get_by_text(f"order {order}", exact=True).wait_for(timeout=20_000)
    titles = page.locator("li.card .title")
    expect(titles).to_have_text([f"Card {i}" for i in order.split()], timeout=20_000)


def card(page, name):
    return page.locator(f"li.card[data-id={name}]")


def focused(page):
    return page.evaluate(
        "() => { let e = document.activeElement; while (e?.shadowRoot?.activeElement) e = e.shadowRoot.activeElement;"
        " return e.closest('.card')?.dataset.id }")


def announced(page):
    return page.locator("[role=status][aria-live=assertive]").text_content()


def test_drag_with_the_mouse(page):
    start, end = card(page, "a").bounding_box(), card(page, "c").bounding_box()
    page.mouse.move(start["x"] + 80, start["y"] + start["height"] / 2)
    page.mouse.down()
    page.mouse.move(end["x"] + 80, end["y"] + end["height"] / 2 + 4, steps=8)
    page.mouse.up()
    expect_order(page, "b c a d")
    assert focused(page) == "a"


def test_a_click_without_a_drag_moves_nothing(page):
    card(page, "b").click(position={"x": 120, "y": 12})
    page.get_by_role("button", name="rerun").click()
    page.get_by_text("run 2", exact=True).wait_for()
    expect_order(page, "a b c d")


def test_escape_cancels_a_drag(page):
    start = card(page, "a").bounding_box()
    page.mouse.move(start["x"] + 80, start["y"] + 10)
    page.mouse.down()
    page.mouse.move(start["x"] + 80, start["y"] + 200, steps=5)
    page.keyboard.press("Escape")
    page.mouse.up()
    page.get_by_role("button", name="rerun").click()
    page.get_by_text("run 2", exact=True).wait_for()
    expect_order(page, "a b c d")


def test_drag_with_a_finger(chromium, server):
    context = chromium.new_context(viewport={"width": 420, "height": 800}, has_touch=True, is_mobile=True)
    page = context.new_page()
    page.goto(server)
    expect_order(page, "a b c d")
    start, end = card(page, "d").locator(".handle").bounding_box(), card(page, "b").bounding_box()
    x, y = start["x"] + start["width"] / 2, start["y"] + start["height"] / 2
    touch = context.new_cdp_session(page)
    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
    for step in range(1, 9):
        to = y + (end["y"] + end["height"] / 2 - 4 - y) * step / 8
        touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [{"x": x, "y": to}]})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    expect_order(page, "a d b c")
    context.close()


def test_alt_and_arrows_move_the_focused_card(page):
    card(page, "c").focus()
    page.keyboard.press("Alt+ArrowUp")
    expect_order(page, "a c b d")
    assert focused(page) == "c"
    page.keyboard.press("Alt+ArrowUp")
    expect_order(page, "c a b d")
    assert focused(page) == "c"
    assert announced(page) == "Card c is now 1 of 4."
    page.keyboard.press("Alt+ArrowUp")
    assert announced(page) == "Card c is already first."


def test_quick_moves_all_take_effect(page):
    card(page, "a").focus()
    for _ in range(3):
        page.keyboard.press("Alt+ArrowDown")
    expect_order(page, "b c d a")
    assert focused(page) == "a"


def test_space_grabs_and_drops(page):
    card(page, "a").focus()
    page.keyboard.press("Space")
    assert announced(page).startswith("Card a grabbed.")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    assert announced(page) == "Card a dropped at 3 of 4."
    expect_order(page, "b c a d")
    assert focused(page) == "a"


def test_escape_puts_a_grabbed_card_back(page):
    card(page, "a").focus()
    page.keyboard.press("Space")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Escape")
    assert announced(page) == "Card a put back."
    expect_order(page, "a b c d")


def test_arrows_without_a_grab_move_the_focus(page):
    card(page, "a").focus()
    page.keyboard.press("ArrowDown")
    assert focused(page) == "b"
    expect_order(page, "a b c d")


def test_buttons_move_a_card_and_keep_the_focus(page):
    down = page.get_by_role("button", name="Move Card c down")
    down.click()
    expect_order(page, "a b d c")
    assert focused(page) == "c"
    assert down.get_attribute("aria-disabled") == "true"
    page.get_by_role("button", name="Move Card a up").click(force=True)  # it is already first
    assert announced(page) == "Card a is already first."
    expect_order(page, "a b d c")


def test_the_order_survives_reruns_and_hiding(page):
    page.get_by_role("button", name="Move Card a down").click()
    expect_order(page, "b a c d")
    page.get_by_role("button", name="rerun").click()
    page.get_by_text("run 3", exact=True).wait_for()
    expect_order(page, "b a c d")
    page.get_by_text("show", exact=True).click()
    page.get_by_text("run 4", exact=True).wait_for()
    page.get_by_text("show", exact=True).click()
    expect_order(page, "b a c d")
    page.get_by_role("button", name="Move Card d up").click()
    expect_order(page, "b a d c")


@pytest.mark.parametrize("feedback", ["", "?feedback=1"])
def test_the_script_can_change_the_items(page, server, feedback):
    page.goto(server + feedback)
    expect_order(page, "a b c d")
    page.get_by_role("button", name="Move Card d up").click()
    expect_order(page, "a b d c")
    page.get_by_role("button", name="add e").click()
    expect_order(page, "a e b d c")
    page.get_by_role("button", name="remove b").click()
    expect_order(page, "a e d c")
    page.get_by_role("button", name="reverse").click()
    expect_order(page, "c d e a" if feedback else "d c e a")


def test_reset_shows_the_items_as_given(page):
    page.get_by_role("button", name="Move Card d up").click()
    expect_order(page, "a b d c")
    page.get_by_role("button", name="reset").click()
    expect_order(page, "a b c d")
