"""Merge single channels (atoms) into channel groups: channels that are tied, directly or indirectly, form a group."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from trimcore.graph.channel_graph import WITHOUT_NEURONS, ChannelGraph, Layer, Part, Site


def connected(count: int, ties: list[tuple[Tensor, Tensor]]) -> Tensor:
    """For each of `count` atoms, the smallest atom of its connected component. (count,)

    Every atom points to a smaller atom of its component. Both ends of each tie take the smaller of their two roots,
    until nothing changes. The number of rounds grows with the logarithm of the component's size.
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
    """The first reason that freezes an atom of each frozen group. `root` (atoms,) has the group of each atom."""
    if not freezes:
        return {}
    numbers = torch.arange(len(freezes)).repeat_interleave(torch.tensor([len(atoms) for atoms, _ in freezes]))
    first = torch.full((len(root),), len(freezes))
    first.scatter_reduce_(0, root[torch.cat([atoms for atoms, _ in freezes])], numbers, "amin")
    groups = (first < len(freezes)).nonzero().flatten()
    return {group: freezes[number][1] for group, number in zip(groups.tolist(), first[groups].tolist(), strict=True)}


def held_behind(root: Tensor, parts: dict[str, Part], sites: list[Site], exposed: list[Tensor]) -> Tensor:
    """Mask of the groups that are held at zero behind their activations: those that have one, or the maximum of a unit,
    and that are then zero in every layer they reach, which those of `exposed` are not. The others are held where their
    own layers give them out."""
    units = [part.groups["in"] for part in parts.values() if part.kind == "maxout"]
    mask = mask_of(root, [*(site.groups for site in sites), *units])
    return mask & ~mask_of(root, exposed)


def mask_of(root: Tensor, atoms: list[Tensor]) -> Tensor:
    """Mask of the groups of these atoms. (len(root),)"""
    mask = torch.zeros(len(root), dtype=torch.bool)
    if atoms:
        mask[root[torch.cat(atoms)]] = True
    return mask


PADDED = ("conv", "transposed", "depthwise", "linear", "norm", "scale")  # the kinds of parts that can keep places


def paddable(parts: dict[str, Part], modules: dict[str, nn.Module], count: int) -> Tensor:
    """Mask of the groups, of `count`, whose channels can keep their places: all their parts are modules that are called
    as such. Stored tensors that scale them are not cut at all."""
    mask = torch.ones(count, dtype=torch.bool)
    for part in parts.values():
        placed = part.kind in PADDED and (part.kind == "scale" or modules.get(part.name) is part.module)
        if not placed or isinstance(part.module, nn.GroupNorm | nn.LayerNorm | nn.RMSNorm):
            for groups in part.groups.values():
                mask[groups] = False
    return mask


def with_groups(root: Tensor, parts: dict[str, Part], *sites: list[Site]) -> tuple[dict[str, Part], list[list[Site]]]:
    """Copies of parts and of lists of sites whose atoms are replaced by their groups, given by `root` (atoms,)."""
    grouped = {
        name: replace(part, groups={role: root[atoms] for role, atoms in part.groups.items()})
        for name, part in parts.items()
    }
    return grouped, [[replace(site, groups=root[site.groups]) for site in some] for some in sites]


def layers_of(graph: ChannelGraph) -> dict[str, Layer]:
    """The layers of a graph that already has its parts, sites and frozen groups."""
    layers: dict[str, Layer] = {}
    owner = torch.full((graph.group_count,), -1)  # group -> the index of the first layer that contains it
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
        free = groups[~graph.is_frozen[groups]]
        if not len(free):
            layer.reason = graph.frozen[int(groups[0])]
        elif not graph.removable[free].any():
            layer.reason = "it is only used in training"
        elif layer.width > 1 and (free == free[0]).all():
            layer.reason = "its channels can only be removed all at once"
    return layers
