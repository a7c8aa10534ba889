"""Which neurons of one layer a rule removes, from their scores. A higher score means more redundant."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from trimcore.errors import SpecError
from trimcore.spec.rules import Absolute, Count, Fraction, Keep, LeastRelevant, MeanPlusStd, Rule, TimesSmaller


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
        threshold = _threshold(rule, pooled[group])
        going = ranked[pooled[ranked] > threshold]
    else:
        threshold, going = None, ranked[sizes[ranked].cumsum(0) <= _count(rule, width)]
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


def _threshold(rule: MeanPlusStd | Absolute, scores: Tensor) -> float:
    if isinstance(rule, Absolute):
        return rule.value
    rounding = 1e-12 * scores.abs().max()  # equal scores are not above their own mean
    return float(scores.mean() + rule.value * scores.std(correction=0) + rounding)


def _count(rule: Fraction | Count | Keep, width: int) -> int:
    if isinstance(rule, Fraction):
        return math.floor(rule.value * width + 1e-9)
    return int(rule.value) if isinstance(rule, Count) else width - int(rule.value)
