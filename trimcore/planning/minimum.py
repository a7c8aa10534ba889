"""Keep at least one neuron in every layer, including layers that lose neurons only because others are removed."""

import math
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

from trimcore.graph.channel_graph import ChannelGraph


def keep_one_per_layer(
    graph: ChannelGraph,
    plan: Mapping[str, Iterable[int]],
    score: Callable[[str, int], float],
    gone: Tensor | None = None,
) -> dict[str, list[int]]:
    """The plan (layer -> neurons to remove) without the neurons that would leave a layer empty. From such a layer, the
    neuron with the lowest score (on a tie, the highest index) is kept, in every layer that contains it.

    `gone` masks channel groups that are already removed. (group_count,)
    """
    result = {name: sorted(neurons) for name, neurons in plan.items()}
    mask = _mask(graph, result, gone)
    for layer in graph.layers.values():
        if not layer.width or not bool(mask[layer.neurons].all()):
            continue
        own = set(layer.neurons.tolist())
        groups = {name: graph.layers[name].neurons.tolist() for name in result}
        options = [
            (_known(score(name, i)), -i, groups[name][i])
            for name, cut in result.items()
            for i in cut
            if groups[name][i] in own
        ]
        if options:  # otherwise the layer was already empty
            kept = min(options)[2]
            result = {name: [i for i in cut if groups[name][i] != kept] for name, cut in result.items()}
            mask = _mask(graph, result, gone)
    return result


def _known(score: float) -> float:
    """A neuron without a score, which the user chose to remove, is the first to go."""
    return math.inf if math.isnan(score) else score


def _mask(graph: ChannelGraph, plan: Mapping[str, list[int]], gone: Tensor | None) -> Tensor:
    mask = torch.zeros(graph.group_count, dtype=torch.bool) if gone is None else gone.clone()
    for name, neurons in plan.items():
        mask[graph.layers[name].neurons[torch.tensor(neurons, dtype=torch.long)]] = True
    return mask
