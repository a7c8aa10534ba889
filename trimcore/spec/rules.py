"""The rules and criteria that a step can name, and their valid values. `planning` applies them."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from trimcore.errors import SpecError

NEURON_RULES = ("mean+std", "absolute", "fraction", "count", "keep", "maxout", "smaller")
WEIGHT_RULES = QUALITY, SPARSITY, OVERALL = ("quality", "sparsity", "sparsity-overall")
RuleName = Literal[
    "mean+std", "absolute", "fraction", "count", "keep", "maxout", "smaller", "quality", "sparsity", "sparsity-overall"
]
CriterionName = Literal["apoz", "l1", "l2", "mean-activation", "taylor", "random", "relevance", "magnitude"]
IN_UNITS = ("relevance", "l1", "l2", "random")  # criteria that rank the neurons of a maxout unit


@dataclass(frozen=True)
class MeanPlusStd:
    """Removes neurons above the layer's mean plus `value` population standard deviations. The paper uses 1."""

    value: float = 1.0


@dataclass(frozen=True)
class Absolute:
    """Removes neurons whose APoZ is above `value` (0 to 1)."""

    value: float


@dataclass(frozen=True)
class Fraction:
    """Removes the `value` * width neurons with the highest scores, rounded down."""

    value: float


@dataclass(frozen=True)
class Count:
    """Removes the `value` neurons with the highest scores."""

    value: int


@dataclass(frozen=True)
class Keep:
    """Keeps only the `value` neurons with the lowest scores."""

    value: int


@dataclass(frozen=True)
class LeastRelevant:
    """Removes the `value` least relevant neurons of every maxout unit, but never the last one. Rueda et al. 2017 remove
    one."""

    value: int = 1


@dataclass(frozen=True)
class TimesSmaller:
    """Removes neurons across all layers until the network has `value` times fewer parameters (see
    `planning.ranking.times_smaller`)."""

    value: float


Rule = MeanPlusStd | Absolute | Fraction | Count | Keep | LeastRelevant | TimesSmaller
RULES: dict[str, Callable[[Any], Rule]] = {
    "mean+std": MeanPlusStd, "absolute": Absolute, "fraction": Fraction, "count": Count, "keep": Keep,
    "maxout": LeastRelevant, "smaller": TimesSmaller,
}  # fmt: skip
INTEGER_RULES = {"count": 0, "keep": 1, "maxout": 1}  # rules with an integer value, and its minimum


def make_rule(name: str, value: float) -> Rule:
    """The rule with that name. Raises SpecError for an unknown name or a value out of range.

    >>> make_rule("fraction", 0.25)
    Fraction(value=0.25)
    """
    if name not in RULES:
        raise SpecError(f"unknown rule {name!r}; expected one of {', '.join(RULES)}")
    if not math.isfinite(value):
        raise SpecError(f"rule {name!r} takes a finite value, not {value}")
    if name in ("absolute", "fraction") and not 0 <= value <= 1:
        raise SpecError(f"rule {name!r} takes a value from 0 to 1, not {value}")
    if name == "smaller" and not 1 < value <= 1_000_000:
        raise SpecError(f"rule 'smaller' takes a factor above 1 and up to 1,000,000, not {value}")
    if name in INTEGER_RULES and (value != int(value) or value < INTEGER_RULES[name]):
        raise SpecError(f"rule {name!r} takes an integer of at least {INTEGER_RULES[name]}, not {value}")
    return RULES[name](int(value) if name in INTEGER_RULES else float(value))


def rule_name(rule: Rule) -> str:
    """A rule's name in a spec."""
    return next(name for name, kind in RULES.items() if kind is type(rule))


def check_weight_rule(rule: str, value: float) -> None:
    """Raise SpecError for an unknown weight rule or a value out of range.

    quality: removes weights up to `value` standard deviations. sparsity: the fraction of zeros in each layer.
    sparsity-overall: the fraction of zeros across all weights of the layers, with one shared threshold.
    """
    if rule not in WEIGHT_RULES:
        raise SpecError(f"unknown weight rule {rule!r}; expected one of {', '.join(WEIGHT_RULES)}")
    if rule == QUALITY and not 0 < value < math.inf:
        raise SpecError(f"rule 'quality' takes a number of standard deviations above 0, not {value}")
    if rule != QUALITY and not 0 < value < 1:
        raise SpecError(f"rule {rule!r} takes a fraction of zeros between 0 and 1, not {value}")


def default_criterion(rule: str | None) -> CriterionName:
    """A rule's criterion unless the step names one."""
    return "relevance" if rule == "maxout" else "magnitude" if rule in WEIGHT_RULES else "apoz"
