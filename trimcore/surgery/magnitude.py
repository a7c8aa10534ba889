"""Weight pruning by magnitude (Han et al. 2015, arXiv 1506.02626): small weights are set to zero and held there.

Only the weights of linear layers and convolutions are pruned, never biases or normalisation. Shapes stay as they are.
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
    """What a pruning did to one layer: of its `weights`, `zeros` are zero now, `newly` of them since this pruning.
    Magnitudes up to `threshold` went: value * standard deviation, or the largest that went (0: none did)."""

    rule: str
    value: float
    threshold: float
    weights: int
    zeros: int
    newly: int


def check_value(rule: str, value: float) -> None:
    """Raises SpecError for an unknown rule or a value out of its range.

    quality: weights up to `value` standard deviations go. sparsity: the share of zeros that each layer gets.
    sparsity-overall: the share of zeros among all weights of the layers together, with one threshold for all.
    """
    if rule not in RULES:
        raise SpecError(f"unknown rule {rule!r} for weights; there are {', '.join(RULES)}")
    if rule == QUALITY and not 0 < value < math.inf:
        raise SpecError(f"rule 'quality' takes a number of standard deviations above 0, not {value}")
    if rule != QUALITY and not 0 < value < 1:
        raise SpecError(f"rule {rule!r} takes a share of zeros between 0 and 1, not {value}")


def scheduled(rule: str, value: float, round: int, rounds: int) -> float:
    """The value for iteration `round`, from 1, of `rounds`; that of the last one is `value` itself.

    Sparsity rises fast at first and slowly at the end (Zhu and Gupta 2017, arXiv 1710.01878, eq. 1, from 0); quality
    rises evenly. Raises SpecError for a value or a round out of range.
    """
    check_value(rule, value)
    if not 1 <= round <= rounds:
        raise SpecError(f"iteration {round} of a step with {rounds}: it is one from 1 to {rounds}")
    done = round / rounds
    if round == rounds:
        return value
    return float(f"{value * (done if rule == QUALITY else 1 - (1 - done) ** 3):.9g}")  # a number that people can read


def prunable(network: nn.Module) -> dict[str, nn.Parameter]:
    """Layer -> its weight, for linear layers and convolutions in the order of the network.

    A weight that two layers share is there once, under the first name. Weights that are computed from others
    (parametrizations) are not there: zeros would not stay.
    """
    found: dict[str, nn.Parameter] = {}
    for name, module in network.named_modules():
        if isinstance(module, nn.Linear | nn.modules.conv._ConvNd):
            weight = module._parameters.get("weight")
            if weight is not None and all(weight is not other for other in found.values()):
                found[name] = weight
    return found


def masks_of(network: nn.Module, layers: Iterable[str]) -> dict[str, Tensor]:
    """Layer -> bool mask of its weight, True where that is not zero. Raises SpecError for an unknown layer."""
    return {name: weight.detach() != 0 for name, weight in _weights(network, layers).items()}


def choose_weights(
    network: nn.Module, rules: Mapping[str, tuple[str, float]]
) -> tuple[dict[str, Tensor], dict[str, WeightCut]]:
    """Which weights stay, by layer -> (rule, value): masks of the weights' shapes, True where they stay, and what each
    did. Nothing is changed; see `hold`.

    Zeros stay zero and count towards the sparsity; a layer that has more of them than it should keeps them. For quality
    they are left out of the standard deviation (of the population), or pruning again would lower the threshold.
    Sparsity is floor(value * weights) zeros exactly, with the value as it is written in decimals. The smallest
    magnitudes go, of equal ones the first; the layers of sparsity-overall share one ranking, in which layers come in
    the order of the network. In each layer the largest weight (of equal ones the last) stays whatever the rule says.

    Chosen on the CPU, so that all devices choose the same. Raises SpecError for an unknown layer, a value out of range,
    or unequal values of sparsity-overall; TrimError for weights that are not finite.
    """
    weights = _weights(network, rules)
    for rule, value in rules.values():
        check_value(rule, value)
    together = [name for name in weights if rules[name][0] == OVERALL]
    if len(values := {rules[name][1] for name in together}) > 1:
        raise SpecError(f"rule 'sparsity-overall' has one value for all layers, not {min(values)} and {max(values)}")
    groups = [[name] for name in weights if name not in together] + ([together] if together else [])
    masks, cuts = {}, {}
    for names in groups:
        rule, value = rules[names[0]]
        flat = [_flat(name, weights[name]) for name in names]
        if rule == QUALITY:
            threshold = value * _deviation(flat[0])
            magnitudes = _sparing_the_largest(flat[0].abs())
            going = [(magnitudes <= threshold) & (magnitudes < math.inf)]
        else:
            ranked = torch.cat([_sparing_the_largest(weight.abs()) for weight in flat])
            smallest, threshold = _smallest(ranked, math.floor(Fraction(str(float(value))) * len(ranked)))
            going = list(torch.split(smallest, [len(weight) for weight in flat]))
        for name, old, gone in zip(names, flat, going, strict=True):
            zeros = int(gone.sum())
            newly = zeros - (len(old) - int(old.count_nonzero()))
            cuts[name] = WeightCut(rule, value, threshold, len(old), zeros, newly)
            masks[name] = gone.logical_not().reshape(weights[name].shape).to(weights[name].device)
    return {name: masks[name] for name in weights}, {name: cuts[name] for name in weights}


def hold(network: nn.Module, masks: Mapping[str, Tensor]) -> Callable[[], None]:
    """Set the weights where the masks are False to zero, in place, and return what does it again.

    Called after every optimizer step it keeps them at zero whatever momentum and weight decay do; the other weights
    are trained as if the rest had no gradient. The masks follow the weights to another device. Raises SpecError for an
    unknown layer or a mask of another shape.
    """
    held = _weights(network, masks)
    for name, weight in held.items():
        if masks[name].shape != weight.shape:
            have, want = tuple(masks[name].shape), tuple(weight.shape)
            raise SpecError(f"the mask of layer {name!r} has shape {have}, its weight {want}")
    weights: list[Tensor] = list(held.values())
    # Of the same kind and strides as the weights: this is three times as fast as with bools.
    factors = [torch.empty_like(weight.detach()).copy_(masks[name]) for name, weight in held.items()]

    @torch.no_grad()
    def again() -> None:
        factors[:] = [factor.to(weight) for factor, weight in zip(factors, weights, strict=True)]
        if weights:
            torch._foreach_mul_(weights, factors)

    again()
    return again


def _weights(network: nn.Module, layers: Iterable[str]) -> dict[str, nn.Parameter]:
    """Of the named layers, in the order of the network."""
    there, wanted = prunable(network), list(layers)
    if unknown := [name for name in wanted if name not in there]:
        raise SpecError(f"layer {unknown[0]!r} has no weights to prune; there are {', '.join(there) or 'none'}")
    return {name: weight for name, weight in there.items() if name in wanted}


def _flat(name: str, weight: Tensor) -> Tensor:
    """The weights of a layer on the CPU, in at least single precision. (weights,)"""
    flat = weight.detach().cpu().reshape(-1)
    if len(flat) and not flat.abs().max().isfinite():
        raise TrimError(f"layer {name!r} has weights that are not finite numbers; they cannot be ranked")
    return flat.to(torch.promote_types(flat.dtype, torch.float32))


def _deviation(flat: Tensor) -> float:
    """The standard deviation of the weights that are not zero; 0 where there are none."""
    kept = flat[flat != 0].double()
    return float(kept.std(correction=0)) if len(kept) else 0.0


def _sparing_the_largest(magnitudes: Tensor) -> Tensor:
    """The magnitudes, the largest of them (of equal ones the last) as infinite; all zeros are left as they are."""
    if len(magnitudes) and (largest := magnitudes.max()) > 0:
        magnitudes[(magnitudes == largest).nonzero()[-1]] = math.inf
    return magnitudes


def _smallest(magnitudes: Tensor, count: int) -> tuple[Tensor, float]:
    """Where the `count` smallest magnitudes are (of equal ones the first), and the largest of them.

    All zeros are among them, even when they are more; infinite ones never are.
    """
    count = min(count, int((magnitudes < math.inf).sum()))
    if count <= len(magnitudes) - int(magnitudes.count_nonzero()):
        return magnitudes == 0, 0.0
    limit = np.partition(magnitudes.numpy(), count - 1)[count - 1].item()
    smallest = magnitudes < limit
    equal = (magnitudes == limit).nonzero().view(-1)
    smallest[equal[: count - int(smallest.sum())]] = True
    return smallest, limit
