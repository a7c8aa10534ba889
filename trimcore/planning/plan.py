"""A plan: which neurons to remove from each layer, and by which rule. Pure functions; nothing is cut here."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from trimcore.errors import SpecError
from trimcore.planning.choice import choose, choose_in_units
from trimcore.scoring.apoz import Profile
from trimcore.scoring.relevance import UnitRelevance
from trimcore.spec.rules import MeanPlusStd, Rule, rule_name

PAPER = MeanPlusStd(1.0)


@dataclass(frozen=True)
class LayerPlan:
    """The neurons to remove from one layer, the rule, and the threshold (None for a rule that counts or "manual")."""

    cut: tuple[int, ...]
    rule: str = "manual"
    threshold: float | None = None


@dataclass(frozen=True)
class Plan(Mapping[str, tuple[int, ...]]):
    """A mapping: layer -> neurons to remove. `layers` also has the rules. A layer may have nothing to remove."""

    layers: dict[str, LayerPlan] = field(default_factory=dict)

    def __getitem__(self, layer: str) -> tuple[int, ...]:
        return self.layers[layer].cut

    def __iter__(self) -> Iterator[str]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    @property
    def within(self) -> frozenset[str]:
        """The layers whose neurons are removed within their maxout units."""
        return frozenset(name for name, layer in self.layers.items() if layer.rule == "maxout")

    def __or__(self, other: "Plan") -> "Plan":
        """Both plans combined; for a layer in both, the second plan counts."""
        return Plan({**self.layers, **other.layers})

    @property
    def total(self) -> int:
        """The number of neurons to remove."""
        return sum(len(layer.cut) for layer in self.layers.values())

    def adding(self, layer: str, neurons: Iterable[int]) -> "Plan":
        """The plan with these neurons of a layer removed as well."""
        return self._with(layer, set(self.layers.get(layer, LayerPlan(())).cut) | set(neurons))

    def sparing(self, layer: str, neurons: Iterable[int]) -> "Plan":
        """The plan with these neurons of a layer kept, overriding the rule."""
        return self._with(layer, set(self.layers.get(layer, LayerPlan(())).cut) - set(neurons))

    def only(self, neurons: Mapping[str, Iterable[int]]) -> "Plan":
        """The plan with exactly these neurons of each layer. Rules and thresholds are unchanged."""
        layers = {name: replace(layer, cut=tuple(sorted(neurons[name]))) for name, layer in self.layers.items()}
        return Plan(layers)

    def _with(self, layer: str, cut: set[int]) -> "Plan":
        old = self.layers.get(layer, LayerPlan(()))
        return Plan({**self.layers, layer: LayerPlan(tuple(sorted(cut)), old.rule, old.threshold)})


def plan(
    profile: Profile,
    rule: Rule | Mapping[str, Rule] = PAPER,
    layers: Iterable[str] | str = "all",
    scores: Mapping[str, Tensor] | None = None,
) -> Plan:
    """Apply a rule (or one per layer) to the profiled layers.

    `scores` replaces APoZ as the ranking, see `criteria.scores`. Raises SpecError for a layer that was not profiled.
    """
    names = list(profile.layers) if layers == "all" else [layers] if isinstance(layers, str) else list(layers)
    chosen = {}
    for name in names:
        if name not in profile.layers:
            raise SpecError(f"unknown or untrimmable layer {name!r}; trimmable are {', '.join(profile.layers)}")
        layer_rule = rule[name] if isinstance(rule, Mapping) else rule
        ranking = profile[name].apoz if scores is None else scores[name]
        cut, threshold = choose(torch.as_tensor(ranking), layer_rule, profile[name].candidates, profile[name].groups)
        chosen[name] = LayerPlan(tuple(cut), rule_name(layer_rule), threshold)
    return Plan(chosen)


def plan_within_units(
    units: Mapping[str, UnitRelevance],
    count: int = 1,
    layers: Iterable[str] | str = "all",
    scores: Mapping[str, Tensor] | None = None,
) -> Plan:
    """Remove the `count` least relevant neurons of every maxout unit in the layers (Rueda et al. 2017, section 3).

    `scores`, (width,) by layer, replaces relevance as the ranking; the highest scores are removed first. Raises
    SpecError for a layer without units.
    """
    names = list(units) if layers == "all" else [layers] if isinstance(layers, str) else list(layers)
    chosen = {}
    for name in names:
        if name not in units:
            known = ", ".join(units) or "none"
            raise SpecError(f"layer {name!r} has no maxout units; layers with units: {known}")
        ranking = -units[name].relevance.flatten() if scores is None else scores[name]
        chosen[name] = LayerPlan(tuple(choose_in_units(ranking, units[name].k, count)), "maxout")
    return Plan(chosen)
