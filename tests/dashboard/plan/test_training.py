"""The training settings on the page Plan."""

import pytest

from dashboard.session import drafts
from tests.dashboard.drafts import SMALLER_STEP, TWO_STEPS, plan_of
from tests.dashboard.pages import field, page
from trimcore import spec


def test_preset_training_settings_are_kept_until_changed():
    def augments() -> tuple[str, str]:
        return tuple(app.session_state.draft[part]["augment"] for part in ("base", "retrain"))

    draft = drafts.draft_for("lenet5", "mnist-5k")
    draft["base"]["augment"], draft["retrain"]["augment"] = "affine", "shift"
    app = page("plan", draft=draft, settings=True)
    assert augments() == ("affine", "shift")
    field(app, "Augmentation").set_value("none").run()
    assert augments() == ("none", "none")


def test_collapsed_settings_keep_their_values(run):
    app = page("plan", run=run.name, settings=True)
    field(app, "Learning rate").set_value(0.3).run()
    app.session_state.settings = False
    app.run()
    assert not [widget for widget in app.number_input if widget.label == "Learning rate"]
    app.session_state.settings = True
    app.run()
    assert field(app, "Learning rate").value == app.session_state.draft["retrain"]["lr"] == 0.3


@pytest.mark.parametrize("keep", [True, False])
def test_momentum_can_be_kept_across_cuts(launched, keep):
    app = page("plan", draft=plan_of(TWO_STEPS, retrain={"keep_momentum": not keep}), settings=True)
    next(box for box in app.checkbox if box.label == "Keep momentum across cuts").set_value(keep).run()
    app.button(key="launch").click().run()
    assert launched[0].retrain.keep_momentum is keep


def test_distillation_settings_are_launched(launched):
    app = page("plan", draft=plan_of([SMALLER_STEP]), settings=True)
    assert field(app, "Temperature").disabled
    field(app, "Distillation weight").set_value(0.5).run()
    field(app, "Temperature").set_value(2.0).run()
    app.button(key="launch").click().run()
    assert launched[0].distill == spec.Distill(weight=0.5, temperature=2.0)


def test_a_recipe_is_for_retraining_and_the_base(no_runs):
    app = page("plan", settings=True)
    field(app, "Label smoothing").set_value(0.1).run()
    field(app, "Optimizer").set_value("adamw").run()
    assert not app.exception
    draft = app.session_state.draft
    assert [(draft[part]["optimizer"], draft[part]["lr"]) for part in ("base", "retrain")] == [("adamw", 0.001)] * 2
    assert field(app, "Learning rate").value == 0.001, "the field shows the rate"
    assert draft["base"]["label_smoothing"] == 0.1
    field(app, "Optimizer").set_value("sgd").run()
    assert (app.session_state.draft["base"]["lr"], app.session_state.draft["retrain"]["lr"]) == (0.05, 0.02)


MORE = {
    "Learning rate schedule": ("schedule", "constant"), "Warm-up": ("warmup", 0.5), "MixUp": ("mixup", 0.2),
    "CutMix": ("cutmix", 1.0), "Gradient clipping": ("clip", 2.0), "Batches per step": ("accumulate", 4),
    "Average of the weights (EMA)": ("ema", 0.99), "Keep the weights of": ("keep", "best"),
    "Patience, epochs": ("patience", 3), "Class weights": ("class_weights", "balanced"),
}  # fmt: skip


def test_every_other_setting_is_offered(no_runs):
    app = page("plan", settings=True)
    field(app, "More settings").set_value(True).run()
    for label, (_, value) in MORE.items():
        field(app, label).set_value(value).run()
    assert not app.exception
    for part in ("base", "retrain"):
        assert {key: app.session_state.draft[part][key] for key, _ in MORE.values()} == dict(MORE.values())
    assert not any(number.label.startswith("Images to estimate") for number in app.number_input), "no BatchNorm here"
    spec.parse(app.session_state.draft)


FOR_CLASSES = {"Augmentation", "Label smoothing", "MixUp", "CutMix", "Class weights", "Distillation weight",
               "Temperature", "Verification", "Minimum accuracy, 0 to 1"}  # fmt: skip


def labels(app) -> set[str]:
    return {widget.label for kind in (app.number_input, app.selectbox) for widget in kind}


def test_other_tasks_have_a_limit_and_no_settings_for_classes(launched, no_runs):
    draft = plan_of([SMALLER_STEP])
    app = page("plan", draft=draft, settings=True, more_settings=True)
    assert labels(app) >= FOR_CLASSES
    unused = {"augment": "none", "mixup": 0.0, "cutmix": 0.0, "label_smoothing": 0.0, "class_weights": "none"}
    other = {key: {**draft[key], **unused} for key in ("base", "convert", "retrain")}
    app = page("plan", draft={**draft, **other, "task": "regression"}, settings=True, more_settings=True)
    assert not FOR_CLASSES & labels(app)
    limit = next(widget for widget in app.number_input if widget.label.startswith("Limit of "))
    assert limit.value is None
    assert "above it" in limit.help, "a lower error is better"
    assert "taylor" not in next(box for box in app.selectbox if box.label == "Criterion").options
    limit.set_value(0.25).run()
    app.button(key="launch").click().run()
    assert launched[0].stop == spec.Stop(limit=0.25)


def test_event_files_can_be_asked_for(launched):
    pytest.importorskip("tensorboard")
    app = page("plan", draft=plan_of(TWO_STEPS), settings=True)
    field(app, "Write files for TensorBoard").set_value(True).run()
    app.button(key="launch").click().run()
    assert launched[0].log.tensorboard
