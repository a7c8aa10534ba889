"""What a smaller network lost, read off its weights, and the full network with just that dead.

This judges any pruned network, whoever pruned it, and knows nothing of plans, graphs and masks. Every weight of the
full network has a value of its own (`distinct`), so a row of a smaller tensor is found in the larger one by its value.
A neuron is dead if its row, its bias, and the scale and shift of its norm are zero. A pruned network is exact if its
outputs are those of the full network in which the lost neurons are dead.
"""

import copy
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from tests.trimcore.oracle import gap

BOUND = 1e-8  # largest relative difference of two outputs that are the same, in float64 through hundreds of layers
CONVOLUTION, NORM = nn.modules.conv._ConvNd, nn.modules.batchnorm._NormBase
BY_ROWS = (nn.Linear, CONVOLUTION, nn.RNNBase, nn.MultiheadAttention)  # their output channels are rows of their weights
STATISTICS = ("running_mean", "running_var")


@dataclass
class Verdict:
    word: str  # exact, WRONG, or unchecked
    difference: float  # of the pruned network from the full one with dead neurons, relative to the output
    lost: int  # rows of convolutions, linear and recurrent layers
    unknown: list[str] = field(default_factory=list)  # tensors of which it cannot be told what they lost


def distinct(network: nn.Module, seed: int = 0) -> nn.Module:
    """The network in float64 and evaluation mode, with weights and statistics that are random and all different."""
    generator = torch.Generator().manual_seed(seed)
    network = network.double().eval()
    with torch.no_grad():
        for module in network.modules():
            for name, tensor in module._parameters.items():
                if tensor is not None and tensor.is_floating_point():
                    _make_distinct(module, name, tensor, generator)
            for name, (low, high) in zip(STATISTICS, [(-0.3, 0.3), (0.5, 1.5)], strict=True):
                if module._buffers.get(name) is not None:
                    _draw(module._buffers[name], low, high, generator)
    return network


def _make_distinct(module: nn.Module, name: str, tensor: Tensor, generator: torch.Generator) -> None:
    if isinstance(module, NORM | nn.GroupNorm | nn.LayerNorm):
        _draw(tensor, *((0.5, 1.5) if name == "weight" else (-0.4, 0.6)), generator)
    elif tensor.dim() < 2:
        _draw(tensor, -0.2, 0.3, generator)
    else:
        tensor += 1e-4 * torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)


def _draw(tensor: Tensor, low: float, high: float, generator: torch.Generator) -> None:
    tensor.copy_(low + (high - low) * torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype))


def judged(full: nn.Module, small: nn.Module, x: Tensor, whole: list[Tensor] | None = None) -> Verdict:
    """Whether `small` computes what `full` does without the neurons that `small` lost. `whole`: the outputs of `full`,
    if they are known."""
    whole, cut = whole or computed(full, x), computed(small, x)
    verdict, matters = _compared(full, small, x, cut, whole, ())
    if verdict.difference > BOUND:
        depthwise, norms = without_neurons(full, x)
        others = [_compared(full, small, x, cut, whole, alive) for alive in (depthwise, depthwise | norms) if alive]
        verdict, matters = min([(verdict, matters), *others], key=_difference)
    if verdict.difference <= BOUND and verdict.lost and matters:
        verdict.word = "exact"
    elif verdict.difference > BOUND and not verdict.unknown:
        verdict.word = "WRONG"
    return verdict


def _compared(full, small, x, cut, whole, alive) -> tuple[Verdict, bool]:
    """The verdict, still without a word, and whether the outputs depend on the dead neurons."""
    dead, lost, unknown = with_dead(full, small, alive)
    held = computed(dead, x)
    return Verdict("unchecked", difference(cut, held), lost, unknown), difference(held, whole) > BOUND


def _difference(compared: tuple[Verdict, bool]) -> float:
    return compared[0].difference


def with_dead(full: nn.Module, small: nn.Module, alive: Collection[str] = ()) -> tuple[nn.Module, int, list[str]]:
    """A copy of `full` in which what `small` lost is zero, except in the modules `alive`; how many rows of layers that
    were; and the tensors of which it cannot be told."""
    dead, smaller, lost, unknown = copy.deepcopy(full), dict(small.named_modules()), 0, []
    for path, module in dead.named_modules():
        if path in alive:
            continue
        for name, found in lost_of(module, smaller.get(path)).items():
            if found is None:
                unknown.append(f"{path}.{name}")
                continue
            axis, rows = found
            tensor = getattr(module, name).data.index_fill_(axis, torch.tensor(rows, dtype=torch.long), 0)
            lost += len(rows) if isinstance(module, BY_ROWS) and tensor.dim() > 1 else 0
    return dead, lost, unknown


def lost_of(module: nn.Module, smaller: nn.Module | None) -> dict[str, tuple[int, list[int]] | None]:
    """Of each tensor of the module, the axis of its outputs and what is lost there, or None where it cannot be told.

    A bias or a mean to which constants were added has no values of the full network: what is true of the weights is
    true of it."""
    own = module._parameters | {name: module._buffers.get(name) for name in STATISTICS}
    tensors = {name: tensor for name, tensor in own.items() if tensor is not None}
    found = {name: _lost_of(module, tensor, getattr(smaller, name, None)) for name, tensor in tensors.items()}
    of_weights = found.get("weight")
    for name, tensor in tensors.items():
        if found[name] is None and of_weights and len(tensor) == module.weight.shape[of_weights[0]]:
            found[name] = (0, of_weights[1])
    return found


def _lost_of(module: nn.Module, tensor: Tensor, smaller: Any) -> tuple[int, list[int]] | None:
    if not isinstance(smaller, Tensor) or smaller.dim() != tensor.dim():
        return None
    if smaller.shape == tensor.shape:
        return 0, []
    axis = _output_axis(module, tensor, smaller)
    rows = None if axis is None else lost_rows(tensor, smaller, axis)
    return None if axis is None or rows is None else (axis, rows)


def _output_axis(module: nn.Module, tensor: Tensor, smaller: Tensor) -> int | None:
    if isinstance(module, CONVOLUTION) and module.transposed and tensor.dim() > 1:
        depthwise = module.groups > 1 and tensor.shape[1] == 1
        return 0 if depthwise else 1 if module.groups == 1 else None
    if isinstance(module, BY_ROWS):
        return 0
    changed = [axis for axis, (a, b) in enumerate(zip(tensor.shape, smaller.shape, strict=True)) if a != b]
    return changed[0] if len(changed) == 1 else None


def lost_rows(full: Tensor, small: Tensor, axis: int) -> list[int] | None:
    """The indices along `axis` that `small` does not have, or None if a value of `small` is not in `full`."""
    values, places = full.detach().flatten().sort()
    first = small.detach().movedim(axis, 0).flatten(1)[:, 0] if small.dim() > 1 else small.detach()
    found = torch.searchsorted(values, first.contiguous()).clamp(max=len(values) - 1)
    if not torch.equal(values[found], first):
        return None
    kept = set(torch.unravel_index(places[found], full.shape)[axis].tolist())
    return sorted(set(range(full.shape[axis])) - kept) if len(kept) == len(first) else None


def without_neurons(network: nn.Module, x: Tensor) -> tuple[set[str], set[str]]:
    """Modules whose channels are no neurons of their own: the depthwise convolutions with the norms called right behind
    one, and the norms that are called behind no layer. What they make of a dead neuron is a constant, and a pruned
    network may add it to the biases of the next layer."""
    depthwise: set[str] = set()
    norms: set[str] = set()
    previous = ""  # what was called right before: a depthwise convolution, another layer, or something else

    def record(name: str):
        def call(module: nn.Module, *_) -> None:
            nonlocal previous
            if isinstance(module, CONVOLUTION | nn.Linear):
                single = isinstance(module, CONVOLUTION) and module.groups == module.in_channels > 1
                previous = "depthwise" if single else "layer"
                depthwise.update({name} if single else ())
            elif isinstance(module, NORM):
                depthwise.update({name} if previous == "depthwise" else ())
                norms.update({name} if not previous else ())
                previous = ""
            elif not list(module.children()):
                previous = ""

        return call

    hooks = [module.register_forward_hook(record(name)) for name, module in network.named_modules()]
    computed(network, x)
    for hook in hooks:
        hook.remove()
    return depthwise, norms


def computed(network: nn.Module, x: Tensor) -> list[Tensor]:
    with torch.no_grad():
        return outputs(network(x))


def outputs(result: Any) -> list[Tensor]:
    """All tensors of numbers in the result of a network, in order."""
    if isinstance(result, Tensor):
        return [result] if result.is_floating_point() and result.numel() else []
    if isinstance(result, dict):
        result = list(result.values())
    return [tensor for part in result for tensor in outputs(part)] if isinstance(result, list | tuple) else []


def difference(one: list[Tensor], other: list[Tensor]) -> float:
    """The largest relative difference of two lists of outputs."""
    if [tensor.shape for tensor in one] != [tensor.shape for tensor in other]:
        return float("inf")
    return max(map(gap, one, other), default=0.0)
