"""Apply a rule to the scores of one layer's neurons. A higher score means more redundant."""

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

    scores (width,). Ties go to the lower index. Neurons outside `candidates` stay, and so do those whose score is not a
    number: they have no activation to count. Neurons with the same number in
    `groups` (width,) are only removed together: each group gets the mean of its scores, and a rule that counts removes
    fewer neurons rather than exceed its count. At least one neuron (or group) stays: the one with the lowest score (on
    a tie, the one with the highest index). Raises SpecError for the rule `maxout`, which works on one unit at a time
    (see `choose_in_units`), and for `smaller`, which works on all layers.
    """
    if isinstance(rule, LeastRelevant):
        raise SpecError("rule 'maxout' chooses within maxout units, not among all neurons of a layer")
    if isinstance(rule, TimesSmaller):
        raise SpecError("rule 'smaller' chooses among the neurons of all layers, not of one")
    width = len(scores)
    group = torch.arange(width) if groups is None else _renumbered(groups)
    sizes = group.bincount()
    pooled = torch.zeros(len(sizes), dtype=torch.float64).index_add_(0, group, scores.double().cpu()) / sizes
    fixed = pooled.isnan()
    if candidates is not None:
        excluded = torch.ones(width, dtype=torch.bool)
        excluded[list(candidates)] = False
        fixed[group[excluded]] = True
    ranked = pooled.nan_to_num(-math.inf).argsort(descending=True, stable=True)
    ranked = ranked[~fixed[ranked]]
    if isinstance(rule, MeanPlusStd | Absolute):
        threshold = _threshold(rule, pooled[group])
        removed = ranked[pooled[ranked] > threshold]
    else:
        threshold, removed = None, ranked[sizes[ranked].cumsum(0) <= _count(rule, width)]
    if len(removed) == len(sizes):
        removed = removed[:-1]
    mask = torch.zeros(len(sizes), dtype=torch.bool)
    mask[removed] = True
    return mask[group].nonzero().flatten().tolist(), threshold


def _renumbered(groups: Tensor) -> Tensor:
    """The same groups, numbered from 0 in order of first appearance. (width,)"""
    values, group = torch.unique(groups.cpu(), return_inverse=True)
    first = torch.full((len(values),), len(groups)).scatter_reduce(0, group, torch.arange(len(groups)), "amin")
    return first.argsort().argsort()[group]


def choose_in_units(scores: Tensor, k: int, count: int = 1) -> list[int]:
    """The `count` neurons with the highest scores in every maxout unit, ascending; at least one per unit stays.

    scores (units * k,): neurons u * k to u * k + k - 1 belong to unit u. Ties go to the lower index.
    """
    ranked = scores.view(-1, k).argsort(dim=1, descending=True, stable=True)[:, : min(count, k - 1)]
    return (ranked + torch.arange(0, len(scores), k)[:, None]).flatten().sort().values.tolist()


def _threshold(rule: MeanPlusStd | Absolute, scores: Tensor) -> float:
    if isinstance(rule, Absolute):
        return rule.value
    scores = scores[~scores.isnan()]
    if not len(scores):
        return math.nan
    rounding = 1e-12 * scores.abs().max()  # keeps equal scores from exceeding their own mean
    return float(scores.mean() + rule.value * scores.std(correction=0) + rounding)


def _count(rule: Fraction | Count | Keep, width: int) -> int:
    if isinstance(rule, Fraction):
        return math.floor(rule.value * width + 1e-9)
    return int(rule.value) if isinstance(rule, Count) else width - int(rule.value)
