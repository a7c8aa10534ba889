"""If nothing can be measured before a run, one line gives the reason."""

from dashboard.plan.goal import SMALLER
from tests.dashboard.drafts import choose_goal, plan_from
from tests.dashboard.fakes import fake_run
from tests.dashboard.pages import click, page, texts
from trimcore import data, runs, spec
from trimcore.errors import DataError


def test_without_a_run_one_line_states_what_is_needed(runs_folder):
    app = page("plan")
    assert texts(app).count("need a trained network") == 1
    assert not any(group.label == "Target" for group in app.segmented_control)


def test_a_run_without_a_checkpoint(copy_of):
    own = copy_of()
    runs.checkpoint_path(own, 0).unlink()
    app = plan_from(own, {"layers": ["fc1"], "rule": "count", "value": 1})
    assert texts(app).count("has no checkpoint of iteration 0") == 1


def test_missing_data(copy_of, monkeypatch):
    def missing(name):
        raise DataError(f"data {name!r}: no folder")

    own = copy_of()
    monkeypatch.setattr(data, "check_there", missing)
    app = plan_from(own, {"layers": ["fc1"], "rule": "count", "value": 1})
    assert texts(app).count("Nothing can be measured before the run") == 1


def test_a_damaged_checkpoint(copy_of):
    own = copy_of()
    runs.checkpoint_path(own, 0).write_bytes(b"no checkpoint")
    app = plan_from(own, {"layers": ["fc1"], "rule": "count", "value": 1})
    assert "The accuracy before retraining cannot be measured" in texts(app)
    click(app, "Measure sensitivity (about ")
    assert "The sensitivity cannot be measured" in texts(app)
    choose_goal(app, SMALLER, 2.0)
    assert len(app.error) == 1


def test_a_conversion_prevents_measurements(copy_of):
    own = copy_of()
    convert = {**spec.Convert(to="maxout", k=4).model_dump()}
    app = plan_from(own, {"layers": ["fc1"], "rule": "maxout", "value": 1}, convert=convert)
    assert texts(app).count("first converts the activations") == 1


def test_a_run_that_has_only_events(runs_folder, pictures):
    widths = {"conv1": 20, "conv2": 50, "fc1": 500}
    name = fake_run(runs_folder, {"model": "lenet5"}, [widths], [0.9])
    app = page("plan", run=name)
    assert "has no checkpoint of iteration 0" in texts(app)
