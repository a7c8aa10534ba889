"""Replace the steps of the plan from any page."""

from typing import Any

from dashboard.session import drafts, navigation
from dashboard.widgets import criteria
from dashboard.widgets.sortable import reset_order
from trimcore.spec import WEIGHT_RULES, Step


def set_steps(draft: dict[str, Any], steps: list[dict[str, Any]]) -> None:
    """Replace all steps; for callbacks."""
    draft["step"] = steps
    reset_order("steps")


def plan_with(run_id: str, rule: str, value: float) -> None:
    """Apply one rule to the plan for the run's network, and open Plan; for a button's callback."""
    if not drafts.run_matches(run_id, drafts.draft()):
        drafts.adopt(run_id)
    steps = [_by_rule(step, rule, value) for step in drafts.draft()["step"]]
    set_steps(drafts.draft(), steps)
    navigation.go_to("plan")


def _by_rule(step: dict[str, Any], rule: str, value: float) -> dict[str, Any]:
    """A step with another rule. Layers whose maxout units are pruned keep their rule, and a step that prunes weights is
    returned unchanged."""
    if step["rule"] in WEIGHT_RULES:
        return step
    known = criteria.criteria_for(rule)
    criterion = step["criterion"] if step["criterion"] in known else known[0]
    inside = {name: own for name, own in step["layer"].items() if own["rule"] == "maxout"}
    return {**step, "rule": rule, "value": value, "layer": inside, "criterion": criterion}


def plan_units(run_id: str, layers: list[str], k: int) -> None:
    """Plan to remove the least relevant neuron of each unit until one is left, and open Plan; for a button's callback.
    This takes k - 1 iterations (Rueda et al. 2017)."""
    if not drafts.run_matches(run_id, drafts.draft()):
        drafts.adopt(run_id)
    set_steps(drafts.draft(), [Step(layers=layers, rule="maxout", value=1, iterations=k - 1).model_dump()])
    navigation.go_to("plan")
