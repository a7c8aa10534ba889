"""Maxout units on the page Profile, compared with the events of a real run."""

import json

import pytest

from tests.dashboard.fakes import fake_run, recorded
from tests.dashboard.pages import click, field, metrics, page, segmented, texts
from trimcore import spec, tables


def test_the_page_shows_the_recorded_relevance(units_run):
    app = page("profile", run=units_run.name)
    seen = tables.latest(recorded(units_run), "profiled")[0]["units"]["fc1"]
    counts = [count for unit in seen["counts"] for count in unit]
    shown = metrics(app)
    assert shown["Units"] == "16 × 4"
    assert shown["Never the maximum"] == f"{counts.count(0)} of 64"
    weakest = sum(min(unit) for unit in seen["counts"]) / len(seen["counts"]) / (seen["shares"] * seen["examples"])
    assert shown["Least relevant"] == f"{weakest:.1%}"
    assert shown["Training examples"] == "500"
    assert "A tie is shared equally" in texts(app)
    (listed,) = [table.value for table in app.dataframe if "relevance" in table.value]
    assert listed.relevance.iloc[0] == pytest.approx(100 * min(counts) / (seen["shares"] * seen["examples"]))
    field(app, "Sort units by index").set_value(True).run()
    assert not app.exception


def test_every_maxout_layer_can_be_chosen(runs_folder):
    kept = {4: [0, 1, 4, 5], 6: [0, 1, 2, 4, 5, 6]}  # the architecture has units of 4
    widths = [{"classifier.fc6": 4, "classifier.fc7": 6}]
    run_id = fake_run(runs_folder, {"model": "vgg16-small-maxout"}, widths, [0.9], original=kept.get)
    path = runs_folder / run_id / "events.jsonl"
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    seen = {"examples": 10, "positions": 1, "shares": 6}
    (profiled,) = [line for line in lines if line["kind"] == "profiled"]
    profiled["units"] = {
        "classifier.fc6": {**seen, "k": 2, "counts": [[60, 0], [30, 30]]},
        "classifier.fc7": {**seen, "k": 3, "counts": [[20, 20, 20], [54, 6, 0]]},
    }
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    app = page("profile", run=run_id)
    assert (metrics(app)["Units"], metrics(app)["Dominated units"]) == ("2 × 2", "1 of 2")
    assert metrics(app)["Never the maximum"] == "1 of 4"
    segmented(app, "Maxout layer").set_value("classifier.fc7").run()
    assert not app.exception
    assert (metrics(app)["Units"], metrics(app)["Dominated units"]) == ("2 × 3", "1 of 2")
    assert metrics(app)["Least relevant"] == "16.7%"
    click(app, "Plan to prune the units")
    (step,) = app.session_state.draft["step"]
    assert (step["layers"], step["iterations"]) == (["all"], 2), "until every unit has one neuron"
    assert metrics(app)["Neurons per unit (k)"] == "1"
    assert not app.error


def test_an_iteration_without_maxout_units_has_no_section(units_run):
    app = page("profile", run=units_run.name)
    segmented(app, "Iteration").set_value(3).run()
    assert not app.exception
    assert "Maxout units" not in texts(app)


def test_the_button_plans_units_of_one_neuron(units_run):
    app = page("profile", run=units_run.name, draft=spec.Spec().model_dump(exclude_none=True))
    click(app, "Plan to prune the units")
    (step,) = app.session_state.draft["step"]
    assert (step["rule"], step["value"], step["iterations"], step["criterion"]) == ("maxout", 1.0, 3, "relevance")
    assert metrics(app)["Neurons per unit (k)"] == "1"
