"""Manual decisions: their effect on the plan, their reasons, and what the pages show."""

import pytest

from dashboard.profile import manual_cuts
from tests.dashboard.pages import texts
from tests.dashboard.profile.card import click, profile_page
from tests.dashboard.serving import ROOT, idle, retry, serving
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


def test_a_decision_applies_to_every_step_that_removes_neurons_of_the_layer(draft):
    manual_cuts.decide(draft, "conv1", 7, "never_cut", " active for 3 only ")
    manual_cuts.decide(draft, "conv1", 2, "never_cut")
    manual_cuts.decide(draft, "fc1", 5, "also_cut")
    assert [step["never_cut"] for step in draft["step"]] == [{"conv1": [2, 7]}, {"conv1": [2, 7]}, {}, {}]
    assert [step["also_cut"] for step in draft["step"]] == [{}, {"fc1": [5]}, {}, {}]
    assert manual_cuts.decisions(draft) == [
        ("conv1", 2, "never_cut"), ("conv1", 7, "never_cut"), ("fc1", 5, "also_cut"),
    ]
    assert manual_cuts.reasons()["conv1", 7, "never_cut"] == "active for 3 only"
    assert manual_cuts.summary(draft["step"][1]) == "manual: 2 kept, 1 removed"
    assert manual_cuts.summary(draft["step"][3]) == ""
    spec.parse(draft)


def test_a_changed_or_undone_decision_leaves_nothing_behind(draft):
    before = spec.parse(draft)
    manual_cuts.decide(draft, "conv2", 7, "never_cut", "why")
    manual_cuts.decide(draft, "conv2", 7, "also_cut")
    assert manual_cuts.decisions(draft) == [("conv2", 7, "also_cut")]
    manual_cuts.undo(draft, "conv2", 7)
    assert spec.parse(draft) == before
    assert not {key for key in manual_cuts.reasons() if key[:2] == ("conv2", 7)}


def test_removing_a_neuron_of_an_unused_layer_adds_a_step():
    draft = {"step": [step_of(layers=["fc1"]), step_of(layers=["all"], rule="quality", value=0.5)]}
    manual_cuts.decide(draft, "conv1", 4, "also_cut")
    made = spec.parse(draft).step
    assert [(step.layers, step.rule) for step in made] == [
        (["fc1"], "mean+std"), (["conv1"], "absolute"), (["all"], "quality"),
    ]
    assert (made[1].value, made[1].also_cut) == (1.0, {"conv1": [4]})


def test_stale_decisions_are_dropped(draft):
    manual_cuts.decide(draft, "conv1", 7, "never_cut")
    manual_cuts.decide(draft, "conv2", 7, "also_cut")
    lost = {**draft["step"][1], "layers": ["conv2"]}
    remaining = manual_cuts.without_stale(lost)
    assert (remaining["never_cut"], remaining["also_cut"]) == ({}, {"conv2": [7]})
    weights = {**lost, "rule": "sparsity", "value": 0.5, "criterion": "magnitude"}
    spec.parse({"step": [remaining, manual_cuts.without_stale(weights)]})


def test_manual_decisions_are_in_the_plan(tiny_run):
    app = profile_page(tiny_run, 3, after=2)
    original = tables.latest(list(runs.read_events(tiny_run)), "profiled")[2]["layers"]["conv2"]["original"][3]
    next(one for one in app.text_input if one.label.startswith("Reason")).set_value("active for *3* only").run()
    click(app, "Keep neuron")
    assert app.session_state.draft["data"] == spec.load(tiny_run / "spec.toml").data, "the draft is for the run"
    assert [step["never_cut"] for step in app.session_state.draft["step"] if manual_cuts.in_step(step, "conv2")] == [
        {"conv2": [original]}
    ]
    lines = [line for line in texts(app).splitlines() if f"**conv2**, neuron {original}: **manually kept**" in line]
    assert len(lines) == 2, "on the card and in the list"
    assert "active for \\*3\\* only" in lines[0]
    click(app, "Undo")
    assert not manual_cuts.decisions(app.session_state.draft)
    click(app, "Remove neuron")
    assert manual_cuts.decisions(app.session_state.draft) == [("conv2", original, "also_cut")]


def test_keeping_is_disabled_for_a_layer_that_no_step_cuts(tiny_run):
    draft = {**spec.load(tiny_run / "spec.toml").model_dump(exclude_none=True), "step": [step_of(layers=["fc1"])]}
    app = profile_page(tiny_run, 3, "conv1", draft=draft)
    assert {b.label: b.disabled for b in app.button if b.label in ("Keep neuron", "Remove neuron")} == {
        "Keep neuron": True, "Remove neuron": False,
    }
    click(app, "Remove neuron")
    assert [step["layers"] for step in app.session_state.draft["step"]] == [["fc1"], ["conv1"]]


@pytest.mark.browser
def test_a_neuron_chosen_by_a_click_is_removed_and_the_plan_shows_it(chromium, tiny_run, tmp_path, runs_folder):
    context = chromium.new_context(viewport={"width": 1280, "height": 1000})
    page = context.new_page()
    page.set_default_timeout(60_000)
    try:
        with serving("dashboard/app.py", ROOT, TRIMCORE_RUNS=str(runs_folder), log=str(tmp_path / "log")) as (url, _):
            page.goto(f"{url}/profile?run={tiny_run.name}")
            page.get_by_role("button", name="Plan with this rule").click()
            page.get_by_role("heading", name="Plan", exact=True).wait_for()
            parameters = page.get_by_test_id("stMetric").filter(has_text="Parameters")
            before = parameters.inner_text()
            page.locator("li.card .title").first.wait_for()
            assert page.locator("li.card .title").all_text_contents() == ["conv2, fc1"]
            page.get_by_role("link", name="Profile").click()
            page.get_by_text("APoZ by layer").wait_for()
            idle(page)

            def choose_layer() -> None:
                page.get_by_role("combobox", name="Layer").click()
                page.get_by_role("option", name="conv1", exact=True).click(timeout=5_000)

            retry(choose_layer, page.get_by_role("heading", name="Neurons of conv1"))
            idle(page)
            table = page.locator("[class*=st-key-neuron_][class*=conv1_rows] .stDataFrameGlideDataEditor").first
            table.scroll_into_view_if_needed()
            table.click(position={"x": 20, "y": 53})  # the checkbox of the first row, which has the highest APoZ
            page.get_by_text("Images with the highest activation").wait_for()
            page.get_by_label("Reason (optional)").fill("never active")
            page.get_by_role("button", name="Remove neuron", exact=True).click()
            page.get_by_text("manually removed (never active)").first.wait_for()
            page.get_by_role("link", name="Plan").click()
            page.get_by_role("heading", name="Plan", exact=True).wait_for()
            page.locator("li.card .title", has_text="conv1").wait_for()
            page.locator("li.card .caption", has_text="absolute 1 · 1 iteration").wait_for()
            assert parameters.inner_text() != before
    finally:
        context.close()
