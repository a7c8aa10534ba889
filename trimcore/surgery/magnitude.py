"""Prune weights by magnitude (Han et al. 2015, arXiv 1506.02626): set small weights to zero and keep them at zero.

Only the weights of linear layers and convolutions are pruned, never biases or normalisation. Shapes do not change.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor, nn

from trimcore.errors import SpecError, TrimError

QUALITY, SPARSITY, OVERALL = RULES = ("quality", "sparsity", "sparsity-overall")


@dataclass(frozen=True)
class WeightCut:
    """The effect of pruning on one layer: `zeros` of its `weights` are zero, and this pruning set `newly` of them.
    `threshold` is value * standard deviation, or the largest magnitude that was pruned (0 if none was)."""

    rule: str
    value: float
    threshold: float
    weights: int
    zeros: int
    newly: int


def check_value(rule: str, value: float) -> None:
    """Raise SpecError for an unknown rule or a value out of range.

    quality: removes weights up to `value` standard deviations. sparsity: the fraction of zeros in each layer.
    sparsity-overall: the fraction of zeros across all weights of the layers, with one shared threshold.
    """
    if rule not in RULES:
        raise SpecError(f"unknown weight rule {rule!r}; expected one of {', '.join(RULES)}")
    if rule == QUALITY and not 0 < value < math.inf:
        raise SpecError(f"rule 'quality' takes a number of standard deviations above 0, not {value}")
    if rule != QUALITY and not 0 < value < 1:
        raise SpecError(f"rule {rule!r} takes a fraction of zeros between 0 and 1, not {value}")


def scheduled(rule: str, value: float, round: int, rounds: int) -> float:
    """The value for iteration `round` of `rounds`, counted from 1. The last iteration uses `value` itself.

    Sparsity rises quickly at first and slowly at the end (Zhu and Gupta 2017, arXiv 1710.01878, eq. 1, from 0). Quality
    rises linearly. Raises SpecError for a value or a round out of range.
    """
    check_value(rule, value)
    if not 1 <= round <= rounds:
        raise SpecError(f"iteration {round} does not exist; the step has iterations 1 to {rounds}")
    done = round / rounds
    if round == rounds:
        return value
    return float(f"{value * (done if rule == QUALITY else 1 - (1 - done) ** 3):.9g}")  # rounded for readability


def prunable(network: nn.Module) -> dict[str, nn.Parameter]:
    """The weight of each linear layer and convolution, by layer name, in network order.

    A weight shared by several layers appears once, under the first name. Parametrized weights are excluded: they are
    recomputed, so zeros would not persist.
    """
    found: dict[str, nn.Parameter] = {}
    for name, module in network.named_modules():
        if isinstance(module, nn.Linear | nn.modules.conv._ConvNd):
            weight = module._parameters.get("weight")
            if weight is not None and all(weight is not other for other in found.values()):
                found[name] = weight
    return found


def masks_of(network: nn.Module, layers: Iterable[str]) -> dict[str, Tensor]:
    """A bool mask of each layer's weight, True where it is nonzero. Raises SpecError for an unknown layer."""
    return {name: weight.detach() != 0 for name, weight in _weights(network, layers).items()}


def choose_weights(
    network: nn.Module, rules: Mapping[str, tuple[str, float]]
) -> tuple[dict[str, Tensor], dict[str, WeightCut]]:
    """Choose the weights to keep. `rules` maps each layer to (rule, value). Nothing is changed; see `hold`.

    Returns a mask per layer, in the shape of its weight and True for weights to keep, and the effect on each layer.
    Existing zeros stay zero and count towards the sparsity. A layer with more zeros than requested keeps them. For
    quality, zeros are excluded from the (population) standard deviation; otherwise, pruning again would lower the
    threshold. Sparsity is exactly floor(value * weights) zeros, with the value as written in decimal. The smallest
    magnitudes are pruned; on a tie, the first ones. The layers of sparsity-overall share one ranking, in network order.
    In each layer, the largest weight (on a tie, the last one) is always kept.

    The choice is made on the CPU, so it is the same for all devices. Raises SpecError for an unknown layer, a value out
    of range, or different values of sparsity-overall, and TrimError for weights that are not finite.
    """
    weights = _weights(network, rules)
    for rule, value in rules.values():
        check_value(rule, value)
    overall = [name for name in weights if rules[name][0] == OVERALL]
    if len(values := {rules[name][1] for name in overall}) > 1:
        raise SpecError(
            f"rule 'sparsity-overall' needs the same value for all layers, not {min(values)} and {max(values)}"
        )
    groups = [[name] for name in weights if name not in overall] + ([overall] if overall else [])
    masks, cuts = {}, {}
    for names in groups:
        rule, value = rules[names[0]]
        flat = [_flat(name, weights[name]) for name in names]
        if rule == QUALITY:
            threshold = value * _deviation(flat[0])
            magnitudes = _protect_largest(flat[0].abs())
            pruned = [(magnitudes <= threshold) & (magnitudes < math.inf)]
        else:
            ranked = torch.cat([_protect_largest(weight.abs()) for weight in flat])
            smallest, threshold = _smallest(ranked, math.floor(Fraction(str(float(value))) * len(ranked)))
            pruned = list(torch.split(smallest, [len(weight) for weight in flat]))
        for name, old, zero in zip(names, flat, pruned, strict=True):
            zeros = int(zero.sum())
            newly = zeros - (len(old) - int(old.count_nonzero()))
            cuts[name] = WeightCut(rule, value, threshold, len(old), zeros, newly)
            masks[name] = zero.logical_not().reshape(weights[name].shape).to(weights[name].device)
    return {name: masks[name] for name in weights}, {name: cuts[name] for name in weights}


def hold(network: nn.Module, masks: Mapping[str, Tensor]) -> Callable[[], None]:
    """Set the weights where the masks are False to zero, in place. Returns a function that does it again.

    Calling this function after every optimizer step keeps the weights at zero despite momentum and weight decay. The
    other weights train as if the pruned ones had no gradient. The masks follow the weights to another device. Raises
    SpecError for an unknown layer or a mask of the wrong shape.
    """
    held = _weights(network, masks)
    for name, weight in held.items():
        if masks[name].shape != weight.shape:
            have, want = tuple(masks[name].shape), tuple(weight.shape)
            raise SpecError(f"the mask of layer {name!r} has shape {have}, but its weight has shape {want}")
    weights: list[Tensor] = list(held.values())
    # Masks with the dtype and strides of the weights are three times as fast as bool masks.
    factors = [torch.empty_like(weight.detach()).copy_(masks[name]) for name, weight in held.items()]

    @torch.no_grad()
    def apply() -> None:
        factors[:] = [factor.to(weight) for factor, weight in zip(factors, weights, strict=True)]
        if weights:
            torch._foreach_mul_(weights, factors)

    apply()
    return apply


def _weights(network: nn.Module, layers: Iterable[str]) -> dict[str, nn.Parameter]:
    """The weights of the named layers, in network order."""
    known, wanted = prunable(network), list(layers)
    if unknown := [name for name in wanted if name not in known]:
        others = ", ".join(known) or "none"
        raise SpecError(f"layer {unknown[0]!r} has no weights to prune; layers with weights: {others}")
    return {name: weight for name, weight in known.items() if name in wanted}


def _flat(name: str, weight: Tensor) -> Tensor:
    """The weights of a layer on the CPU, in single precision or better. (weights,)"""
    flat = weight.detach().cpu().reshape(-1)
    if len(flat) and not flat.abs().max().isfinite():
        raise TrimError(f"layer {name!r} has weights that are NaN or infinite; they cannot be ranked")
    return flat.to(torch.promote_types(flat.dtype, torch.float32))


def _deviation(flat: Tensor) -> float:
    """The standard deviation of the nonzero weights, or 0 if there are none."""
    kept = flat[flat != 0].double()
    return float(kept.std(correction=0)) if len(kept) else 0.0


def _protect_largest(magnitudes: Tensor) -> Tensor:
    """Set the largest magnitude (on a tie, the last one) to infinity, in place, unless all are zero."""
    if len(magnitudes) and (largest := magnitudes.max()) > 0:
        magnitudes[(magnitudes == largest).nonzero()[-1]] = math.inf
    return magnitudes


def _smallest(magnitudes: Tensor, count: int) -> tuple[Tensor, float]:
    """A mask of the `count` smallest magnitudes (on a tie, the first ones), and the largest of them.

    The mask includes all zeros, even if there are more than `count`, and no infinite magnitudes.
    """
    count = min(count, int((magnitudes < math.inf).sum()))
    if count <= len(magnitudes) - int(magnitudes.count_nonzero()):
        return magnitudes == 0, 0.0
    limit = np.partition(magnitudes.numpy(), count - 1)[count - 1].item()
    smallest = magnitudes < limit
    equal = (magnitudes == limit).nonzero().view(-1)
    smallest[equal[: count - int(smallest.sum())]] = True
    return smallest, limit
