"""Drafts to open on the page Plan."""

from pathlib import Path

from streamlit.testing.v1 import AppTest

from dashboard.plan import goal
from tests.dashboard.pages import page, segmented
from trimcore import spec
from trimcore.spec import Step

FC1_STEPS = [{"layers": ["fc1"], "rule": "fraction", "value": 0.2, "iterations": 2}]
TWO_STEPS = [{"layers": ["conv2"], "value": 0.5}, {"layers": ["fc1"], "rule": "keep", "value": 9.0, "iterations": 2}]
SMALLER_STEP = {"layers": ["all"], "rule": "smaller", "value": 2.0, "iterations": 2}
UNIT_STEPS = [
    {"layers": ["fc1"], "rule": "maxout", "value": 1.0, "iterations": 3},
    {"layers": ["all"], "rule": "sparsity", "value": 0.8, "iterations": 2},
]
UNIT_MODEL = {"model": "lenet5-maxout", "options": {"width": 64}, "device": "cpu"}


def plan_for(model: str, layers: list[str], **more) -> dict:
    """A draft with one step for these layers."""
    step = {"layers": layers, "rule": "fraction", "value": 0.25, **more}
    return spec.parse({"model": model, "step": [step]}).model_dump(exclude_none=True)


def plan_of(steps: list[dict], **values) -> dict:
    """A draft with these steps."""
    return spec.parse({"step": steps, **values}).model_dump(exclude_none=True)


def plan_page(model: str, **session) -> AppTest:
    """The page Plan with a one-step draft for a model."""
    step = {"layers": ["all"], "rule": "fraction", "value": 0.2}
    draft = spec.parse({"model": model, "base": {"epochs": 0}, "step": [step]}).model_dump(exclude_none=True)
    return page("plan", draft=draft, **session)


def draft_from(run: Path, *steps: dict, **values) -> dict:
    """A draft with the spec of a run, other steps and no retraining."""
    asked = spec.load(run / "spec.toml").model_dump(exclude_none=True)
    steps = [Step(**step).model_dump() for step in steps]
    return {**asked, "retrain": {**asked["retrain"], "epochs": 0}, **values, "step": steps}


def plan_from(run: Path, *steps: dict, **values) -> AppTest:
    """The page Plan with such a draft and the run selected."""
    return page("plan", run=run.name, draft=draft_from(run, *steps, **values))


def choose_goal(app: AppTest, kind: str, number: float | None = None) -> AppTest:
    """Choose what the plan should reach on the page Plan: a kind of `dashboard.plan.goal`, and its value."""
    segmented(app, "Make it").set_value(kind).run()
    if number is not None and kind in (goal.ABOVE, goal.WORSE):
        next(field for field in app.number_input if field.label == "X, %").set_value(number).run()
    elif number is not None:
        next(slider for slider in app.select_slider if slider.label == f"How many times {kind}").set_value(number).run()
    assert not app.exception, app.exception
    return app


def unit_draft(steps: list[dict] = UNIT_STEPS, **values) -> dict:
    return spec.parse({**UNIT_MODEL, **values, "step": steps}).model_dump(exclude_none=True)


def offered_rules(app: AppTest) -> list[str]:
    """The labels of the rules that a step can have."""
    return list(segmented(app, "Rule to remove neurons").options)
