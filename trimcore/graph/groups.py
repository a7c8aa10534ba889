"""From single channels to channel groups: what is tied together, directly or through others, goes together."""

from dataclasses import replace

import torch
from torch import Tensor

from trimcore.graph.channel_graph import WITHOUT_NEURONS, ChannelGraph, Layer, Part, Site


def connected(count: int, ties: list[tuple[Tensor, Tensor]]) -> Tensor:
    """For each of `count` atoms the smallest atom that it is tied to, directly or through others. (count,)

    Every atom points to a smaller one of its component; both ends of each tie adopt the smaller of their two roots
    until nothing changes, which takes a number of rounds that grows with the logarithm of the component's size.
    """
    root = torch.arange(count)
    if not ties:
        return root
    a, b = torch.cat([tie[0] for tie in ties]), torch.cat([tie[1] for tie in ties])
    while True:
        ra, rb = root[a], root[b]
        if torch.equal(ra, rb):
            return root
        low = torch.minimum(ra, rb)
        root = root.scatter_reduce(0, ra, low, "amin").scatter_reduce(0, rb, low, "amin")
        while not torch.equal(root, root[root]):
            root = root[root]


def first_reasons(root: Tensor, freezes: list[tuple[Tensor, str]]) -> dict[int, str]:
    """By group the first of the reasons that freeze one of its atoms. `root` (atoms,) has the group of each atom."""
    if not freezes:
        return {}
    numbers = torch.arange(len(freezes)).repeat_interleave(torch.tensor([len(atoms) for atoms, _ in freezes]))
    first = torch.full((len(root),), len(freezes))
    first.scatter_reduce_(0, root[torch.cat([atoms for atoms, _ in freezes])], numbers, "amin")
    groups = (first < len(freezes)).nonzero().flatten()
    return {group: freezes[number][1] for group, number in zip(groups.tolist(), first[groups].tolist(), strict=True)}


def by_group(root: Tensor, parts: dict[str, Part], sites: list[Site]) -> tuple[dict[str, Part], list[Site]]:
    """Parts and sites with the groups `root` (atoms,) in place of their atoms."""
    grouped = {
        name: replace(part, groups={role: root[atoms] for role, atoms in part.groups.items()})
        for name, part in parts.items()
    }
    return grouped, [replace(site, groups=root[site.groups]) for site in sites]


def layers_of(graph: ChannelGraph) -> dict[str, Layer]:
    """The layers of a graph whose parts, sites and frozen groups are known."""
    layers: dict[str, Layer] = {}
    owner = torch.full((graph.group_count,), -1)  # group -> the number of the first layer that has it
    for part in graph.parts.values():
        if part.kind == "fixed":
            layers[part.name] = Layer(part.name, part.kind, part.outputs, part.reason, part.name)
        if part.kind in WITHOUT_NEURONS:
            continue
        layer, groups, number = Layer(part.name, part.kind, part.outputs), part.outputs, len(layers)
        layers[part.name], layer.leader = layer, part.name
        owners = owner[groups]
        fresh = owners < 0
        if fresh.any() or not len(groups):
            owner[groups[fresh]] = number
        else:
            layer.leader = list(layers)[int(owners[0])]
            layers[layer.leader].tied.append(part.name)
        free = groups[~graph.stays[groups]]
        if not len(free):
            layer.reason = graph.frozen[int(groups[0])]
        elif not graph.reaches[free].any():
            only = "it takes part in training only"
            layer.reason = only if part.training_only else "its output reaches no activation"
        elif layer.width > 1 and (free == free[0]).all():
            layer.reason = "its channels can only be removed all together"
    return layers
