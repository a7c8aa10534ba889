"""At least one neuron of every layer stays, also of layers that no rule looked at but whose neurons go with others."""

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

from trimcore.graph.channel_graph import ChannelGraph


def sparing_the_last(
    graph: ChannelGraph,
    going: Mapping[str, Iterable[int]],
    score: Callable[[str, int], float],
    gone: Tensor | None = None,
) -> dict[str, list[int]]:
    """`going` (layer -> neurons) less what some layer would be empty without: of its neurons the one with the lowest
    score (of equal ones the highest index) is spared, in every layer that has it.

    `gone` masks channel groups that are away already. (group_count,)
    """
    result = {name: sorted(neurons) for name, neurons in going.items()}
    mask = _mask(graph, result, gone)
    for layer in graph.layers.values():
        if not layer.width or not bool(mask[layer.neurons].all()):
            continue
        own = set(layer.neurons.tolist())
        groups = {name: graph.layers[name].neurons.tolist() for name in result}
        options = [
            (score(name, i), -i, groups[name][i]) for name, cut in result.items() for i in cut if groups[name][i] in own
        ]
        if options:  # else the layer was empty before
            spared = min(options)[2]
            result = {name: [i for i in cut if groups[name][i] != spared] for name, cut in result.items()}
            mask = _mask(graph, result, gone)
    return result


def _mask(graph: ChannelGraph, going: Mapping[str, list[int]], gone: Tensor | None) -> Tensor:
    mask = torch.zeros(graph.group_count, dtype=torch.bool) if gone is None else gone.clone()
    for name, neurons in going.items():
        mask[graph.layers[name].neurons[torch.tensor(neurons, dtype=torch.long)]] = True
    return mask
