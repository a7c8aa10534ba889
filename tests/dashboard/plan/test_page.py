"""The preview on the page Plan, and what it launches."""

import pytest

from tests.dashboard.drafts import plan_for, unit_draft
from tests.dashboard.fakes import recorded
from tests.dashboard.networks import DEPTH
from tests.dashboard.pages import click, field, metrics, page, texts
from trimcore import runs, spec, tables
from trimcore.jobs import control


def test_the_preview_equals_the_result_of_the_run(run):
    app = page("plan", run=run.name, draft={
        **spec.Spec().model_dump(exclude_none=True),
        "step": [spec.Step(layers=["conv2", "fc1"], rule="fraction", value=0.2, iterations=2).model_dump()],
    })  # fmt: skip
    last = tables.iterations(list(runs.read_events(run))).iloc[-1]
    shown = {metric.label: metric.value for metric in app.metric}
    assert shown["Parameters"] == f"{last.parameters:,}"
    assert shown["Compression"] == f"{last.compression:.2f}×"


def test_the_preview_follows_the_widgets(run):
    app = page("plan", run=run.name)
    before = {m.label: m.value for m in app.metric}["Parameters"]
    steps = app.session_state.draft["step"]
    app.number_input[0].set_value(steps[0]["iterations"] + 2).run()
    assert not app.exception
    assert app.session_state.draft["step"][0]["iterations"] == steps[0]["iterations"]
    assert {m.label: m.value for m in app.metric}["Parameters"] != before


def test_a_plan_that_removes_nothing_has_a_warning(run):
    app = page("plan", run=run.name, draft={
        **spec.Spec().model_dump(exclude_none=True),
        "step": [spec.Step(layers=["fc1"], rule="absolute", value=1.0).model_dump()],
    })  # fmt: skip
    assert "removes nothing" in texts(app)


def test_an_invalid_draft_is_a_one_line_error_without_a_launch_button(run):
    app = page("plan", run=run.name, draft={
        **spec.Spec().model_dump(exclude_none=True),
        "step": [spec.Step(layers=["fc1"], rule="absolute", value=0.5).model_dump() | {"criterion": "l1"}],
    })  # fmt: skip
    assert "absolute" in app.error[0].value
    assert "\n" not in app.error[0].value
    assert "launch" not in [button.key for button in app.button]


def test_a_missing_parent_is_a_one_line_error_and_keeps_the_draft(run):
    app = page("plan", run=run.name, draft={
        **spec.Spec().model_dump(exclude_none=True),
        "step": [spec.Step(layers=["fc1"], rule="fraction", value=0.5).model_dump()],
    })  # fmt: skip
    runs.checkpoint_path(run, 0).unlink()
    app.button(key="launch").click().run()
    assert not app.exception
    assert "no iteration 0" in app.error[0].value
    assert app.session_state.draft["step"][0]["layers"] == ["fc1"]
    assert runs.list_runs(run.parent) == [run.name]


@pytest.mark.parametrize(
    ("label", "values", "read"),
    [
        ("Retraining epochs", [5, 6, 7], lambda draft: draft["retrain"]["epochs"]),
        ("Learning rate", [0.1, 0.2, 0.3], lambda draft: draft["retrain"]["lr"]),
        ("Run name", ["one", "two", "three"], lambda draft: draft["name"]),
        ("Also train the final widths from scratch", [True, False, True], lambda d: d["control"]["scratch"]),
        ("Iterations", [3, 5, 2], lambda draft: draft["step"][0]["iterations"]),
    ],
)
def test_every_edit_takes_effect(run, label, values, read):
    app = page("plan", run=run.name, settings=True)
    for value in values:
        field(app, label).set_value(value).run()
        assert read(app.session_state.draft) == value


def test_an_edit_sent_with_the_click_is_launched(run, monkeypatch):
    launched = []
    monkeypatch.setattr(control, "launch", lambda asked, folder: launched.append(asked) or run.name)
    app = page("plan", run=run.name, settings=True)
    field(app, "Iterations").set_value(7)
    field(app, "Retraining epochs").set_value(9)
    app.button(key="launch").click().run()
    assert not app.exception
    assert (launched[0].step[0].iterations, launched[0].retrain.epochs) == (7, 9)
    assert launched[0].parent == spec.Parent(run=run.name, iteration=0)


def test_the_preview_shows_only_layers_that_change(deep, runs_folder):
    app = page("plan", draft=plan_for(deep, ["3.0", "7.0"]))
    assert f"{DEPTH - 2} layers do not change." in texts(app)
    removed = app.dataframe[0].value.removed
    assert list(removed) == ["3.0 −2, 7.0 −2"]


def test_narrow_layers_share_one_warning(deep):
    app = page("plan", draft=plan_for(deep, ["all"], rule="keep", value=2.0))
    (warning,) = [box.value for box in app.warning if "narrow" in box.value]
    assert "and" not in warning.split(",")[0]
    assert warning.count(" of 8 neurons") == 5
    assert f"{DEPTH - 5} more layers" in warning


def test_other_options_make_another_network(units_run):
    assert "different network" not in texts(page("plan", run=units_run.name, draft=unit_draft()))
    app = page("plan", run=units_run.name, draft=unit_draft(options={"width": 128}))
    assert "different network" in texts(app)
    click(app, "Plan for this run")
    assert app.session_state.draft["options"] == {"width": 64}
    assert app.session_state.draft["verify"]["pairs"] == "test"


def test_the_preview_of_units_and_weights_equals_the_result_of_the_run(units_run):
    app = page("plan", run=units_run.name, draft=unit_draft())
    events = recorded(units_run)
    last, zeros = tables.iterations(events).iloc[-1], tables.sparsity(events)
    shown = metrics(app)
    assert shown["Parameters"] == f"{last.parameters:,}"
    assert shown["Neurons per unit (k)"] == "1"
    pruned = zeros[zeros.iteration == 5].zeros.sum()
    assert shown["Non-zero parameters"] == f"{last.parameters - pruned:,}"
    table = app.dataframe[0].value
    assert list(table.removed)[:3] == ["fc1 −16 (k 4→3)", "fc1 −16 (k 3→2)", "fc1 −16 (k 2→1)"]
    assert table.removed[4] == f"weights: {pruned:,} zero"
