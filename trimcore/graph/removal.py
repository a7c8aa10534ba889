"""The channel groups that a plan removes, and the neurons that it keeps. Nothing is cut here."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from trimcore.errors import NotTrimmable
from trimcore.graph.channel_graph import ChannelGraph

Cut = Mapping[str, Iterable[int]]  # layer -> the neurons to remove


def removed_groups(graph: ChannelGraph, plan: Cut, within: Iterable[str] = ()) -> Tensor:
    """Mask of the channel groups of `graph.fine` that the plan removes. (group_count,)

    Raises NotTrimmable as `surgery.prune` does.
    """
    whole, single = torch.zeros(graph.group_count, dtype=torch.bool), torch.zeros(graph.group_count, dtype=torch.bool)
    within = {*within, *getattr(plan, "within", ())}
    for name, neurons in plan.items():
        if name in within and name not in graph.units:
            known = ", ".join(graph.units) or "none"
            raise NotTrimmable(f"layer {name!r} has no maxout units; layers with units: {known}")
        own, removed = (graph.fine, single) if name in within else (graph, whole)
        layer, neurons = own.layer(name), torch.tensor(list(neurons), dtype=torch.long)
        for neuron in neurons[(neurons < 0) | (neurons >= layer.width)].tolist():
            raise NotTrimmable(f"layer {name!r} has neurons 0 to {layer.width - 1}, not {neuron}")
        groups = layer.neurons[neurons]
        for index in (~own.removable[groups]).nonzero().flatten().tolist():
            reason = own.frozen.get(int(groups[index]), "it reaches no activation")
            raise NotTrimmable(f"neuron {int(neurons[index])} of layer {name!r} cannot be removed: {reason}")
        removed[groups] = True
    removed = single | graph.to_fine(whole)
    for layer in graph.fine.layers.values():
        if layer.width and bool(removed[layer.neurons].all()):
            raise NotTrimmable(f"the plan would remove every neuron of layer {layer.name!r}; at least one must stay")
    unit_sizes(graph, removed)
    return removed


def unit_sizes(graph: ChannelGraph, removed: Tensor) -> dict[str, int]:
    """The neurons per maxout unit that remain, by layer, if the groups of the mask `removed` are removed.

    Raises NotTrimmable if the units of a layer would differ in size or be empty.
    """
    sizes = {}
    for name, units in graph.units.items():
        part = graph.fine.parts[units.maxout]
        counts = (~removed[part.inputs]).view(-1, units.k).sum(1)[~removed[part.outputs]]
        if not (counts == counts[0]).all() or not counts[0]:
            least, most = (int(count) for count in counts.aminmax())
            raise NotTrimmable(
                f"units of layer {name!r} would keep {least} to {most} neurons; "
                "all units must keep the same number, at least 1"
            )
        sizes[name] = int(counts[0])
    return sizes


def kept_neurons(graph: ChannelGraph, plan: Cut) -> dict[str, list[int]]:
    """The indices of the neurons that remain, by layer, including tied layers."""
    removed = removed_groups(graph, plan)
    return {name: (~removed[layer.neurons]).nonzero().flatten().tolist() for name, layer in graph.fine.layers.items()}
