"""Turn the hidden linear layers of a trained ReLU network into maxout layers (Rueda et al. 2017, arXiv 1707.06838).

Which neurons share a unit is decided in `unit_choice`; here is where units can go, and how a network gets them.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, fx, nn

from trimcore.compute.modes import in_mode
from trimcore.errors import CheckpointError, DataError, SpecError, TrimError
from trimcore.graph.channel_graph import ChannelGraph
from trimcore.graph.nodes import target
from trimcore.layers.maxout import Maxout, set_units
from trimcore.surgery import unit_choice


@dataclass(frozen=True)
class Place:
    """Where the units of a layer go: the name that the Maxout module will have, and that of the layer that reads it."""

    maxout: str
    reader: str


def groupable(graph: ChannelGraph) -> dict[str, Place]:
    """The linear layers that can become maxout layers, in depth order: linear -> ReLU (-> dropout) -> linear.

    Nothing else may use a value in between, all are modules that are called once, each neuron can be trimmed alone, and
    the values are vectors (N, n).
    """
    modules = dict(graph.model.named_modules())
    calls = [node.target for node in graph.graph.nodes if node.op == "call_module"]
    axes, found = {site.node: site.axis for site in graph.sites}, dict[str, Place]()
    for node in graph.graph.nodes:
        steps = list(_line(node, modules))
        names = [target(step) for step in steps]
        kinds = [type(modules[name]) for name in names]
        if len(steps) < 3 or kinds[1] is not nn.ReLU or kinds[-1] is not nn.Linear or axes.get(steps[1].name) != 1:
            continue
        layer, *_, last, reader = names
        once = all(calls.count(name) == 1 for name in names)
        free = layer in graph.layers and len(graph.candidates(layer)) == graph.layers[layer].width
        if once and free and _meeting(graph, layer) == {layer, reader}:
            found[layer] = Place(f"{last}.maxout", reader)
    return found


def _line(node: fx.Node, modules: dict[str, nn.Module]) -> Iterator[fx.Node]:
    """From a linear layer on, through ReLU and dropout, the nodes up to the next linear layer, or as far as it goes."""
    if node.op != "call_module" or type(modules[target(node)]) is not nn.Linear:
        return
    yield node
    while len(node.users) == 1:
        (node,) = node.users
        if node.op != "call_module" or type(modules[target(node)]) not in (nn.ReLU, nn.Dropout, nn.Linear):
            return
        yield node
        if type(modules[target(node)]) is nn.Linear:
            return


def _meeting(graph: ChannelGraph, layer: str) -> set[str]:
    """The parts that have channels of a layer, those that take part in training only too."""
    own = torch.zeros(graph.group_count, dtype=torch.bool)
    own[graph.layers[layer].neurons] = True
    return {part.name for part in graph.parts.values() if any(own[groups].any() for groups in part.groups.values())}


def insert(network: nn.Module, units: Mapping[str, int]) -> nn.Module:
    """Give a network maxout modules, by name, with so many neurons a unit. Changes `network`, and returns it.

    "relu3.maxout" goes behind `relu3`, a module without weights, whose place a Sequential of the two takes: no name in
    the state dict changes. One that is there already is set to k. With k = 1 there is no maximum, and none is put
    anywhere. Raises CheckpointError for a name that fits nothing.
    """
    modules = dict(network.named_modules())
    for name, k in units.items():
        before, _, child = name.rpartition(".")
        if isinstance(modules.get(name), Maxout):
            set_units(network, {name: k})
        elif not before or before not in modules or child != "maxout" or modules[before].state_dict():
            raise CheckpointError(f"there is no place for maxout units at {name!r}: no module without weights is there")
        elif k > 1:
            pair = nn.Sequential(OrderedDict(activation=modules[before], maxout=Maxout(k)))
            owner, _, own = before.rpartition(".")
            network.get_submodule(owner)._modules[own] = pair.train(modules[before].training)
    return network


def group(graph: ChannelGraph, batches: Iterable[Any], layers: Iterable[str], k: int) -> dict[str, list[int]]:
    """Make `layers` (all that can, where none are named) maxout layers with units of `k` neurons, in place.

    `batches` are examples, or tuples that begin with them; they are gone over twice for each layer, in evaluation mode.
    Layers are done in depth order, each on what the ones before have become. Returns for each which neuron stands
    where: its neuron i was neuron order[i] before. The graph's network is to be traced again.

    Raises SpecError for a layer that cannot be grouped or whose neurons k does not divide, before anything changes,
    DataError without examples, and TrimError where an activation is not a number.
    """
    places = check(graph, layers, k)
    return {name: _group(graph.model, name, place, batches, k) for name, place in places.items()}


def check(graph: ChannelGraph, layers: Iterable[str], k: int) -> dict[str, Place]:
    """The places of `layers`, or of all that can become maxout layers where none are named, in depth order.

    Raises SpecError for a network without any, for a layer that cannot, and for a number of neurons that `k` does not
    divide.
    """
    places = groupable(graph)
    chosen = set(layers) or set(places)
    if not chosen:
        name = type(graph.model).__name__
        raise SpecError(f"this {name} has no hidden linear layer with a ReLU that could become a maxout layer")
    if k < 2:
        raise SpecError(f"a maxout unit that is worth it has at least 2 neurons, not {k}")
    if other := sorted(chosen - set(places)):
        raise SpecError(f"{other[0]!r} cannot become a maxout layer; those that can: {', '.join(places) or 'none'}")
    for name in places:
        width = graph.layers[name].width
        if name in chosen and width % k:
            would = ", ".join(str(d) for d in range(2, 17) if width % d == 0) or "no number up to 16"
            raise SpecError(f"the {width} neurons of {name} make no whole units of k = {k}; {would} would do")
    return {name: place for name, place in places.items() if name in chosen}


@torch.no_grad()
def _group(network: nn.Module, name: str, place: Place, batches: Iterable[Any], k: int) -> list[int]:
    layer, reader = _linear(network, name), _linear(network, place.reader)
    together = _sum(a.T @ a for a in _entering(network, reader, batches))
    order = unit_choice.units(
        unit_choice.costs(together, reader.weight.to(together)).cpu(), together.diag().cpu(), k
    ).flatten()
    for tensor in (layer.weight, layer.bias):
        if tensor is not None:
            tensor.copy_(tensor[order.to(tensor.device)])
    reader.weight.copy_(reader.weight[:, order.to(reader.weight.device)])
    moments = _sum(unit_choice.products(a, k) for a in _entering(network, reader, batches))
    bias = None if reader.bias is None else reader.bias.to(moments)
    weight, fitted = unit_choice.refit(reader.weight.to(moments), bias, moments)
    if fitted is not None:
        reader.bias.copy_(fitted)
    _put(network, place, k, weight.to(reader.weight))
    return order.tolist()


def _linear(network: nn.Module, name: str) -> nn.Linear:
    return cast(nn.Linear, network.get_submodule(name))


def group_blank(graph: ChannelGraph, layers: Iterable[str], k: int) -> nn.Module:
    """The graph's network, which is on the meta device, with the shapes that `group` would give it. Raises SpecError as
    `group` does."""
    for place in check(graph, layers, k).values():
        weight = _linear(graph.model, place.reader).weight
        _put(graph.model, place, k, weight.detach()[:, : weight.shape[1] // k])
    return graph.model


def _put(network: nn.Module, place: Place, k: int, weight: Tensor) -> None:
    """The maximum, and the weights that read it. (m, n / k)"""
    reader = _linear(network, place.reader)
    reader.weight = nn.Parameter(weight, reader.weight.requires_grad)
    reader.in_features = weight.shape[1]
    insert(network, {place.maxout: k})


def _entering(network: nn.Module, reader: nn.Linear, batches: Iterable[Any]) -> Iterator[Tensor]:
    """What a layer is given, batch by batch. (B, n), float64"""
    given: list[Tensor] = []
    hook = reader.register_forward_pre_hook(lambda module, args: given.append(args[0]))
    device = reader.weight.device
    try:
        with in_mode(network, training=False):
            for batch in batches:
                network((batch[0] if isinstance(batch, tuple | list) else batch).to(device))
                a = given.pop()
                yield (a.cpu() if a.is_mps else a).double()  # that device has no float64
    finally:
        hook.remove()


def _sum(products: Iterable[Tensor]) -> Tensor:
    total = None
    for product in products:
        total = product if total is None else total.add_(product)
    if total is None:
        raise DataError("no examples to group neurons by: the loader is empty, or can be iterated only once")
    if not total.isfinite().all():
        raise TrimError("the neurons cannot be grouped: some activations are not numbers")
    return total
