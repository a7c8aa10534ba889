"""Plans that meet a target."""

import pytest

from dashboard.plan import measurement, rehearsal, sensitivity, targets
from dashboard.session import run_network
from tests.dashboard.drafts import choose_target, draft_from, plan_from
from tests.dashboard.pages import click, metrics, texts
from tests.dashboard.serving import ROOT, retry, serving
from trimcore import runs, spec, tables
from trimcore.evaluation.masking import one_shot
from trimcore.planning.harm import predicted
from trimcore.planning.sensitivity import Point, Sensitivity
from trimcore.planning.targets import Accuracy, LessWork, NoLayerAbove, Smaller, propose
from trimcore.training.loop import trim


@pytest.mark.parametrize("name", ["lenet5", "lenet5-maxout"])
@pytest.mark.parametrize("target", [Smaller(2.5), LessWork(1.5)])
def test_a_proposal_meets_its_target_in_the_run(copy_of, name, target):
    own = copy_of(name)
    proposal = targets.propose(draft_from(own), (own.name, 0), target)
    asked = spec.parse({**draft_from(own, proposal["step"]), "parent": {"run": own.name, "iteration": 0}})
    pruned = next(event.data for event in trim(asked, runs=own.parent) if event.kind == "pruned")
    base = tables.latest(list(runs.read_events(own)), "iteration")[0][target.counted]
    assert base >= target.times * pruned[target.counted] > 0.85 * base, "met without much excess"


def test_a_proposal_replaces_the_steps_after_confirmation(copy_of):
    app = plan_from(copy_of(), {"layers": ["conv1"], "rule": "fraction", "value": 0.1})
    before = list(app.session_state.draft["step"])
    click(choose_target(app, Smaller, 2.5), "Propose")
    assert app.session_state.draft["step"] == before
    click(app, "Replace 1 step")
    (step,) = spec.parse(app.session_state.draft).step
    assert step.rule == "keep"
    assert float(metrics(app)["Compression"].rstrip("×")) >= 2.5
    fields = [field.label for field in app.number_input]
    assert all(f"keep for {layer}" in fields for layer in step.layers), "the number of each layer can be edited"


def test_the_proposal_states_its_result(copy_of):
    app = plan_from(copy_of(), {"layers": ["conv1"], "rule": "fraction", "value": 0.1})
    text = click(choose_target(app, Smaller, 3.0), "Propose").session_state.proposal["text"]
    shown = metrics(click(app, "Replace"))
    assert f"{shown['Parameters']} of " in text
    assert f"{shown['After the first cut']} accuracy before retraining on 20 validation images" in text


def test_a_proposal_can_be_added_or_discarded(copy_of):
    app = plan_from(copy_of(), {"layers": ["conv1"], "rule": "fraction", "value": 0.1})
    click(choose_target(app, NoLayerAbove, 60.0), "Propose")
    click(app, "Discard")
    assert len(app.session_state.draft["step"]) == 1
    assert "proposal" not in app.session_state
    click(click(app, "Propose"), "Add as a step")
    first, second = app.session_state.draft["step"]
    assert (first["rule"], second["rule"]) == ("fraction", "keep")


def test_no_layer_above_removes_all_neurons_above(copy_of):
    own = copy_of()
    app = choose_target(plan_from(own, {"layers": ["fc1"], "rule": "count", "value": 1}), NoLayerAbove, 70.0)
    click(click(app, "Propose"), "Replace")
    (step,) = app.session_state.draft["step"]
    profiled = tables.latest(list(runs.read_events(own)), "profiled")[0]["layers"]
    left = {name: sum(value <= 0.7 for value in layer["apoz"]) for name, layer in profiled.items()}
    assert {name: own["value"] for name, own in step["layer"].items()} == {
        name: max(1, count) for name, count in left.items() if count < profiled[name]["width"]
    }


def test_an_accuracy_target_needs_the_sensitivity_and_is_met_as_predicted(copy_of):
    own = copy_of()
    app = choose_target(plan_from(own, {"layers": ["fc1"], "rule": "count", "value": 1}), Accuracy)
    assert "requires the sensitivity of the layers" in texts(app)
    assert not any(b.label == "Propose" for b in app.button)
    click(app, "Measure now (about ")
    found = sensitivity.best(app.session_state.draft, (own.name, 0))
    lowest = max(0.0, found.base - 0.25)
    click(click(choose_target(app, Accuracy, round(100 * lowest, 1)), "Propose"), "Replace")
    (step,) = app.session_state.draft["step"]
    assert predicted(found, {name: int(own["value"]) for name, own in step["layer"].items()}) >= lowest - 0.001
    assert float(metrics(app)["After the first cut"].rstrip("%")) >= round(100 * lowest, 1)


def test_an_accuracy_target_is_tightened_if_the_prediction_is_too_optimistic(copy_of, monkeypatch):
    own = copy_of()
    draft, start = draft_from(own), (own.name, 0)
    subject = run_network.subject(*start)
    seen, base = measurement.profile(draft, subject), rehearsal.rehearse(draft, start).now
    points = [Point(name, kept / layer.width, kept, base - 0.1 * (1 - kept / layer.width))
              for name, layer in seen.layers.items() for kept in (layer.width, 1)]  # fmt: skip
    optimistic = Sensitivity(20, base, points)
    monkeypatch.setattr(sensitivity, "best", lambda *_: optimistic)
    naive = propose(subject.graph, seen, Accuracy(base - 0.2), sensitivity=optimistic, cost_aware=True)
    assert one_shot(subject.graph, naive, measurement.batches(subject, 0)).accuracy < base - 0.2, "too optimistic"
    step = targets.propose(draft, start, Accuracy(base - 0.2))["step"]
    assert rehearsal.rehearse({**draft, "step": [step]}, start).first >= base - 0.2


def test_an_impossible_target_is_an_error(copy_of):
    app = plan_from(copy_of(), {"layers": ["fc1"], "rule": "count", "value": 1})
    click(choose_target(app, Smaller, 1000.0), "Propose")
    assert "is impossible" in texts(app)
    assert "proposal" not in app.session_state


def test_without_steps_a_proposal_is_used_immediately(copy_of):
    app = click(choose_target(plan_from(copy_of()), Smaller, 2.0), "Propose")
    assert [step["rule"] for step in app.session_state.draft["step"]] == ["keep"]


@pytest.mark.browser
def test_half_the_size_is_proposed_and_launched(chromium, tmp_path, copy_of):
    own = copy_of()
    asked = spec.load(own / "spec.toml")
    with serving("dashboard/app.py", ROOT, TRIMCORE_RUNS=str(own.parent), log=str(tmp_path / "server.log")) as (url, _):
        context = chromium.new_context(viewport={"width": 1280, "height": 900})
        seen = context.new_page()
        seen.set_default_timeout(60_000)
        seen.goto(f"{url}/plan?run={own.name}")
        seen.get_by_role("button", name="Plan for this run").click()
        seen.get_by_text("After the first cut").wait_for()
        propose = seen.get_by_role("button", name="Propose")
        retry(seen.get_by_text("N times smaller", exact=True).click, propose)
        propose.click()
        seen.get_by_role("button", name="Replace ").click()
        seen.locator("li.card .caption", has_text="keep").wait_for()
        seen.get_by_role("button", name="Launch").click()
        seen.get_by_text("all steps are done").first.wait_for()
        context.close()
    (made,) = set(runs.list_runs(own.parent)) - {own.name}
    rows = tables.iterations(list(runs.read_events(own.parent / made)))
    assert asked.data == spec.load(own.parent / made / "spec.toml").data
    assert rows.compression.iloc[-1] >= 2
