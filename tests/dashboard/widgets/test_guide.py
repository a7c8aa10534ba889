"""The guide through a first run: progress is read from the run, and every element that the guide names exists."""

import re

import pytest

from dashboard.widgets import guide
from dashboard.widgets.guide import Progress
from tests.dashboard import pages
from tests.dashboard.fakes import fake_run
from tests.dashboard.pages import page, texts
from tests.dashboard.serving import ROOT, serving
from trimcore import runs, spec
from trimcore.jobs import control

WIDTHS = [{"conv1": 20, "conv2": 50, "fc1": 500}, {"conv1": 20, "conv2": 40, "fc1": 500}]
CUT = {"step": [{"layers": ["conv2"], "rule": "fraction", "value": 0.2}]}
BASE_ONLY, TRIMMED = ({}, WIDTHS[:1], [0.9]), (CUT, WIDTHS, [0.9, 0.8])

PAGES = [name for name in pages.PAGES if name != "start"]  # those with the guide


@pytest.fixture
def folder(tmp_path, monkeypatch):
    path = tmp_path / "runs"
    monkeypatch.setenv("TRIMCORE_RUNS", str(path))
    return path


def just_started(folder, asked: dict) -> str:
    """A queued run. This process acts as its launcher."""
    folder.mkdir()
    return control.prepare_run(spec.parse({"device": "cpu", **asked}), folder).name


def stopped(folder, asked: dict) -> str:
    run_id = just_started(folder, asked)
    runs.write_exit(folder / run_id, "stopped", "you asked")
    return run_id


@pytest.mark.parametrize(
    ("progress", "done", "next_step"),
    [
        (Progress(), "", "model"),
        (Progress("running", active=True), "model", "profile"),
        (Progress("running", active=True, cuts=True), "model plan", "profile"),
        (Progress("finished", profiled=True), "model profile", "plan"),
        (Progress("running", active=True, profiled=True, cuts=True), "model profile plan", "run"),
        (Progress("failed", profiled=True, cuts=True), "model profile plan", "run"),
        (Progress("finished", profiled=True, cuts=True), "model profile plan run", "report"),
    ],
)
def test_completed_steps_and_the_next_step(progress, done, next_step):
    assert progress.done() == set(done.split())
    assert progress.next() == next_step


def test_the_next_button_does_not_lead_away_from_an_active_run():
    watching = Progress("running", active=True, cuts=True)
    assert [watching.next_page(name) for name in ("run", "plan", "profile")] == [None, "profile", None]
    assert Progress("running", active=True).next_page("run") == "profile"
    assert {Progress().next_page(name) for name in PAGES} == {None}


def test_progress_is_read_from_the_run_folder(folder):
    assert guide.progress_of(None) == Progress()
    trimmed = fake_run(folder, *TRIMMED)
    assert guide.progress_of(trimmed) == Progress("finished", False, True, True)
    (folder / trimmed / "spec.toml").write_text("what = is this")
    assert guide.progress_of(trimmed) == Progress("finished", False, True, False)


def test_a_branch_has_the_profile_of_its_parent(folder):
    run_id = just_started(folder, CUT)
    assert not guide.progress_of(run_id).profiled
    asked = spec.parse({**CUT, "parent": {"run": run_id, "iteration": 0}})
    (folder / run_id / "spec.toml").write_text(spec.dumps(asked))
    assert guide.progress_of(run_id) == Progress("queued", True, True, True)


def labels(app) -> str:
    """The labels of all buttons, sliders and metrics of a page, and the names of the pages."""
    controls = [element.proto.label for kind in ("button", "download_button", "slider") for element in app.get(kind)]
    return "\n".join([*controls, *(metric.label for metric in app.metric), *(name.capitalize() for name in PAGES)])


STATES = {
    "no run": lambda folder: None, "queued, base only": lambda folder: just_started(folder, {}),
    "queued, with cuts": lambda folder: just_started(folder, CUT), "stopped": lambda folder: stopped(folder, CUT),
    "profiled": lambda folder: fake_run(folder, *BASE_ONLY), "trimmed": lambda folder: fake_run(folder, *TRIMMED),
}  # fmt: skip


@pytest.mark.parametrize("state", STATES)
def test_everything_the_guide_names_is_on_the_page(folder, state):
    run_id = STATES[state](folder)
    app = page("model", run=run_id, guide=True)
    for name in PAGES:
        app.switch_page(f"{name}/page.py").run()
        text = guide.advice(name, guide.progress_of(run_id), "lenet5 on mnist\\-5k")
        assert text in texts(app)
        shown = labels(app)
        for named in re.findall(r"\*\*(.+?)\*\*", text):
            assert re.search(rf"^{re.escape(named)}", shown, re.MULTILINE), f"{name}: {named!r} is not among {shown}"
        assert len(text) < 190, "the strip stays short"


def test_every_page_has_a_next_step_before_the_first_result(folder):
    run_id = just_started(folder, {})
    buttons = {"plan": "Show progress", "compare": "Open Plan", "report": "Open run", "run": "Stop…"}
    for name, label in buttons.items():
        app = page(name, run=run_id)
        assert label in [button.label for button in app.button]
        assert "Profile it first" not in [button.label for button in app.button], "it is being profiled"
    assert "as soon as the base network has been trained" in texts(page("profile", run=run_id))


def steps_shown(app) -> str:
    return next((element.value for element in app.markdown if "Choose" in element.value), "")


def test_the_guide_is_shown_on_the_first_visit_only(folder):
    assert "1" in steps_shown(page("model"))
    run_id = fake_run(folder, *TRIMMED)
    app = page("model", run=run_id)
    assert not steps_shown(app)
    app.button(key="guide_on").click().run()
    assert steps_shown(app).count("✓") == 4
    assert "guide_on" not in [button.key for button in app.button]


def test_a_hidden_guide_stays_hidden(folder):
    app = page("model")
    app.button(key="guide_off").click().run()
    assert not steps_shown(app)
    fake_run(folder, *TRIMMED)
    for name in ("profile", "report"):
        app.switch_page(f"{name}/page.py").run()
        assert not steps_shown(app)


def test_the_guide_stays_when_the_first_run_appears(folder):
    app = page("model")
    app.session_state.run = fake_run(folder, *BASE_ONLY)
    app.run()
    assert steps_shown(app)
    app.button(key="guide_next").click().run()
    assert not app.exception
    assert app.title[0].value == "Plan"


def nodes_without_name(page, roles: set[str]) -> list[tuple]:
    """The nodes with these roles that have no name, as Chromium reports them to a screen reader."""
    tree = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    found = [node for node in tree if not node["ignored"] and node.get("role", {}).get("value") in roles]
    assert found
    return [node for node in found if not node.get("name", {}).get("value", "").strip()]


@pytest.mark.browser
def test_all_elements_have_names_and_the_first_run_can_be_started_by_keyboard(chromium, tmp_path, folder):
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
        assert style != ["none", "none"], "the focus must be visible"
        context.close()
