"""The settings of a draft that a sweep can vary, with the values to begin with. Pure functions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dashboard.widgets import criteria, rules
from trimcore.errors import SpecError
from trimcore.planning import orders
from trimcore.spec import WEIGHT_RULES
from trimcore.spec.rules import INTEGER_RULES
from trimcore.spec.spec import CLASSIFICATION
from trimcore.spec.sweep import ORDER, WHOLE_STEP

MOST_LAYERS = 12  # with more layers, an order would retrain too often


@dataclass(frozen=True)
class Setting:
    """A setting as the page shows it. `values` are those to begin with; `choices` has all of them by their label, if
    they are not numbers. `whole`: the numbers are integers."""

    key: str
    label: str
    values: Sequence[Any]
    whole: bool = False
    choices: Mapping[str, Any] = field(default_factory=dict)


def settings_of(draft: dict[str, Any], layers: Sequence[str], trains_base: bool) -> list[Setting]:
    """The settings that a sweep of this draft can vary. `layers` are those that steps for all layers cut."""
    steps, classes = draft["step"], draft.get("task", CLASSIFICATION) == CLASSIFICATION
    retrain, base = draft["retrain"], draft["base"]
    found: list[Setting | None] = [_value(step, number, len(steps)) for number, step in enumerate(steps)]
    if steps:
        found += [
            _criterion(steps, draft.get("task", CLASSIFICATION)), _order(steps, layers),
            Setting("step.iterations", "Iterations of each step", _doubled(steps[0]["iterations"], 1), True),
            Setting("retrain.epochs", "Retraining epochs", _doubled(retrain["epochs"], 0), True),
            Setting("retrain.lr", "Learning rate of retraining", _doubled(retrain["lr"], 0.0)),
            Setting("distill.weight", "Distillation weight", [0.0, 0.5]) if classes else None,
        ]
    found.append(Setting("seed", "Seed", [draft["seed"] + number for number in range(3)], True))
    if trains_base:
        found += [Setting("base.epochs", "Base epochs", _doubled(base["epochs"], 0), True),
                  Setting("base.lr", "Base learning rate", _doubled(base["lr"], 0.0))]  # fmt: skip
    return [setting for setting in found if setting]


def parse_values(setting: Setting, text: str) -> list[Any]:
    """The numbers in a field: `1, 1.5, 2`. Raises SpecError."""
    parts = text.replace(",", " ").replace(";", " ").split()
    try:
        return [int(part) if setting.whole else float(part) for part in parts]
    except ValueError:
        kind = "whole numbers" if setting.whole else "numbers"
        raise SpecError(f"{setting.label}: the values are {kind} such as {values_text(setting.values)}, not {text!r}"
                        ) from None  # fmt: skip


def values_text(values: Sequence[Any]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def with_layers(draft: dict[str, Any], keys: Sequence[str], layers: Sequence[str]) -> dict[str, Any]:
    """The draft as a sweep over these keys needs it: for an order, the steps name their layers."""
    if ORDER not in keys:
        return draft
    named = [{**step, "layers": list(layers)} if step["layers"] == ["all"] else step for step in draft["step"]]
    return {**draft, "step": named}


def _value(step: dict[str, Any], number: int, steps: int) -> Setting:
    rule = step["rule"]
    low, high, unit, _ = rules.RANGES[rule]
    whole, value = rule in INTEGER_RULES, step["value"]
    if whole:
        values = _doubled(int(value), int(low))
    else:
        apart = 5 * unit if rule in ("mean+std", "smaller") else 2 * unit
        values = [round(min(max(value + apart * side, low), high), 6) for side in (-1, 0, 1)]
    where = f"of step {number + 1}" if steps > 1 else "of the rule"
    return Setting(f"step.{number}.value", f"Value {where}: {rules.label(rule)}", list(dict.fromkeys(values)), whole)


def _criterion(steps: list[dict[str, Any]], task: str) -> Setting | None:
    """For steps that can all use the same criteria."""
    known = [criteria.criteria_for(step["rule"], task) for step in steps]
    fixed = any(step["rule"] == "absolute" for step in steps)
    if fixed or len(known[0]) < 2 or any(own != known[0] for own in known):
        return None
    choices = {criteria.NAMES[name]: name for name in known[0]}
    return Setting("step.criterion", "Criterion", list(choices)[:2], choices=choices)


def _order(steps: list[dict[str, Any]], layers: Sequence[str]) -> Setting | None:
    """For steps that cut neurons, each layer in one step and by a rule of its own."""
    named = [name for step in steps for name in (layers if step["layers"] == ["all"] else step["layers"])]
    together = any(step["rule"] in (*WHOLE_STEP, *WEIGHT_RULES) for step in steps)
    if together or not 2 <= len(named) <= MOST_LAYERS or len(set(named)) < len(named) or not set(named) <= set(layers):
        return None
    forward = sorted(named, key=list(layers).index)
    backward = [name for group in orders.output_to_input(forward, {}, {}) for name in group]
    choices = {"as planned": named, "input to output": forward, "output to input": backward}
    distinct: dict[str, Any] = {}
    for label, value in choices.items():
        if value not in distinct.values():
            distinct[label] = value
    return Setting(ORDER, "Order of the layers", list(distinct), choices=distinct)


def _doubled(value: Any, least: Any) -> list[Any]:
    """Half, once and twice the value."""
    half = value // 2 if isinstance(value, int) else value / 2
    return list(dict.fromkeys(max(least, one) for one in (half, value, 2 * value or 1)))
