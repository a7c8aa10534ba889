"""The display names of the criteria that rank neurons."""

from dashboard import glossary
from trimcore.spec import IN_UNITS, WEIGHT_RULES, Spec
from trimcore.spec.spec import CLASSIFICATION

NAMES = {
    "apoz": "APoZ", "l1": "L1", "l2": "L2", "mean-activation": "mean activation", "taylor": "Taylor",
    "random": "random", "relevance": "relevance", "magnitude": "magnitude",
}  # fmt: skip
LABELS = {
    "apoz": "APoZ (as in the paper)", "l1": "L1 norm of weights", "l2": "L2 norm of weights",
    "mean-activation": "mean activation", "taylor": "Taylor (loss change)", "random": "random (control)",
    "relevance": "relevance", "magnitude": "magnitude of weights",
}  # fmt: skip
HELP = glossary.bullets("APoZ", "L1", "L2", "mean activation", "Taylor", "random")
HELP_IN_UNITS = glossary.bullets("relevance", "L1", "L2", "random")


def criteria_for(rule: str, task: str = CLASSIFICATION) -> list[str]:
    """The criteria that a rule can use, its default first. Taylor needs the labels of a classification."""
    if rule in WEIGHT_RULES:
        return ["magnitude"]
    if rule == "maxout":
        return list(IN_UNITS)
    needs = () if task == CLASSIFICATION else ("taylor",)
    return [name for name in NAMES if name not in ("relevance", "magnitude", *needs)]


def criteria_text(asked: Spec) -> str:
    """The criteria of a spec's steps as text; "" without a step."""
    return ", ".join(dict.fromkeys(NAMES[step.criterion] for step in asked.step))
