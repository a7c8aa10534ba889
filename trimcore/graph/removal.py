"""Which channel groups go when the neurons of a plan go, and which neurons stay. Nothing is cut here."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from trimcore.errors import NotTrimmable
from trimcore.graph.channel_graph import ChannelGraph

Cut = Mapping[str, Iterable[int]]  # layer -> the neurons that go


def removed_groups(graph: ChannelGraph, plan: Cut, within: Iterable[str] = ()) -> Tensor:
    """Mask over the channel groups of `graph.fine`: True for those that the plan removes. (group_count,)

    Raises NotTrimmable as `prune` does.
    """
    whole, single = torch.zeros(graph.group_count, dtype=torch.bool), torch.zeros(graph.group_count, dtype=torch.bool)
    within = {*within, *getattr(plan, "within", ())}
    for name, neurons in plan.items():
        if name in within and name not in graph.units:
            raise NotTrimmable(f"layer {name!r} has no maxout units; {', '.join(graph.units) or 'no layer'} has")
        own, gone = (graph.fine, single) if name in within else (graph, whole)
        layer, neurons = own.layer(name), torch.tensor(list(neurons), dtype=torch.long)
        for neuron in neurons[(neurons < 0) | (neurons >= layer.width)].tolist():
            raise NotTrimmable(f"layer {name!r} has neurons 0 to {layer.width - 1}, there is no {neuron}")
        groups = layer.neurons[neurons]
        for place in (~own.may_go[groups]).nonzero().flatten().tolist():
            why = own.frozen.get(int(groups[place]), "it reaches no activation")
            raise NotTrimmable(f"neuron {int(neurons[place])} of layer {name!r} cannot be removed: {why}")
        gone[groups] = True
    gone = single | graph.in_fine(whole)
    for layer in graph.fine.layers.values():
        if layer.width and bool(gone[layer.neurons].all()):
            raise NotTrimmable(f"the plan would remove every neuron of layer {layer.name!r}; at least one has to stay")
    units_left(graph, gone)
    return gone


def units_left(graph: ChannelGraph, gone: Tensor) -> dict[str, int]:
    """By layer with maxout units, the neurons that each of its units has when the groups of the mask `gone` are away.

    Raises NotTrimmable when units would not have as many.
    """
    left = {}
    for name, units in graph.units.items():
        part = graph.fine.parts[units.maxout]
        counts = (~gone[part.inputs]).view(-1, units.k).sum(1)[~gone[part.outputs]]
        if not (counts == counts[0]).all() or not counts[0]:
            least, most = (int(count) for count in counts.aminmax())
            raise NotTrimmable(
                f"units of layer {name!r} would keep {least} to {most} neurons; all must keep as many, and at least one"
            )
        left[name] = int(counts[0])
    return left


def kept_neurons(graph: ChannelGraph, plan: Cut) -> dict[str, list[int]]:
    """For each layer, tied ones included, the indices of the neurons that stay."""
    gone = removed_groups(graph, plan)
    return {name: (~gone[layer.neurons]).nonzero().flatten().tolist() for name, layer in graph.fine.layers.items()}
