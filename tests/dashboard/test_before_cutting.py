"""What a plan does before anything is retrained, what each layer bears, and plans for what a person wants."""

import json
import shutil
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
import pytest
import torch

from dashboard import looking, planning, work
from dashboard.charts.sensitivity import FEW, accuracy_at, sensitivity
from dashboard.planning import bearing, opened, targeting
from tests.dashboard.fakes import fake_run, real_run
from tests.dashboard.serving import ROOT, serving
from tests.dashboard.test_pages import page, texts
from trimcore import data, runs, spec, tables
from trimcore.errors import DataError
from trimcore.evaluation.masking import one_shot
from trimcore.files import checkpoint
from trimcore.planning import targets
from trimcore.planning.plan import plan
from trimcore.planning.preview import Stage
from trimcore.planning.rehearsal import carried_out
from trimcore.planning.selection import choose_neurons
from trimcore.planning.sensitivity import Point, Sensitivity
from trimcore.planning.targets import Accuracy, LessWork, NoLayerAbove, Smaller, predicted
from trimcore.spec import Step
from trimcore.spec.rules import Keep
from trimcore.training.loop import trim

SLOW = 1000  # MACs a second: a guess by which everything waits for a button


@pytest.fixture(scope="module")
def made(tmp_path_factory, make_spec) -> dict[str, Path]:
    """Profiled runs of two networks on the small pictures, made once; 20 validation images."""
    folder = tmp_path_factory.mktemp("bases")
    base = {"step": [], "base": {"epochs": 4, "batch_size": 16}}
    asked = {"lenet5": {}, "lenet5-maxout": {"model": "lenet5-maxout", "options": {"width": 32}}}
    return {name: real_run(folder, make_spec(**base, **more)) for name, more in asked.items()}


@pytest.fixture
def run(made, runs_folder):
    """run(name): a copy of that run in this test's runs folder."""
    return lambda name="lenet5": Path(shutil.copytree(made[name], runs_folder / made[name].name))


def draft_of(run: Path, *steps: dict, **values) -> dict:
    asked = spec.load(run / "spec.toml").model_dump(exclude_none=True)
    steps = [Step(**step).model_dump() for step in steps]
    return {**asked, "retrain": {**asked["retrain"], "epochs": 0}, **values, "step": steps}


def plan_page(run: Path, *steps: dict, **values):
    return page("plan", run=run.name, draft=draft_of(run, *steps, **values))


def metrics(app) -> dict[str, str]:
    return {metric.label: metric.value for metric in app.metric}


def button(app, label: str):
    return next(button for button in app.button if button.label.startswith(label))


def press(app, label: str):
    button(app, label).click().run()
    assert not app.exception, app.exception
    return app


def wish(app, value, number: float | None = None):
    next(group for group in app.segmented_control if group.label == "I want it…").set_value(value).run()
    if number is not None:
        next(field for field in app.number_input if field.label in ("N", "X, %")).set_value(number).run()
    assert not app.exception, app.exception
    return app


def initial(run: Path, asked: dict) -> list[float]:
    """The validation accuracy that the real loop reports after each cut, before retraining."""
    events = trim(spec.parse({**asked, "parent": {"run": run.name, "iteration": 0}}), runs=run.parent)
    return [event.data["validation_accuracy"] for event in events if event.kind == "initial"]


# --- the accuracy before retraining ---


@pytest.mark.parametrize(("name", "step"), [
    ("lenet5", {"layers": ["conv2", "fc1"], "rule": "fraction", "value": 0.6}),
    ("lenet5", {"layers": ["all"], "rule": "mean+std", "value": 0.5}),
    ("lenet5", {"layers": ["fc1"], "rule": "fraction", "value": 0.8, "criterion": "taylor"}),
    ("lenet5", {"layers": ["fc1", "conv1"], "rule": "fraction", "value": 0.7, "criterion": "random"}),
    ("lenet5", {"layers": ["all"], "rule": "sparsity", "value": 0.9}),
    ("lenet5-maxout", {"layers": ["fc1"], "rule": "maxout", "value": 2}),
    ("lenet5-maxout", {"layers": ["conv2", "fc1"], "rule": "fraction", "value": 0.6}),
])  # fmt: skip
def test_one_shot_is_what_the_loop_reports_before_it_retrains(run, name, step):
    own = run(name)
    asked = draft_of(own, step)
    shot = opened.shot(asked, (own.name, 0))
    event = tables.latest(list(runs.read_events(own)), "iteration")[0]
    assert [shot.first] == initial(own, asked)
    assert (shot.now, shot.whole, shot.iterations) == (event["validation_accuracy"], shot.first, 1)


@pytest.mark.parametrize(("name", "steps"), [
    ("lenet5", [{"layers": ["conv2"], "rule": "fraction", "value": 0.3, "criterion": "l1", "iterations": 2},
                {"layers": ["all"], "rule": "sparsity", "value": 0.7, "iterations": 2},
                {"layers": ["fc1"], "rule": "keep", "value": 40, "criterion": "random"}]),
    ("lenet5-maxout", [{"layers": ["fc1"], "rule": "maxout", "value": 1, "criterion": "l2", "iterations": 3},
                       {"layers": ["fc1"], "rule": "fraction", "value": 0.5, "criterion": "l1"}]),
])  # fmt: skip
def test_the_whole_plan_is_the_last_cut_of_a_run_without_retraining(run, name, steps):
    """By scores that no counting changes."""
    own = run(name)
    asked = draft_of(own, *steps)
    accuracies, shot = initial(own, asked), opened.shot(asked, (own.name, 0))
    assert (shot.iterations, shot.first, shot.whole) == (len(accuracies), accuracies[0], accuracies[-1])


def test_the_page_shows_it_beside_the_compression(run):
    own, step = run(), {"layers": ["fc1"], "rule": "fraction", "value": 0.4, "iterations": 2}
    shot = opened.shot(draft_of(own, step), (own.name, 0))
    shown = metrics(plan_page(own, step))
    labels = ["Now", "After the first cut", "All at once"]
    assert [shown[label] for label in labels] == [f"{value:.1%}" for value in (shot.now, shot.first, shot.whole)]
    assert labels[2] not in metrics(plan_page(own, {**step, "iterations": 1}))


@pytest.mark.parametrize(("name", "steps"), [
    ("lenet5", [{"layers": ["conv2", "fc1"], "rule": "mean+std", "value": 0.7, "iterations": 3},
                {"layers": ["conv1"], "rule": "fraction", "value": 0.3, "iterations": 2}]),
    ("lenet5-maxout", [{"layers": ["fc1"], "rule": "maxout", "value": 1, "iterations": 2},
                       {"layers": ["conv2"], "rule": "fraction", "value": 0.4, "iterations": 2},
                       {"layers": ["fc1"], "rule": "maxout", "value": 1}]),
])  # fmt: skip
def test_widths_on_the_way_are_those_of_the_preview(run, name, steps):
    own = run(name)
    draft, begin = draft_of(own, *steps), (own.name, 0)
    subject, wanted = looking.subject(*begin), spec.parse(draft)
    networks = carried_out(subject.graph, wanted.step, opened.measured(begin, subject, wanted), wanted.seed)
    found = [{n: layer.width for n, layer in graph.layers.items()} for graph in networks]
    seen = planning.profile_to_plan_with(draft, begin)
    assert found == [stage.cost.widths for stage in planning.stages(draft, work.graph_of(draft), seen)[1:]]


def test_what_was_decided_by_hand_is_heeded_by_base_index_after_a_cut_too(run):
    own = run()
    first = {"layers": ["fc1"], "rule": "keep", "value": 300}
    subject = looking.subject(own.name, 0)
    wanted = spec.parse(draft_of(own, first))
    measured = opened.measured((own.name, 0), subject, wanted)
    gone = choose_neurons(wanted.step[0], subject.graph, measured.seen, {}, measured.origins, 0)["fc1"]
    left = sorted(set(range(500)) - set(gone), key=lambda i: (float(measured.seen["fc1"].apoz[i]), -i))
    named = {"fc1": [gone[0], left[-1]]}  # of which the first is away already
    second = {"layers": ["fc1"], "rule": "keep", "value": 1, "never_cut": named}
    *_, last = carried_out(subject.graph, spec.parse(draft_of(own, first, second)).step, measured, 0)
    base = subject.graph.model.state_dict()["fc1.bias"]
    assert torch.equal(last.model.state_dict()["fc1.bias"], base[sorted({left[0], left[-1]})])


def test_the_network_that_is_looked_at_stays_as_it_is(run):
    own = run()
    subject = looking.subject(own.name, 0)
    before = {name: tensor.clone() for name, tensor in subject.graph.model.state_dict().items()}
    plan_page(own, {"layers": ["all"], "rule": "sparsity", "value": 0.9}, {"layers": ["all"], "rule": "fraction",
                                                                         "value": 0.5})  # fmt: skip
    after = looking.subject(own.name, 0).graph.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_plan_is_measured_once_and_another_again(run, monkeypatch):
    own, calls = run(), []
    real = opened.evaluate
    monkeypatch.setattr(opened, "evaluate", lambda *args: calls.append(1) or real(*args))
    app = plan_page(own, {"layers": ["fc1"], "rule": "fraction", "value": 0.5})
    assert len(calls) == 2, "now, and after the cut"
    app.run()
    assert len(calls) == 2
    app.slider[0].set_value(0.6).run()
    assert not app.exception
    assert len(calls) == 4


def test_what_takes_long_waits_for_a_button(run, monkeypatch):
    monkeypatch.setitem(work.MACS_PER_SECOND, "cpu", SLOW)
    app = plan_page(run(), {"layers": ["fc1"], "rule": "fraction", "value": 0.5})
    assert "Now" not in metrics(app)
    press(app, "Accuracy before retraining (about ")
    assert "Now" in metrics(app)
    assert "Now" in metrics(app.run()), "it is known from now on"


# --- which layer can bear how much ---


def test_what_is_measured_is_shown_and_read_again(run, monkeypatch):
    own = run()
    app = plan_page(own, {"layers": ["fc1"], "rule": "keep", "value": 250})
    assert not (own / "sensitivity").exists(), "nothing is measured before somebody asks"
    press(app, "Measure (about ")
    (file,) = (own / "sensitivity").iterdir()
    points = json.loads(file.read_text())["points"]
    assert {layer for layer, *_ in points} == {"conv1", "conv2", "fc1"}
    monkeypatch.setattr(bearing, "measure", None)
    app = plan_page(own, {"layers": ["fc1"], "rule": "keep", "value": 250})
    shown = next(frame.value for frame in app.dataframe if "accuracy at 50 %" in frame.value)
    half = {layer: accuracy for layer, share, _, accuracy in points if share == 0.5}
    assert dict(zip(shown.layer, shown["accuracy at 50 %"], strict=True)) == half
    subject = looking.subject(own.name, 0)
    assert half["fc1"] == pytest.approx(_cut_alone(subject, opened.profile(draft_of(own), subject), "fc1", 250))


def _cut_alone(subject, seen, layer: str, kept: int) -> float:
    """By surgery, on all validation images."""
    return one_shot(subject.graph, plan(seen, Keep(kept), layer), opened.batches(subject, 0)).accuracy


def test_another_network_or_other_settings_are_measured_anew(run):
    own = run()
    draft, begin, shares = draft_of(own), (own.name, 0), bearing.SHARES["quick"]
    found = Sensitivity(4, 0.5, [Point("fc1", 1.0, 500, 0.5)])
    bearing._kept(draft, begin, 0, shares, found)
    assert bearing.known(draft, begin, 0, shares) == bearing.best(draft, begin) == found
    assert bearing.known(draft, begin, 250, shares) is None
    assert bearing.known(draft, begin, 0, bearing.SHARES["full"]) is None
    assert bearing.best({**draft, "profile": {**draft["profile"], "tolerance": 0.5}}, begin) is None
    path = runs.checkpoint_path(own, 0)
    other = checkpoint.load(path)
    other.state["fc2.bias"] += 1
    checkpoint.save(other, path)
    assert bearing.best(draft, begin) is None


def test_the_table_by_hand():
    points = [Point("a", 1.0, 8, 0.9), Point("a", 0.75, 6, 0.895), Point("a", 0.5, 4, 0.6), Point("a", 0.25, 2, 0.9),
              Point("b", 1.0, 10, 0.9), Point("b", 0.5, 5, 0.92), Point("b", 0.1, 1, 0.891)]  # fmt: skip
    rows = bearing.table(Sensitivity(100, 0.9, points)).values.tolist()
    assert rows == [["a", 0.6, "2 of 8 (25\u00a0%)"], ["b", 0.92, "9 of 10 (90\u00a0%)"]]


def test_the_shares_that_a_plan_keeps_count_whole_units():
    class Widths:
        def __init__(self, **widths):
            self.widths = widths

    stages = [Stage(-1, {}, Widths(a=10, b=40, c=40, d=7), {"b": 4, "c": 4}),
              Stage(0, {}, Widths(a=5, b=10, c=20, d=7), {"b": 1, "c": 4})]  # fmt: skip
    assert bearing.kept_shares(stages) == {"a": 0.5, "c": 0.5}


def points_of(layers: int) -> pd.DataFrame:
    return pd.DataFrame([
        (f"layer{i}", share, round(20 * share), 0.9 - 0.1 * i * (1 - share) / layers)
        for i in range(layers) for share in (1.0, 0.5, 0.25)
    ], columns=["layer", "kept_fraction", "kept", "accuracy"])  # fmt: skip


def test_few_layers_are_lines_with_the_plan_on_them():
    figure = sensitivity(points_of(2), 0.9, {"layer1": 0.75, "elsewhere": 0.1})
    lines = [trace for trace in figure.data if trace.mode == "lines+markers"]
    assert [line.name for line in lines] == ["layer0", "layer1"]
    assert list(lines[1].x) == [100, 50, 25]
    assert list(lines[1].y) == pytest.approx([90, 87.5, 86.25])
    (mark,) = (trace for trace in figure.data if trace.mode == "markers")
    assert (list(mark.x), list(mark.customdata)) == ([75], ["layer1"])
    assert list(mark.y) == pytest.approx([88.75]), "on its line"
    assert "2 layers" in figure.layout.meta["alt"]
    assert "layer1" in figure.layout.meta["alt"]


def test_many_layers_are_a_heatmap_with_the_plan_in_their_rows():
    figure = sensitivity(points_of(FEW + 1), 0.9, {"layer3": 0.375})
    heat, mark = figure.data
    assert isinstance(heat, go.Heatmap)
    assert heat.z.shape == (FEW + 1, 3)
    assert heat.z[0] == pytest.approx([90, 90, 90])
    assert heat.z[3] == pytest.approx([90, 90 - 30 / 9 * 0.5, 90 - 30 / 9 * 0.75])
    assert (list(mark.y), list(mark.x)) == ([3], [1.5]), "between the columns of 50 % and 25 %"


def test_a_narrow_layer_repeats_itself_and_is_drawn_once():
    points = pd.DataFrame([("a", 1.0, 2, 0.9), ("a", 0.9, 2, 0.9), ("a", 0.5, 1, 0.7), ("a", 0.1, 1, 0.7)],
                          columns=["layer", "kept_fraction", "kept", "accuracy"])  # fmt: skip
    assert list(sensitivity(points, 0.9, {}).data[0].x) == [100, 50]
    assert accuracy_at(points, "a", 0.75) == pytest.approx(0.8)
    assert accuracy_at(points, "a", 0.1) == pytest.approx(0.7)


# --- what a person wants ---


@pytest.mark.parametrize("name", ["lenet5", "lenet5-maxout"])
@pytest.mark.parametrize("target", [Smaller(2.5), LessWork(1.5)])
def test_a_proposal_meets_its_target_in_the_run_that_it_becomes(run, name, target):
    own = run(name)
    proposal = targeting.propose(draft_of(own), (own.name, 0), target)
    asked = spec.parse({**draft_of(own, proposal["step"]), "parent": {"run": own.name, "iteration": 0}})
    pruned = next(event.data for event in trim(asked, runs=own.parent) if event.kind == "pruned")
    base = tables.latest(list(runs.read_events(own)), "iteration")[0][target.counted]
    assert base >= target.times * pruned[target.counted] > 0.85 * base, "met, and hardly more than that"


def test_a_proposal_replaces_the_steps_once_it_is_confirmed(run):
    app = plan_page(run(), {"layers": ["conv1"], "rule": "fraction", "value": 0.1})
    before = list(app.session_state.draft["step"])
    press(wish(app, Smaller, 2.5), "Propose")
    assert app.session_state.draft["step"] == before
    press(app, "Replace the 1 step")
    (step,) = spec.parse(app.session_state.draft).step
    assert step.rule == "keep"
    assert float(metrics(app)["Compression"].rstrip("×")) >= 2.5
    fields = [field.label for field in app.number_input]
    assert all(f"keep for {layer}" in fields for layer in step.layers), "each layer's number can be edited"


def test_the_proposal_says_what_it_comes_to(run):
    app = plan_page(run(), {"layers": ["conv1"], "rule": "fraction", "value": 0.1})
    told = press(wish(app, Smaller, 3.0), "Propose").session_state.proposal["text"]
    shown = metrics(press(app, "Replace"))
    assert f"{shown['Parameters']} of " in told
    assert f"{shown['After the first cut']} accuracy before retraining on 20 validation images" in told


def test_a_proposal_can_be_another_step_and_can_be_discarded(run):
    app = plan_page(run(), {"layers": ["conv1"], "rule": "fraction", "value": 0.1})
    press(wish(app, NoLayerAbove, 60.0), "Propose")
    press(app, "Discard")
    assert len(app.session_state.draft["step"]) == 1
    assert "proposal" not in app.session_state
    press(press(app, "Propose"), "Add as another step")
    first, second = app.session_state.draft["step"]
    assert (first["rule"], second["rule"]) == ("fraction", "keep")


def test_no_layer_above_leaves_none_above(run):
    own = run()
    app = press(press(wish(plan_page(own, {"layers": ["fc1"], "rule": "count", "value": 1}), NoLayerAbove, 70.0),
                      "Propose"), "Replace")  # fmt: skip
    (step,) = app.session_state.draft["step"]
    profiled = tables.latest(list(runs.read_events(own)), "profiled")[0]["layers"]
    left = {name: sum(value <= 0.7 for value in layer["apoz"]) for name, layer in profiled.items()}
    assert {name: own["value"] for name, own in step["layer"].items()} == {
        name: max(1, count) for name, count in left.items() if count < profiled[name]["width"]
    }


def test_an_accuracy_needs_the_layers_measured_and_then_is_met_as_predicted(run):
    own = run()
    app = wish(plan_page(own, {"layers": ["fc1"], "rule": "count", "value": 1}), Accuracy)
    assert "must be measured first" in texts(app)
    assert not any(b.label == "Propose" for b in app.button)
    press(app, "Measure it (about ")
    found = bearing.best(app.session_state.draft, (own.name, 0))
    lowest = max(0.0, found.base - 0.25)
    press(press(wish(app, Accuracy, round(100 * lowest, 1)), "Propose"), "Replace")
    (step,) = app.session_state.draft["step"]
    assert predicted(found, {name: int(own["value"]) for name, own in step["layer"].items()}) >= lowest - 0.001
    assert float(metrics(app)["After the first cut"].rstrip("%")) >= round(100 * lowest, 1)


def test_an_accuracy_is_met_by_surgery_where_the_sum_of_the_layers_promises_too_much(run, monkeypatch):
    own = run()
    draft, begin = draft_of(own), (own.name, 0)
    subject = looking.subject(*begin)
    seen, base = opened.profile(draft, subject), opened.shot(draft, begin).now
    points = [Point(name, kept / layer.width, kept, base - 0.1 * (1 - kept / layer.width))
              for name, layer in seen.layers.items() for kept in (layer.width, 1)]  # fmt: skip
    promise = Sensitivity(20, base, points)
    monkeypatch.setattr(bearing, "best", lambda *_: promise)
    naive = targets.propose(subject.graph, seen, Accuracy(base - 0.2), sensitivity=promise, cost_aware=True)
    assert one_shot(subject.graph, naive, opened.batches(subject, 0)).accuracy < base - 0.2, "it promises too much"
    step = targeting.propose(draft, begin, Accuracy(base - 0.2))["step"]
    assert opened.shot({**draft, "step": [step]}, begin).first >= base - 0.2


def test_what_cannot_be_had_is_said_as_it_is(run):
    app = press(wish(plan_page(run(), {"layers": ["fc1"], "rule": "count", "value": 1}), Smaller, 1000.0), "Propose")
    assert "cannot be had" in texts(app)
    assert "proposal" not in app.session_state


def test_without_steps_a_proposal_is_taken_at_once(run):
    app = press(wish(plan_page(run()), Smaller, 2.0), "Propose")
    assert [step["rule"] for step in app.session_state.draft["step"]] == ["keep"]


# --- where nothing can be measured ---


def test_without_a_run_one_line_says_what_is_needed(runs_folder):
    app = page("plan")
    assert texts(app).count("need a trained network") == 1
    assert not any(group.label == "I want it…" for group in app.segmented_control)


def test_a_run_without_its_weights(run):
    own = run()
    runs.checkpoint_path(own, 0).unlink()
    app = plan_page(own, {"layers": ["fc1"], "rule": "count", "value": 1})
    assert texts(app).count("has no weights of iteration 0") == 1


def test_data_that_is_gone(run, monkeypatch):
    def gone(name):
        raise DataError(f"data {name!r}: no folder")

    own = run()
    monkeypatch.setattr(data, "check_there", gone)
    app = plan_page(own, {"layers": ["fc1"], "rule": "count", "value": 1})
    assert texts(app).count("Nothing can be measured before the cut") == 1


def test_weights_that_cannot_be_read(run):
    own = run()
    runs.checkpoint_path(own, 0).write_bytes(b"no checkpoint")
    app = plan_page(own, {"layers": ["fc1"], "rule": "count", "value": 1})
    assert "The accuracy before retraining cannot be measured" in texts(app)
    press(app, "Measure (about ")
    assert "The layers cannot be measured" in texts(app)
    press(wish(app, Smaller, 2.0), "Propose")
    assert len(app.error) == 1


def test_a_conversion_comes_first(run):
    own = run()
    convert = {**spec.Convert(to="maxout", k=4).model_dump()}
    app = plan_page(own, {"layers": ["fc1"], "rule": "maxout", "value": 1}, convert=convert)
    assert texts(app).count("while it converts the activations") == 1


def test_a_run_that_was_written_by_hand(runs_folder, pictures):
    widths = {"conv1": 20, "conv2": 50, "fc1": 500}
    name = fake_run(runs_folder, {"model": "lenet5"}, [widths], [0.9])
    app = page("plan", run=name)
    assert "has no weights of iteration 0" in texts(app)


@pytest.mark.browser
def test_half_the_size_is_proposed_and_launched(chromium, tmp_path, run):
    own = run()
    asked = spec.load(own / "spec.toml")
    with serving("dashboard/app.py", ROOT, TRIMCORE_RUNS=str(own.parent), log=str(tmp_path / "server.log")) as (url, _):
        context = chromium.new_context(viewport={"width": 1280, "height": 900})
        seen = context.new_page()
        seen.set_default_timeout(60_000)
        seen.goto(f"{url}/plan?run={own.name}")
        seen.get_by_role("button", name="Plan for that one").click()
        seen.get_by_text("After the first cut").wait_for()
        seen.get_by_text("N times smaller", exact=True).click()
        seen.get_by_role("button", name="Propose").click()
        seen.get_by_role("button", name="Replace the ").click()
        seen.locator("li.card .caption", has_text="keep").wait_for()
        seen.get_by_role("button", name="Launch").click()
        seen.get_by_text("all steps are done").first.wait_for()
        context.close()
    (made,) = set(runs.list_runs(own.parent)) - {own.name}
    rows = tables.iterations(list(runs.read_events(own.parent / made)))
    assert asked.data == spec.load(own.parent / made / "spec.toml").data
    assert rows.compression.iloc[-1] >= 2
