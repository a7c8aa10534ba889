"""Build the channel graph from what a trace recorded: groups, freeze reasons, layers and maxout units."""

from typing import cast

import torch
from torch import Tensor, nn

from trimcore.graph.channel_graph import ChannelGraph, Units
from trimcore.graph.groups import connected, first_reasons, held_behind, layers_of, mask_of, paddable, with_groups
from trimcore.graph.nodes import PARAMETRIZED, part_name, target
from trimcore.graph.sizes import same_proportions
from trimcore.graph.tracer import Limit, Tracer
from trimcore.layers.maxout import Maxout

# The role of the channels that a width attribute counts.
ROLES = {
    "in_channels": "in", "in_features": "in", "out_channels": "out", "out_features": "out", "num_features": "out",
    "num_channels": "out", "groups": "out", "num_groups": "out", "normalized_length": "out",
}  # fmt: skip


def resolve(tracer: Tracer) -> ChannelGraph:
    """The channel graph of a finished trace."""
    _freeze_shared_weights(tracer)
    root = connected(tracer.atoms, tracer.ties + tracer.unit_ties)
    graph = _grouped(tracer, root)
    if tracer.unit_ties:
        graph.per_neuron, graph.coarse_group = _grouped(tracer, connected(tracer.atoms, tracer.ties)), root
        graph.units = _units(tracer, graph.per_neuron)
    return graph


def _freeze_shared_weights(tracer: Tracer) -> None:
    """Freeze modules whose weights are shared with another module or read elsewhere: they cannot shrink alone."""
    holders: dict[int, list[str]] = {}  # id of a tensor -> the modules that own it
    readers: dict[int, list[str]] = {}  # id of a tensor -> the nodes that read it directly
    for name, module in tracer.modules.items():
        for tensor in _own_tensors(module):
            holders.setdefault(id(tensor), []).append(name)
    for node in (node for graph in tracer.graphs for node in graph.nodes if node.op == "get_attr"):
        if any((node, user) not in tracer.stored_uses for user in node.users):
            readers.setdefault(id(tracer.env[node]), []).append(node.name)
    for part in tracer.parts.values():
        own = (part.name, part.name + PARAMETRIZED,
               part.name.rpartition(".")[0] if part.name not in tracer.modules else part.name)  # fmt: skip
        tensors = [id(tensor) for _, tensor, _ in part.tensors()]
        others = [holder for tensor in tensors for holder in holders[tensor] if holder not in own]
        others += [reader for tensor in tensors for reader in readers.get(tensor, ())]
        if others:
            folded = [tracer.parts[fold.consumer].inputs for fold in tracer.folds if fold.into == part.name]
            for atoms in (*part.groups.values(), *folded):
                tracer.freeze_atoms(atoms, f"{part.name} shares its weights with {others[0]}")


def _grouped(tracer: Tracer, root: Tensor) -> ChannelGraph:
    limits, follows = _all_limits(tracer, root)
    parts, (sites, exits, norms) = with_groups(root, tracer.parts, tracer.sites, tracer.exits, tracer.joint_norms)
    of_kind = {kind: [limit for limit in limits if limit.kind == kind] for kind in ("frozen", "width", "exposed")}
    possible = paddable(parts, tracer.modules, len(root))
    possible &= ~mask_of(root, [*follows, *(limit.own for limit in of_kind["frozen"])])
    if tracer.unit_ties:
        possible &= False
    fixed = mask_of(root, [limit.own for limit in of_kind["width"]])
    behind = held_behind(root, parts, sites, [limit.behind for limit in of_kind["exposed"]]) & ~(fixed & possible)
    exposed = mask_of(root, [limit.own for limit in of_kind["exposed"]]) & ~behind
    padded = (fixed | exposed) & possible
    overcome = {"frozen": torch.zeros_like(behind), "width": padded, "exposed": behind | padded}
    freezes = [(limit.own[~overcome[limit.kind][root[limit.own]]], limit.reason) for limit in limits]
    graph = ChannelGraph(
        tracer.model, tracer.graphs[0], tracer.held, tracer.inputs, parts, sites, {}, tracer.atoms,
        first_reasons(root, freezes), tracer.outputs, tracer.folds, exits=exits, held_behind=behind, padded=padded,
        read_anyway=exposed & padded, joint_norms=norms,
        attentions=[[root[rows] for rows in heads] for heads in tracer.attentions],
        options={"whole_heads": tracer.whole_heads, "embeddings": tracer.embeddings},
        computed={part_name(node): own for node, own in tracer.computed.items()
                                                if part_name(node) in parts},
    )  # fmt: skip
    graph.layers = layers_of(graph)
    return graph


def _all_limits(tracer: Tracer, root: Tensor) -> tuple[list[Limit], list[Tensor]]:
    """The limits that the trace recorded, and those of numbers that count channels. Second: the channels whose number a
    layer's width attribute must follow."""
    limits, follows = list(tracer.limits), []
    for attribute, atoms, reason in tracer.attribute_uses:
        path, _, name = attribute.rpartition(".")
        part = tracer.parts.get(path)
        counted = None if part is None else part.groups.get(ROLES[name])
        if counted is None and atoms is not None:
            limits.append(Limit("width", reason, atoms, atoms))
        elif counted is not None and (atoms is None or not torch.equal(root[atoms], root[counted])):
            limits += [Limit("frozen", reason, own, own) for own in (counted, atoms) if own is not None]
        elif counted is not None:
            follows.append(counted)
    for name, atoms, others in tracer.channel_checks:
        if not same_proportions(root[atoms], root[others]):
            both = torch.cat([atoms, others])
            limits.insert(0, Limit("width", f"{name} sets its shape from the number of other channels", both, both))
    return limits, follows


def _units(tracer: Tracer, fine: ChannelGraph) -> dict[str, Units]:
    """The layers with maxout units: layers whose neurons, in order, are the inputs of a Maxout module called once."""
    by_neurons = {tuple(layer.neurons.tolist()): layer.name for layer in reversed(fine.layers.values())}
    calls = [target(node) for node in tracer.maxouts]
    sources = [by_neurons.get(tuple(fine.parts[name].inputs.tolist())) for name in calls]
    found: dict[str, Units] = {}
    for node, name, layer in zip(tracer.maxouts, calls, sources, strict=True):
        module = cast(Maxout, tracer.module(node))
        if layer and calls.count(name) == sources.count(layer) == 1 and module.k > 1:
            found[layer] = Units(name, node.all_input_nodes[0].name, module.k, module.dim)
    return found


def _own_tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(recurse=False), *module.buffers(recurse=False)]
