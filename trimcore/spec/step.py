"""The spec section [[step]]: iterations that apply one rule to some layers."""

from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from trimcore.errors import SpecError
from trimcore.spec.rules import (
    IN_UNITS,
    WEIGHT_RULES,
    CriterionName,
    RuleName,
    check_weight_rule,
    default_criterion,
    make_rule,
)
from trimcore.spec.section import Section
from trimcore.spec.training import StepRetrain

Neurons = dict[str, list[Annotated[int, Field(ge=0)]]]


class LayerRule(Section):
    """A rule for a single layer. The default criterion is the step's, or else the rule's own."""

    rule: RuleName = "mean+std"
    value: float = 1.0
    criterion: CriterionName | None = None

    @model_validator(mode="after")
    def _in_range(self) -> Self:
        (check_weight_rule if self.rule in WEIGHT_RULES else make_rule)(self.rule, self.value)
        return self


class Step(LayerRule):
    """Iterations that apply one rule to some layers. `layer` overrides the rule for single layers.

    `also_cut` and `never_cut` list neurons by their index in the base model. The default criterion is relevance for the
    rule `maxout`, magnitude for the rules in WEIGHT_RULES, which hold weights at zero instead of cutting neurons, and
    APoZ for all others. Remaining widths are rounded up to a `multiple` (see `planning.rounding`). `retrain` overrides
    `[retrain]` after this step's cuts, for example to retrain longer after the last one.
    """

    layers: Annotated[list[str], Field(min_length=1)]
    iterations: Annotated[int, Field(ge=1, le=1000)] = 1
    criterion: CriterionName = "apoz"
    multiple: Annotated[int, Field(ge=1, le=1024)] = 1
    layer: dict[str, LayerRule] = {}
    also_cut: Neurons = {}
    never_cut: Neurons = {}
    retrain: StepRetrain | None = None

    @model_validator(mode="before")
    @classmethod
    def _named_criterion(cls, values: Any) -> Any:
        if isinstance(values, dict) and "criterion" not in values:
            return {**values, "criterion": default_criterion(values.get("rule"))}
        return values

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        rules: list[tuple[str, LayerRule]] = [*self.layer.items(), ("the step", self)]
        for name, own in rules:
            if (own.rule in WEIGHT_RULES) != self.weights:
                raise SpecError(f"a step cuts neurons or prunes weights, not both: move rule {own.rule!r} ({name}) to "
                                "another step")  # fmt: skip
            self._check_criterion(name, own)
            for rule in ("sparsity-overall", "smaller"):
                if rule in (own.rule, self.rule) and own.rule != self.rule:
                    raise SpecError(f"rule {rule!r} applies to all layers of a step, but {name} has rule {own.rule!r}")
            if own.rule == "smaller" and own.value != self.value:
                raise SpecError(f"rule 'smaller' takes one value for all layers, but {name} has {own.value:g}")
        if self.multiple > 1 and self.rule in ("maxout", *WEIGHT_RULES):
            raise SpecError(f"multiple = {self.multiple}: rule {self.rule!r} has no widths to round")
        for key, neurons in (("also_cut", self.also_cut), ("never_cut", self.never_cut)):
            if other := [name for name in neurons if self.rule_for(name).rule in ("maxout", *WEIGHT_RULES)]:
                rule = self.rule_for(other[0]).rule
                raise SpecError(f"{key} lists neurons of {other[0]!r}, but rule {rule!r} does not support it")
        for key, names in (("layer", self.layer), ("also_cut", self.also_cut), ("never_cut", self.never_cut)):
            if self.layers != ["all"] and (extra := [n for n in names if n not in self.layers]):
                raise SpecError(f"step.{key} names layer {extra[0]!r}, which is not in the step's layers")
        return self

    @property
    def weights(self) -> bool:
        """Whether the step prunes weights instead of neurons."""
        return self.rule in WEIGHT_RULES

    def rule_for(self, layer: str) -> LayerRule:
        """The rule of a layer: its own, or the step's."""
        return self.layer.get(layer, self)

    def criterion_for(self, layer: str) -> CriterionName:
        """A layer's ranking criterion: its own, the step's if it suits the rule, or the rule's default."""
        own = self.rule_for(layer)
        if own.criterion:
            return own.criterion
        fits = self.criterion in IN_UNITS if own.rule == "maxout" else self.criterion != "relevance"
        return self.criterion if fits else default_criterion(own.rule)

    @property
    def criteria(self) -> set[CriterionName]:
        """All criteria that the step ranks by."""
        return {self.criterion_for(name) for name in (*self.layers, *self.layer)}

    def _check_criterion(self, name: str, own: LayerRule) -> None:
        criterion = own.criterion or self.criterion_for(name)
        if own.rule == "absolute" and criterion != "apoz":
            raise SpecError(f"rule 'absolute' ({name}) is only for APoZ; criterion {criterion!r} needs another rule")
        if own.rule == "maxout" and criterion not in IN_UNITS:
            raise SpecError(f"rule 'maxout' ({name}) ranks by {', '.join(IN_UNITS)}, not by {criterion!r}")
        if own.rule != "maxout" and criterion == "relevance":
            raise SpecError(f"criterion 'relevance' ({name}) ranks neurons within maxout units: it needs rule 'maxout'")
        if (own.rule in WEIGHT_RULES) != (criterion == "magnitude"):
            raise SpecError(f"rule {own.rule!r} ({name}) cannot rank by {criterion!r}")
