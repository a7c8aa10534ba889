"""Neurons that a person keeps or cuts: what is in the plan, what is remembered, and what the pages show."""

import shutil
from pathlib import Path

import pytest

from dashboard import by_hand
from tests.dashboard.serving import ROOT, idle, insist, serving
from tests.dashboard.test_neuron import carried_out, click, opened  # noqa: F401 (a fixture)
from tests.dashboard.test_pages import texts
from trimcore import runs, spec, tables


def step_of(**values) -> dict:
    return spec.Step(**values).model_dump()


@pytest.fixture
def draft() -> dict:
    return {"step": [
        step_of(layers=["conv1", "fc1"], layer={"fc1": {"rule": "maxout", "value": 1.0}}),
        step_of(layers=["all"], iterations=2),
        step_of(layers=["conv2"]),
        step_of(layers=["all"], rule="sparsity", value=0.5),
    ]}  # fmt: skip


def test_a_decision_is_in_every_step_that_cuts_the_layer(draft):
    by_hand.decide(draft, "conv1", 7, "never_cut", " fires for 3 only ")
    by_hand.decide(draft, "conv1", 2, "never_cut")
    by_hand.decide(draft, "fc1", 5, "also_cut")
    assert [step["never_cut"] for step in draft["step"]] == [{"conv1": [2, 7]}, {"conv1": [2, 7]}, {}, {}]
    assert [step["also_cut"] for step in draft["step"]] == [{}, {"fc1": [5]}, {}, {}]
    assert by_hand.decisions(draft) == [
        ("conv1", 2, "never_cut"), ("conv1", 7, "never_cut"), ("fc1", 5, "also_cut"),
    ]
    assert by_hand.reasons()["conv1", 7, "never_cut"] == "fires for 3 only"
    assert by_hand.in_words(draft["step"][1]) == "by hand 2 kept, 1 cut"
    assert by_hand.in_words(draft["step"][3]) == ""
    spec.parse(draft)


def test_who_changes_their_mind_leaves_nothing_behind(draft):
    before = spec.parse(draft)
    by_hand.decide(draft, "conv2", 7, "never_cut", "why")
    by_hand.decide(draft, "conv2", 7, "also_cut")
    assert by_hand.decisions(draft) == [("conv2", 7, "also_cut")]
    by_hand.undo(draft, "conv2", 7)
    assert spec.parse(draft) == before
    assert not {key for key in by_hand.reasons() if key[:2] == ("conv2", 7)}


def test_a_cut_of_a_layer_that_no_step_has_gets_a_step_that_cuts_nothing_else():
    draft = {"step": [step_of(layers=["fc1"]), step_of(layers=["all"], rule="quality", value=0.5)]}
    by_hand.decide(draft, "conv1", 4, "also_cut")
    made = spec.parse(draft).step
    assert [(step.layers, step.rule) for step in made] == [
        (["fc1"], "mean+std"), (["conv1"], "absolute"), (["all"], "quality"),
    ]
    assert (made[1].value, made[1].also_cut) == (1.0, {"conv1": [4]})


def test_a_step_that_lost_a_layer_can_be_tidied(draft):
    by_hand.decide(draft, "conv1", 7, "never_cut")
    by_hand.decide(draft, "conv2", 7, "also_cut")
    lost = {**draft["step"][1], "layers": ["conv2"]}
    assert (by_hand.tidied(lost)["never_cut"], by_hand.tidied(lost)["also_cut"]) == ({}, {"conv2": [7]})
    weights = {**lost, "rule": "sparsity", "value": 0.5, "criterion": "magnitude"}
    spec.parse({"step": [by_hand.tidied(lost), by_hand.tidied(weights)]})


# --- the pages ---

@pytest.fixture
def run(carried_out, runs_folder) -> Path:  # noqa: F811
    return Path(shutil.copytree(carried_out, runs_folder / carried_out.name))


def test_keeping_and_cutting_by_hand_are_in_the_plan(run):
    app = opened(run, 3, after=2)
    original = tables.latest(list(runs.read_events(run)), "profiled")[2]["layers"]["conv2"]["original"][3]
    next(one for one in app.text_input if one.label.startswith("Why")).set_value("fires for *3* only").run()
    click(app, "Keep it")
    assert app.session_state.draft["data"] == spec.load(run / "spec.toml").data, "the run's network is at hand now"
    assert [step["never_cut"] for step in app.session_state.draft["step"] if by_hand.in_step(step, "conv2")] == [
        {"conv2": [original]}
    ]
    told = [line for line in texts(app).splitlines() if f"**conv2**, neuron {original}: **kept by hand**" in line]
    assert len(told) == 2, "on the card and on the list"
    assert "fires for \\*3\\* only" in told[0]
    click(app, "Undo")
    assert not by_hand.decisions(app.session_state.draft)
    click(app, "Cut it by hand")
    assert by_hand.decisions(app.session_state.draft) == [("conv2", original, "also_cut")]


def test_a_layer_that_no_step_cuts_has_nothing_to_keep_from(run):
    draft = {**spec.load(run / "spec.toml").model_dump(exclude_none=True), "step": [step_of(layers=["fc1"])]}
    app = opened(run, 3, "conv1", draft=draft)
    assert {b.label: b.disabled for b in app.button if b.label in ("Keep it", "Cut it by hand")} == {
        "Keep it": True, "Cut it by hand": False,
    }
    click(app, "Cut it by hand")
    assert [step["layers"] for step in app.session_state.draft["step"]] == [["fc1"], ["conv1"]]


@pytest.mark.browser
def test_a_row_is_clicked_the_neuron_cut_by_hand_and_the_plan_shows_it(chromium, run, tmp_path, runs_folder):
    context = chromium.new_context(viewport={"width": 1280, "height": 1000})
    page = context.new_page()
    page.set_default_timeout(60_000)
    try:
        with serving("dashboard/app.py", ROOT, TRIMCORE_RUNS=str(runs_folder), log=str(tmp_path / "log")) as (url, _):
            page.goto(f"{url}/profile?run={run.name}")
            page.get_by_role("button", name="Plan with this rule").click()
            page.get_by_role("heading", name="Plan", exact=True).wait_for()
            parameters = page.get_by_test_id("stMetric").filter(has_text="Parameters")
            before = parameters.inner_text()
            page.locator("li.card .title").first.wait_for()
            assert page.locator("li.card .title").all_text_contents() == ["conv2, fc1"]
            page.get_by_role("link", name="Profile").click()
            page.get_by_text("Which layers have neurons to spare?").wait_for()
            idle(page)

            def choose_layer() -> None:
                page.get_by_role("combobox", name="Layer").click()
                page.get_by_role("option", name="conv1", exact=True).click(timeout=5_000)

            insist(choose_layer, page.get_by_text("conv1, neuron by neuron"))
            idle(page)
            table = page.locator("[class*=st-key-neuron_][class*=conv1_rows] .stDataFrameGlideDataEditor").first
            table.scroll_into_view_if_needed()
            table.click(position={"x": 20, "y": 53})  # the mark of the first row: the highest APoZ
            page.get_by_text("Which images excite it most?").wait_for()
            page.get_by_label("Why?").fill("it is never there")
            page.get_by_role("button", name="Cut it by hand").click()
            page.get_by_text("cut by hand: it is never there").first.wait_for()
            page.get_by_role("link", name="Plan").click()
            page.get_by_role("heading", name="Plan", exact=True).wait_for()
            page.locator("li.card .title", has_text="conv1").wait_for()
            page.locator("li.card .caption", has_text="absolute 1 · 1 iteration").wait_for()
            assert parameters.inner_text() != before
    finally:
        context.close()
