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
