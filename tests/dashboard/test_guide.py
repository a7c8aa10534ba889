"""The guide through a first run: what is done is read from the run, and what it says can be done is there."""

import re

import pytest
from streamlit.testing.v1 import AppTest

from dashboard import guide
from dashboard.guide import Journey
from tests.dashboard.fakes import fake_run
from tests.dashboard.serving import ROOT, serving
from tests.dashboard.test_pages import APP, PAGES, page, texts
from trimcore import runs, spec
from trimcore.jobs import control

WIDTHS = [{"conv1": 20, "conv2": 50, "fc1": 500}, {"conv1": 20, "conv2": 40, "fc1": 500}]
CUT = {"step": [{"layers": ["conv2"], "rule": "fraction", "value": 0.2}]}
BASE_ONLY, TRIMMED = ({}, WIDTHS[:1], [0.9]), (CUT, WIDTHS, [0.9, 0.8])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    path = tmp_path / "runs"
    monkeypatch.setenv("TRIMCORE_RUNS", str(path))
    return path


def just_started(folder, asked: dict) -> str:
    """A run that waits for its turn: this process stands for its launcher."""
    folder.mkdir()
    return control.prepare_run(spec.parse({"device": "cpu", **asked}), folder).name


def stopped(folder, asked: dict) -> str:
    run_id = just_started(folder, asked)
    runs.write_exit(folder / run_id, "stopped", "you asked")
    return run_id


@pytest.mark.parametrize(
    ("way", "done", "next_step"),
    [
        (Journey(), "", "model"),
        (Journey("running", active=True), "model", "profile"),
        (Journey("running", active=True, cuts=True), "model plan", "profile"),
        (Journey("finished", profiled=True), "model profile", "plan"),
        (Journey("running", active=True, profiled=True, cuts=True), "model profile plan", "run"),
        (Journey("failed", profiled=True, cuts=True), "model profile plan", "run"),
        (Journey("finished", profiled=True, cuts=True), "model profile plan run", "report"),
    ],
)
def test_what_is_done_and_what_comes_next(way, done, next_step):
    assert way.done() == set(done.split())
    assert way.next() == next_step


def test_the_way_on_never_leads_away_from_cuts_that_are_watched():
    watching = Journey("running", active=True, cuts=True)
    assert (watching.onward("run"), watching.onward("plan"), watching.onward("profile")) == (None, "profile", None)
    assert Journey("running", active=True).onward("run") == "profile"
    assert {Journey().onward(name) for name in PAGES} == {None}


def test_a_journey_is_read_from_the_run_folder(folder):
    assert guide.journey(None) == Journey()
    trimmed = fake_run(folder, *TRIMMED)
    assert guide.journey(trimmed) == Journey("finished", False, True, True)
    (folder / trimmed / "spec.toml").write_text("what = is this")
    assert guide.journey(trimmed) == Journey("finished", False, True, False)


def test_a_branch_was_profiled_by_the_run_that_it_came_from(folder):
    run_id = just_started(folder, CUT)
    assert not guide.journey(run_id).profiled
    asked = spec.parse({**CUT, "parent": {"run": run_id, "iteration": 0}})
    (folder / run_id / "spec.toml").write_text(spec.dumps(asked))
    assert guide.journey(run_id) == Journey("queued", True, True, True)


def labels(app) -> str:
    """All that a person can press or read a number at on a page."""
    pressed = [element.proto.label for kind in ("button", "download_button", "slider") for element in app.get(kind)]
    return "\n".join([*pressed, *(metric.label for metric in app.metric), *(name.capitalize() for name in PAGES)])


STATES = {
    "no run": lambda folder: None, "waits, base only": lambda folder: just_started(folder, {}),
    "waits, with cuts": lambda folder: just_started(folder, CUT), "stopped": lambda folder: stopped(folder, CUT),
    "profiled": lambda folder: fake_run(folder, *BASE_ONLY), "trimmed": lambda folder: fake_run(folder, *TRIMMED),
}  # fmt: skip


@pytest.mark.parametrize("state", STATES)
def test_what_the_guide_names_is_on_the_page(folder, state):
    run_id = STATES[state](folder)
    app = page("model", run=run_id, guide=True)
    for name in PAGES:
        app.switch_page(f"views/{name}.py").run()
        told = guide.advice(name, guide.journey(run_id), "lenet5 on mnist\\-5k")
        assert told in texts(app)
        there = labels(app)
        for named in re.findall(r"\*\*(.+?)\*\*", told):
            assert re.search(rf"^{re.escape(named)}", there, re.MULTILINE), f"{name}: {named!r} is not among {there}"
        assert len(told) < 190, "it is a strip"


def test_every_page_says_what_to_do_next_before_anything_has_finished(folder):
    run_id = just_started(folder, {})
    ways = {"plan": "See how far it is", "compare": "Go to Plan", "report": "Watch the run", "run": "Stop…"}
    for name, way in ways.items():
        app = page(name, run=run_id)
        assert way in [button.label for button in app.button]
        assert "Profile it first" not in [button.label for button in app.button], "it is being profiled"
    assert "as soon as the base network is trained" in texts(page("profile", run=run_id))


def steps_shown(app) -> str:
    return next((element.value for element in app.markdown if "Choose" in element.value), "")


def test_the_first_visit_is_guided_and_later_ones_are_not(folder):
    assert "1" in steps_shown(page("model"))
    run_id = fake_run(folder, *TRIMMED)
    app = page("model", run=run_id)
    assert not steps_shown(app)
    app.button(key="guide_on").click().run()
    assert steps_shown(app).count("✓") == 4
    assert "guide_on" not in [button.key for button in app.button]


def test_put_away_it_stays_away_on_all_pages_and_through_the_first_run(folder):
    app = AppTest.from_file(APP, default_timeout=60).run()
    app.button(key="guide_off").click().run()
    assert not steps_shown(app)
    fake_run(folder, *TRIMMED)
    for name in ("profile", "report"):
        app.switch_page(f"views/{name}.py").run()
        assert not steps_shown(app)


def test_it_stays_when_the_first_run_appears(folder):
    app = AppTest.from_file(APP, default_timeout=60).run()
    app.session_state.run = fake_run(folder, *BASE_ONLY)
    app.run()
    assert steps_shown(app)
    app.button(key="guide_next").click().run()
    assert not app.exception
    assert app.title[0].value == "Plan"


def nodes_without_name(page, roles: set[str]) -> list[tuple]:
    """What Chromium itself tells a screen reader: nodes of these roles that have no name."""
    tree = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    found = [node for node in tree if not node["ignored"] and node.get("role", {}).get("value") in roles]
    assert found
    return [node for node in found if not node.get("name", {}).get("value", "").strip()]


@pytest.mark.browser
def test_all_can_be_told_by_a_screen_reader_and_the_first_run_begun_by_keyboard(chromium, tmp_path, folder):
    run_id = fake_run(folder, *TRIMMED)
    with serving("dashboard/app.py", ROOT, TRIMCORE_RUNS=str(folder), log=str(tmp_path / "log")) as (url, _):
        context = chromium.new_context(viewport={"width": 1280, "height": 900})
        context.set_default_timeout(60_000)
        view = context.new_page()
        view.goto(f"{url}?run={run_id}")
        for name in PAGES:
            view.get_by_role("link", name=name.capitalize(), exact=True).click()
            view.get_by_role("heading", name=name.capitalize(), exact=True).wait_for()
            view.get_by_role("button", name="Show the guide").wait_for()
            view.locator("[data-testid=stSkeleton]").first.wait_for(state="detached")
            fields = {"combobox", "textbox", "spinbutton", "slider", "checkbox", "radio", "switch", "searchbox"}
            assert not nodes_without_name(view, {"button", "link", *fields}), name
            assert not view.locator("img:not([alt]), img[alt='']").count(), name
        view.get_by_role("link", name="Model", exact=True).click()
        main = view.get_by_role("button", name="Profile this network")
        main.wait_for()
        for _ in range(60):
            view.keyboard.press("Tab")
            if main.evaluate("e => e === document.activeElement"):
                break
        assert main.evaluate("e => e === document.activeElement")
        style = main.evaluate("e => { const s = getComputedStyle(e); return [s.boxShadow, s.outlineStyle]; }")
        assert style != ["none", "none"], "one must see where the focus is"
        context.close()
