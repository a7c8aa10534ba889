"""Launching a sweep from the page Plan."""

import pytest

from dashboard.plan import sweep_settings
from dashboard.plan.sweep_settings import Setting, parse_values, settings_of
from tests.dashboard.drafts import TWO_STEPS, plan_of, unit_draft
from tests.dashboard.fakes import fake_run
from tests.dashboard.pages import field, page, texts
from trimcore import spec
from trimcore.errors import SpecError
from trimcore.jobs import sweeps

LAYERS = ["conv1", "conv2", "fc1"]


@pytest.fixture
def launched(monkeypatch) -> list[dict]:
    """The sweeps that the page launches. None of them is run."""
    found = []
    monkeypatch.setattr(sweeps, "launch", lambda values, folder: found.append(values) or f"sweep-{len(found)}")
    return found


def opened(draft: dict, **session):
    app = page("plan", draft=draft, sweep=True, **session)
    assert [box for box in app.selectbox if box.label == "Setting"], "the box is open"
    return app


def launch(app):
    app.button(key="launch_sweep").click().run()
    assert not app.exception, app.exception


def keys(draft: dict, trains_base=True) -> list[str]:
    return [setting.key for setting in settings_of(draft, LAYERS, trains_base)]


def test_the_settings_suit_the_draft():
    steps = keys(plan_of(TWO_STEPS))
    assert steps == ["step.0.value", "step.1.value", "step.criterion", "order", "step.iterations", "retrain.epochs",
                     "retrain.lr", "distill.weight", "seed", "base.epochs", "base.lr"]  # fmt: skip
    assert keys(plan_of(TWO_STEPS), trains_base=False)[-1] == "seed"
    assert "order" not in keys(plan_of([{"layers": ["all"], "rule": "smaller", "value": 2.0}]))
    assert "order" in keys(plan_of([{"layers": ["all"]}]))
    assert "order" not in keys(plan_of([{"layers": ["conv2"]}] * 2)), "the layer is cut twice"
    assert "step.criterion" not in keys(unit_draft()), "units and weights have other criteria"
    assert "step.criterion" not in keys(plan_of([{"layers": ["fc1"], "rule": "absolute", "value": 0.9}]))
    assert keys(plan_of([])) == ["seed", "base.epochs", "base.lr"]


@pytest.mark.parametrize("steps", [
    [], TWO_STEPS, [{"layers": ["all"], "rule": rule, "value": value} for rule, value in [
        ("absolute", 0.99), ("fraction", 0.05), ("count", 1), ("keep", 1), ("mean+std", -1.0)]],
    [{"layers": ["all"], "rule": "smaller", "value": 1.05}], [{"layers": ["all"], "rule": "sparsity", "value": 0.99}],
    [{"layers": ["all"], "rule": "quality", "value": 0.05}], [{"layers": ["all"], "rule": "sparsity", "value": 0.01}],
])  # fmt: skip
def test_the_values_to_begin_with_are_valid(steps):
    draft = plan_of(steps, retrain={"epochs": 0}, base={"epochs": 1})
    for setting in settings_of(draft, LAYERS, True):
        chosen = [setting.choices[label] for label in setting.values] if setting.choices else list(setting.values)
        assert len(chosen) == len({str(value) for value in chosen})
        if len(chosen) > 1:
            values = sweep_settings.with_layers(draft, [setting.key], LAYERS)
            assert len(spec.points({**values, "sweep": {"values": {setting.key: chosen}}})) == len(chosen)


def test_numbers_are_read_as_people_write_them():
    number = Setting("step.0.value", "Value", [0.5, 1.0])
    assert parse_values(number, "1, 1.5 2;3,") == [1.0, 1.5, 2.0, 3.0]
    assert parse_values(Setting("seed", "Seed", [0, 1], True), "0 1") == [0, 1]
    assert all(isinstance(value, float) for value in parse_values(number, "1 2"))
    for setting, text in [(number, "1, two"), (Setting("seed", "Seed", [0, 1], True), "1.5"), (number, "1;;x")]:
        with pytest.raises(SpecError, match=f"{setting.label}: the values are"):
            parse_values(setting, text)


def test_two_settings_are_launched_with_a_rule(launched, runs_folder):
    app = opened(plan_of(TWO_STEPS))
    app.selectbox(key="sweep_setting_1").set_value("seed").run()
    field(app, "Values").set_value("0.5 1").run()
    field(app, "Values of the second setting").set_value("3, 4, 5").run()
    field(app, "Target size, times smaller").set_value(10.0).run()
    assert "also needs a value of accuracy" in texts(app)
    field(app, "Target accuracy, 0 to 1").set_value(0.985).run()
    assert "share 3 base networks" in texts(app)
    assert app.button(key="launch_sweep").label == "Launch 6 runs"
    launch(app)
    (values,) = launched
    assert values["sweep"] == {
        "values": {"step.0.value": [0.5, 1.0], "seed": [3, 4, 5]}, "stop_behind": 0.02,
        "target": {"accuracy": 0.985, "smaller": 10.0},
    }  # fmt: skip
    assert len(spec.points(values)) == 6
    assert app.session_state.sweep_shown == "sweep-1"
    assert app.title[0].value == "Compare"


def test_an_order_names_the_layers(launched):
    app = opened(plan_of([{"layers": ["all"], "rule": "fraction", "value": 0.2}]))
    app.selectbox(key="sweep_setting_0").set_value("order").run()
    launch(app)
    assert launched[0]["sweep"]["values"]["order"] == [["conv1", "conv2", "fc1"], ["fc1", "conv2", "conv1"]]
    assert [[s.layers[0] for s in p.spec.step] for p in spec.points(launched[0])][1] == ["fc1", "conv2", "conv1"]


def test_a_sweep_from_an_iteration_trains_no_base(launched, runs_folder):
    widths = [{"conv1": 20, "conv2": 50, "fc1": 500}]
    run_id = fake_run(runs_folder, {"step": TWO_STEPS}, widths, [0.9])
    app = opened(plan_of(TWO_STEPS), run=run_id)
    assert "start from the same weights" in texts(app)
    assert app.button(key="launch_sweep").label.startswith("Launch 3 runs (about ")
    launch(app)
    assert launched[0]["parent"] == {"run": run_id, "iteration": 0}


@pytest.mark.parametrize(("text", "message"), [
    ("x", "the values are numbers such as"), ("", "has no values"), ("1", "2 to 64 runs, not 1"),
    ("1 1", "listed twice"),
    (" ".join(map(str, range(65))), "2 to 64 runs, not 65"), ("nan 1", "finite number"), ("1e999 1", "finite number"),
])  # fmt: skip
def test_a_wrong_value_is_named_and_nothing_can_be_launched(launched, text, message):
    app = opened(plan_of(TWO_STEPS))
    field(app, "Values").set_value(text).run()
    assert message in app.warning[-1].value.replace("\\", "")
    assert not [button for button in app.button if button.key == "launch_sweep"]


def test_an_error_of_the_launch_is_a_notice(monkeypatch):
    def fails(values, folder):
        raise SpecError("the disk is full")

    monkeypatch.setattr(sweeps, "launch", fails)
    app = opened(plan_of(TWO_STEPS))
    app.button(key="launch_sweep").click().run()
    assert "the disk is full" in app.error[0].value


def test_all_fields_have_help():
    app = opened(plan_of(TWO_STEPS))
    app.selectbox(key="sweep_setting_1").set_value("seed").run()
    assert not [f.label for f in (*app.number_input, *app.text_input) if not f.proto.help]
