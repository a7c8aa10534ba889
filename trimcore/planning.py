"""Which neurons go: rules that turn scores into a plan. Pure functions; nothing is cut here."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from trimcore.apoz import Profile
from trimcore.errors import SpecError
from trimcore.maxima import UnitRelevance

# --- rules: score (higher = more redundant) -> how many of the ranked neurons go ---


@dataclass(frozen=True)
class MeanPlusStd:
    """Neurons above the layer's mean plus `value` standard deviations (of the population); the paper has 1."""

    value: float = 1.0

    def threshold(self, scores: Tensor) -> float:
        scores = scores.double()
        rounding = 1e-12 * scores.abs().max()  # equal scores are not above their own mean
        return float(scores.mean() + self.value * scores.std(correction=0) + rounding)


@dataclass(frozen=True)
class Absolute:
    """Neurons whose APoZ is above `value`, 0..1."""

    value: float

    def threshold(self, scores: Tensor) -> float:
        return self.value


@dataclass(frozen=True)
class Fraction:
    """The `value` * width highest, rounded down."""

    value: float

    def count(self, width: int) -> int:
        return math.floor(self.value * width + 1e-9)


@dataclass(frozen=True)
class Count:
    """The `value` neurons with the highest scores."""

    value: int

    def count(self, width: int) -> int:
        return int(self.value)


@dataclass(frozen=True)
class Keep:
    """Only the `value` lowest stay."""

    value: int

    def count(self, width: int) -> int:
        return width - int(self.value)


@dataclass(frozen=True)
class LeastRelevant:
    """Of every maxout unit the `value` neurons of least relevance (Rueda et al. 2017 take one); one always stays."""

    value: int = 1


@dataclass(frozen=True)
class TimesSmaller:
    """Of all layers together as many as it takes for the network to have `value` times fewer parameters, see
    `removals.times_smaller`."""

    value: float


Rule = MeanPlusStd | Absolute | Fraction | Count | Keep | LeastRelevant | TimesSmaller
RULES: dict[str, Callable[[Any], Rule]] = {
    "mean+std": MeanPlusStd, "absolute": Absolute, "fraction": Fraction, "count": Count, "keep": Keep,
    "maxout": LeastRelevant, "smaller": TimesSmaller,
}  # fmt: skip
COUNTED = {"count": 0, "keep": 1, "maxout": 1}  # rules whose value is a whole number, and the least that it can be


def make_rule(name: str, value: float) -> Rule:
    """The rule of that name. Raises SpecError for an unknown name or a value out of range.

    >>> make_rule("fraction", 0.25)
    Fraction(value=0.25)
    """
    if name not in RULES:
        raise SpecError(f"unknown rule {name!r}; there are {', '.join(RULES)}")
    if not math.isfinite(value):
        raise SpecError(f"the value of rule {name!r} must be a number, not {value}")
    if name in ("absolute", "fraction") and not 0 <= value <= 1:
        raise SpecError(f"rule {name!r} takes a value from 0 to 1, not {value}")
    if name == "smaller" and not 1 < value <= 1_000_000:
        raise SpecError(f"rule 'smaller' takes a number above 1, so many times fewer parameters, not {value}")
    if name in COUNTED and (value != int(value) or value < COUNTED[name]):
        raise SpecError(f"rule {name!r} takes a whole number of at least {COUNTED[name]}, not {value}")
    return RULES[name](int(value) if name in COUNTED else float(value))


def rule_name(rule: Rule) -> str:
    return next(name for name, kind in RULES.items() if kind is type(rule))


def choose(
    scores: Tensor, rule: Rule, candidates: Iterable[int] | None = None, groups: Tensor | None = None
) -> tuple[list[int], float | None]:
    """The neurons that a rule removes from one layer, ascending, and the threshold (None for rules that count).

    scores (width,). Of equal scores the lower index goes first. Neurons outside `candidates` stay. Neurons with the
    same number in `groups` (width,) only go together: they have the mean of their scores, and a rule that counts never
    takes more than it says, but rather fewer. At least one neuron (or group) stays: should all have to go, the one with
    the lowest score (of these the highest index) is spared. Raises SpecError for the rule `maxout`, which looks at one
    unit at a time (see `choose_in_units`), and for `smaller`, which looks at all layers.
    """
    if isinstance(rule, LeastRelevant):
        raise SpecError("rule 'maxout' chooses within maxout units, not among all neurons of a layer")
    if isinstance(rule, TimesSmaller):
        raise SpecError("rule 'smaller' chooses among the neurons of all layers, not of one")
    width = len(scores)
    group = torch.arange(width) if groups is None else _numbered_by_their_first(groups)
    sizes = group.bincount()
    pooled = torch.zeros(len(sizes), dtype=torch.float64).index_add_(0, group, scores.double().cpu()) / sizes
    held = torch.zeros(len(sizes), dtype=torch.bool)
    if candidates is not None:
        stays = torch.ones(width, dtype=torch.bool)
        stays[list(candidates)] = False
        held[group[stays]] = True
    ranked = pooled.argsort(descending=True, stable=True)
    ranked = ranked[~held[ranked]]
    if isinstance(rule, MeanPlusStd | Absolute):
        threshold = rule.threshold(pooled[group])
        going = ranked[pooled[ranked] > threshold]
    else:
        threshold, going = None, ranked[sizes[ranked].cumsum(0) <= rule.count(width)]
    if len(going) == len(sizes):
        going = going[:-1]
    goes = torch.zeros(len(sizes), dtype=torch.bool)
    goes[going] = True
    return goes[group].nonzero().flatten().tolist(), threshold


def _numbered_by_their_first(groups: Tensor) -> Tensor:
    """The same groups, counted from 0 in the order in which they appear. (width,)"""
    values, group = torch.unique(groups.cpu(), return_inverse=True)
    first = torch.full((len(values),), len(groups)).scatter_reduce(0, group, torch.arange(len(groups)), "amin")
    return first.argsort().argsort()[group]


def choose_in_units(scores: Tensor, k: int, count: int = 1) -> list[int]:
    """Of every maxout unit the `count` neurons with the highest scores, ascending; one stays.

    scores (units * k,), neurons u * k to u * k + k - 1 being those of unit u. Of equal scores the lower index goes.
    """
    ranked = scores.view(-1, k).argsort(dim=1, descending=True, stable=True)[:, : min(count, k - 1)]
    return (ranked + torch.arange(0, len(scores), k)[:, None]).flatten().sort().values.tolist()


# --- plans ---


@dataclass(frozen=True)
class LayerPlan:
    """What goes in one layer, and by which rule and threshold (None where the rule counts or the choice was manual)."""

    cut: tuple[int, ...]
    rule: str = "manual"
    threshold: float | None = None


@dataclass(frozen=True)
class Plan(Mapping[str, tuple[int, ...]]):
    """layer -> neurons that go, with the reasons in `layers`. Layers of which nothing goes may be there, empty."""

    layers: dict[str, LayerPlan] = field(default_factory=dict)

    def __getitem__(self, layer: str) -> tuple[int, ...]:
        return self.layers[layer].cut

    def __iter__(self) -> Iterator[str]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    @property
    def within(self) -> frozenset[str]:
        """The layers whose neurons go from within their maxout units."""
        return frozenset(name for name, layer in self.layers.items() if layer.rule == "maxout")

    def __or__(self, other: "Plan") -> "Plan":
        """Both plans in one; of a layer that both have, the second's."""
        return Plan({**self.layers, **other.layers})

    @property
    def total(self) -> int:
        """How many neurons go."""
        return sum(len(layer.cut) for layer in self.layers.values())

    def adding(self, layer: str, neurons: Iterable[int]) -> "Plan":
        """The plan with these neurons of a layer removed too."""
        return self._with(layer, set(self.layers.get(layer, LayerPlan(())).cut) | set(neurons))

    def sparing(self, layer: str, neurons: Iterable[int]) -> "Plan":
        """The plan with these neurons of a layer kept, whatever the rule says."""
        return self._with(layer, set(self.layers.get(layer, LayerPlan(())).cut) - set(neurons))

    def only(self, neurons: Mapping[str, Iterable[int]]) -> "Plan":
        """The plan with just these neurons of each layer, and the reasons as they were."""
        layers = {name: replace(layer, cut=tuple(sorted(neurons[name]))) for name, layer in self.layers.items()}
        return Plan(layers)

    def _with(self, layer: str, cut: set[int]) -> "Plan":
        old = self.layers.get(layer, LayerPlan(()))
        return Plan({**self.layers, layer: LayerPlan(tuple(sorted(cut)), old.rule, old.threshold)})


def plan(
    profile: Profile,
    rule: Rule | Mapping[str, Rule] = MeanPlusStd(1.0),
    layers: Iterable[str] | str = "all",
    scores: Mapping[str, Tensor] | None = None,
) -> Plan:
    """Apply a rule (or one for each layer) to the profiled layers.

    `scores` ranks by something else than APoZ, see `criteria.scores`. Raises SpecError for a layer that was not
    profiled.
    """
    names = list(profile.layers) if layers == "all" else [layers] if isinstance(layers, str) else list(layers)
    chosen = {}
    for name in names:
        if name not in profile.layers:
            raise SpecError(f"unknown or untrimmable layer {name!r}; there are {', '.join(profile.layers)}")
        own = rule[name] if isinstance(rule, Mapping) else rule
        ranking = profile[name].apoz if scores is None else scores[name]
        cut, threshold = choose(torch.as_tensor(ranking), own, profile[name].candidates, profile[name].groups)
        chosen[name] = LayerPlan(tuple(cut), rule_name(own), threshold)
    return Plan(chosen)


def plan_within_units(
    units: Mapping[str, UnitRelevance],
    count: int = 1,
    layers: Iterable[str] | str = "all",
    scores: Mapping[str, Tensor] | None = None,
) -> Plan:
    """The least relevant `count` neurons of every maxout unit of the layers (Rueda et al. 2017, section 3).

    `scores` (width,) by layer ranks by something else, higher scores going first. Raises SpecError for a layer without
    units.
    """
    names = list(units) if layers == "all" else [layers] if isinstance(layers, str) else list(layers)
    chosen = {}
    for name in names:
        if name not in units:
            raise SpecError(f"layer {name!r} has no maxout units with a maximum; {', '.join(units) or 'no layer'} has")
        ranking = -units[name].relevance.flatten() if scores is None else scores[name]
        chosen[name] = LayerPlan(tuple(choose_in_units(ranking, units[name].k, count)), "maxout")
    return Plan(chosen)
