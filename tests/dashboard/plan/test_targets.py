"""Plans that meet a target."""

import re

import pytest

from dashboard.plan import measurement, rehearsal, sensitivity, targets, timing
from dashboard.plan.goal import ABOVE, FASTER, SMALLER, WORSE, Goal
from dashboard.session import run_network
from tests.dashboard.drafts import choose_goal, draft_from, plan_from
from tests.dashboard.pages import click, metrics, texts
from tests.dashboard.serving import ROOT, retry, serving
from trimcore import runs, spec, tables
from trimcore.errors import SpecError
from trimcore.evaluation.masking import one_shot
from trimcore.planning.harm import predicted
from trimcore.planning.sensitivity import Point, Sensitivity
from trimcore.planning.targets import Accuracy, LessWork, Smaller, propose
from trimcore.training.loop import trim


def goal(*targets, batch: int = 1, held: tuple[str, ...] = ()) -> Goal:
    return Goal(targets, batch, held)


@pytest.mark.parametrize("name", ["lenet5", "lenet5-maxout"])
@pytest.mark.parametrize("target", [Smaller(2.5), LessWork(1.5)])
def test_a_proposal_meets_its_target_in_the_run(copy_of, name, target):
    own = copy_of(name)
    proposal = targets.propose(draft_from(own), (own.name, 0), goal(target))
    asked = spec.parse({**draft_from(own, proposal["step"]), "parent": {"run": own.name, "iteration": 0}})
    pruned = next(event.data for event in trim(asked, runs=own.parent) if event.kind == "pruned")
    base = tables.latest(list(runs.read_events(own)), "iteration")[0][target.counted]
    assert base >= target.times * pruned[target.counted] > 0.85 * base, "met without much excess"


def test_the_slider_shows_what_it_would_buy_and_changes_nothing(copy_of):
    app = plan_from(copy_of(), {"layers": ["conv1"], "rule": "fraction", "value": 0.1})
    before = list(app.session_state.draft["step"])
    shown = metrics(choose_goal(app, SMALLER, 3.0))
    assert float(shown["Smaller"].rstrip("×")) >= 3
    assert shown["Accuracy before retraining"].endswith("%")
    assert app.session_state.draft["step"] == before
    more = metrics(choose_goal(app, SMALLER, 6.0))
    assert float(more["Smaller"].rstrip("×")) >= 6
    assert float(more["Fewer MACs"].rstrip("×")) >= float(shown["Fewer MACs"].rstrip("×"))


def test_a_proposal_replaces_the_steps_on_request(copy_of):
    app = plan_from(copy_of(), {"layers": ["conv1"], "rule": "fraction", "value": 0.1})
    shown = metrics(choose_goal(app, SMALLER, 2.5))
    click(app, "Replace 1 step")
    (step,) = spec.parse(app.session_state.draft).step
    assert step.rule == "keep"
    after = metrics(app)
    assert float(after["Compression"].rstrip("×")) >= 2.5
    assert after["After the first cut"] == shown["Accuracy before retraining"]
    fields = [field.label for field in app.number_input]
    assert all(f"keep for {layer}" in fields for layer in step.layer), "the number of each layer can be edited"
    assert "The plan consists of this step" in texts(app)


def test_a_proposal_can_be_added(copy_of):
    app = plan_from(copy_of(), {"layers": ["conv1"], "rule": "fraction", "value": 0.1})
    click(choose_goal(app, ABOVE, 60.0), "Add as a step")
    first, second = app.session_state.draft["step"]
    assert (first["rule"], second["rule"]) == ("fraction", "keep")


def test_no_neuron_above_removes_all_of_them(copy_of):
    own = copy_of()
    app = choose_goal(plan_from(own, {"layers": ["fc1"], "rule": "count", "value": 1}), ABOVE, 70.0)
    click(app, "Replace")
    (step,) = app.session_state.draft["step"]
    profiled = tables.latest(list(runs.read_events(own)), "profiled")[0]["layers"]
    left = {name: sum(value <= 0.7 for value in layer["apoz"]) for name, layer in profiled.items()}
    assert {name: own["value"] for name, own in step["layer"].items()} == {
        name: max(1, count) for name, count in left.items() if count < profiled[name]["width"]
    }


def test_the_layers_are_measured_first_and_an_accuracy_is_met_as_predicted(copy_of):
    own = copy_of()
    app = plan_from(own, {"layers": ["fc1"], "rule": "count", "value": 1})
    assert sensitivity.best(app.session_state.draft, (own.name, 0)) is None
    choose_goal(app, WORSE)
    found = sensitivity.best(app.session_state.draft, (own.name, 0))
    lowest = max(0.0, found.base - 0.25)
    click(choose_goal(app, WORSE, round(100 * lowest, 1)), "Replace")
    (step,) = app.session_state.draft["step"]
    assert predicted(found, {name: int(own["value"]) for name, own in step["layer"].items()}) >= lowest - 0.001
    assert float(metrics(app)["After the first cut"].rstrip("%")) >= round(100 * lowest, 1)


def test_a_long_measurement_is_asked_for(copy_of, monkeypatch):
    monkeypatch.setattr(targets, "WITHOUT_ASKING", 0.0)
    own = copy_of()
    app = choose_goal(plan_from(own, {"layers": ["fc1"], "rule": "count", "value": 1}), SMALLER, 2.0)
    assert "this plan goes by APoZ" in texts(app)
    by_apoz = metrics(app)
    assert sensitivity.best(app.session_state.draft, (own.name, 0)) is None
    click(app, "Measure the layers (about ")
    assert sensitivity.best(app.session_state.draft, (own.name, 0)) is not None
    assert metrics(app)["Smaller"] != by_apoz["Smaller"]


def test_a_speed_is_predicted_while_the_slider_moves_and_measured_before_it_is_accepted(copy_of, monkeypatch):
    """A network of which every neuron takes a millisecond, and a clock that finds a tenth more."""
    own = copy_of()
    made = FakeTimes(run_network.network(own.name, 0))
    monkeypatch.setattr(timing, "time_model", lambda draft, start, batch: made)
    app = plan_from(own, {"layers": ["fc1"], "rule": "count", "value": 1})
    shown = metrics(choose_goal(app, FASTER, 1.5))
    assert 1.5 <= float(shown["Faster"].rstrip("×")) < 1.53
    assert made.measured == 0
    assert not any(button.label.startswith("Replace") for button in app.button)
    measured = metrics(click(app, "Measure this plan"))
    assert float(measured["Faster"].rstrip("×")) >= 1.5
    assert float(measured["Smaller"].rstrip("×")) > float(shown["Smaller"].rstrip("×"))
    click(app, "Replace")
    (step,) = app.session_state.draft["step"]
    assert made.measured
    widths = {"conv1": 20, "conv2": 50, "fc1": 500} | {n: int(own["value"]) for n, own in step["layer"].items()}
    assert 1.1 * sum(widths.values()) <= 570 / 1.5, "the clock decides"


class FakeTimes:
    """Stands for a `TimeModel`."""

    batch, tables = 1, type("Tables", (), {"save": lambda self: None})()

    def __init__(self, graph):
        self.graph, self.measured, self.base_ms = graph, 0, 570.0

    def without(self, removed, exact=False) -> float:
        groups = [self.graph.layers[name].neurons for name in ("conv1", "conv2", "fc1")]
        return self.base_ms - sum(int(removed[own].sum()) for own in groups)

    def predict(self, plan, exact=True) -> float:
        return self.base_ms - sum(map(len, plan.values()))

    def measure(self, removed) -> float:
        self.measured += 1
        return 1.1 * self.without(removed)


def test_held_layers_stay_whole(copy_of):
    own = copy_of()
    held = targets.propose(draft_from(own), (own.name, 0), goal(Smaller(1.2), held=("fc1", "conv1")))
    assert list(held["step"]["layer"]) == ["conv2"]
    app = choose_goal(plan_from(own, {"layers": ["fc1"], "rule": "count", "value": 1}), SMALLER, 1.2)
    next(box for box in app.multiselect if box.label == "Layers that stay whole").set_value(["fc1"]).run()
    assert "fc1" not in next(line.value for line in app.caption if " → " in line.value)


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
    step = targets.propose(draft, start, goal(Accuracy(base - 0.2)))["step"]
    assert rehearsal.rehearse({**draft, "step": [step]}, start).first >= base - 0.2


def test_an_impossible_target_is_an_error(copy_of):
    app = choose_goal(plan_from(copy_of(), {"layers": ["fc1"], "rule": "count", "value": 1}), SMALLER, 1000.0)
    assert "is impossible" in texts(app)
    assert not any(button.label.startswith("Replace") for button in app.button)


def test_a_limit_beside_the_target_is_kept_or_refused(copy_of):
    own = copy_of()
    draft, start = draft_from(own), (own.name, 0)
    base = rehearsal.rehearse(draft, start).now
    choose_goal(plan_from(own, {"layers": ["fc1"], "rule": "count", "value": 1}), WORSE)  # measures the layers
    easy = targets.propose(draft, start, goal(Smaller(1.05), Accuracy(max(0.0, base - 0.3))))
    assert easy["step"]
    with pytest.raises(SpecError, match="cannot be"):
        targets.propose(draft, start, goal(Smaller(50), Accuracy(base)))


def test_without_steps_a_proposal_is_the_plan(copy_of):
    app = click(choose_goal(plan_from(copy_of()), SMALLER, 2.0), "Use this plan")
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
        seen.get_by_text("After the first cut").wait_for()
        slider = seen.get_by_role("slider", name="How many times smaller")
        retry(seen.get_by_text("smaller", exact=True).click, slider)
        replace = seen.get_by_role("button", name="Replace ")
        slider.focus()
        for _ in range(8):  # 1.0, 1.1, ..., 1.6, 1.8, 2.0
            slider.press("ArrowRight")
        seen.get_by_test_id("stMetric").filter(has_text="Smaller").get_by_text(re.compile(r"^2\.\d+×$")).wait_for()
        replace.click()
        seen.locator("li.card .caption", has_text="keep").wait_for()
        seen.get_by_role("button", name="Launch").click()
        seen.get_by_text("all steps are done").first.wait_for()
        context.close()
    (made,) = set(runs.list_runs(own.parent)) - {own.name}
    rows = tables.iterations(list(runs.read_events(own.parent / made)))
    assert asked.data == spec.load(own.parent / made / "spec.toml").data
    assert rows.compression.iloc[-1] >= 2
