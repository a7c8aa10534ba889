"""From the notes of a trace to the channel graph: groups, reasons, layers and maxout units."""

from typing import cast

import torch
from torch import Tensor, nn

from trimcore.graph.channel_graph import ChannelGraph, Units
from trimcore.graph.groups import by_group, connected, first_reasons, layers_of
from trimcore.graph.nodes import target
from trimcore.graph.sizes import same_proportions
from trimcore.graph.tracer import Tracer
from trimcore.layers.maxout import Maxout


def resolve(tracer: Tracer) -> ChannelGraph:
    """The channel graph that the notes of a trace come to."""
    _freeze_shared_weights(tracer)
    root = connected(tracer.atoms, tracer.ties + tracer.unit_ties)
    graph = _grouped(tracer, root)
    if tracer.unit_ties:
        graph.opened, graph.coarse = _grouped(tracer, connected(tracer.atoms, tracer.ties)), root
        graph.units = _units(tracer, graph.opened)
    return graph


def _freeze_shared_weights(tracer: Tracer) -> None:
    """A module whose weights something else has or reads too cannot become smaller by itself."""
    holders: dict[int, list[str]] = {}  # id of a tensor -> the modules that have it
    readers: dict[int, list[str]] = {}  # ... -> the nodes that read it themselves
    for name, module in tracer.modules.items():
        for tensor in _own_tensors(module):
            holders.setdefault(id(tensor), []).append(name)
    for node in (node for graph in tracer.graphs for node in graph.nodes if node.op == "get_attr"):
        if any((node, user) not in tracer.stored_uses for user in node.users):
            readers.setdefault(id(tracer.env[node]), []).append(node.name)
    for part in tracer.parts.values():
        own = (part.name, part.name.rpartition(".")[0] if part.name not in tracer.modules else part.name)
        tensors = [id(tensor) for _, tensor, _ in part.tensors()]
        others = [holder for tensor in tensors for holder in holders[tensor] if holder not in own]
        others += [reader for tensor in tensors for reader in readers.get(tensor, ())]
        if others:
            folded = [tracer.parts[fold.consumer].inputs for fold in tracer.folds if fold.into == part.name]
            for atoms in (*part.groups.values(), *folded):
                tracer.freeze_atoms(atoms, f"{part.name} shares its weights with {others[0]}")


def _grouped(tracer: Tracer, root: Tensor) -> ChannelGraph:
    freezes = list(tracer.freezes)
    for name, atoms, others in tracer.agreements:
        if not same_proportions(root[atoms], root[others]):
            both = torch.cat([atoms, others])
            freezes.append((both, f"{name} gives it a shape by the number of other channels"))
    parts, sites = by_group(root, tracer.parts, tracer.sites)
    graph = ChannelGraph(
        tracer.model, tracer.graphs[0], tracer.held, tracer.inputs, parts, sites, {}, tracer.atoms,
        first_reasons(root, freezes), tracer.outputs, tracer.folds,
    )  # fmt: skip
    graph.layers = layers_of(graph)
    return graph


def _units(tracer: Tracer, fine: ChannelGraph) -> dict[str, Units]:
    """The layers whose neurons are, in their order, those of the units of one maximum that is taken once."""
    by_neurons = {tuple(layer.neurons.tolist()): layer.name for layer in reversed(fine.layers.values())}
    calls = [target(node) for node in tracer.maxouts]
    fed = [by_neurons.get(tuple(fine.parts[name].inputs.tolist())) for name in calls]
    found: dict[str, Units] = {}
    for node, name, layer in zip(tracer.maxouts, calls, fed, strict=True):
        module = cast(Maxout, tracer.module(node))
        if layer and calls.count(name) == fed.count(layer) == 1 and module.k > 1:
            found[layer] = Units(name, node.all_input_nodes[0].name, module.k, module.dim)
    return found


def _own_tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(recurse=False), *module.buffers(recurse=False)]
