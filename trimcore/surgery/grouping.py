"""Turn the hidden linear layers of a trained ReLU network into maxout layers (Rueda et al. 2017, arXiv 1707.06838).

The layer behind gets the maximum of k activations a_i in place of all. With w_i for its weights on neuron i, E for the
mean over examples and q_i = E[a_i^2], two neurons in one unit lose little in two cases:

- They are never active together. The maximum is then their sum, and one weight in place of two costs q_i q_j /
  (q_i + q_j) |w_i - w_j|^2 (Ward 1963).
- Their activations are proportional. The larger one then serves for both, and nothing is lost.

Between these the cost is taken as the first, times 1 - r^2 with r^2 = E[a_i a_j]^2 / (q_i q_j). Units are chosen for a
small sum of it over their pairs; then least squares gives the weights behind that change their outputs least.
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
from trimcore.layers.maxout import Maxout, in_units, set_units

SWEEPS = 50  # of exchanges between units; ten are enough for most layers
RIDGE = 1e-2  # of the mean variance of a unit: holds weights that few examples do not determine


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
    order = units(costs(together, reader.weight.to(together)).cpu(), together.diag().cpu(), k).flatten()
    for tensor in (layer.weight, layer.bias):
        if tensor is not None:
            tensor.copy_(tensor[order.to(tensor.device)])
    reader.weight.copy_(reader.weight[:, order.to(reader.weight.device)])
    moments = _sum(_products(a, k) for a in _entering(network, reader, batches))
    bias = None if reader.bias is None else reader.bias.to(moments)
    weight, fitted = refit(reader.weight.to(moments), bias, moments)
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


def costs(together: Tensor, weight: Tensor) -> Tensor:
    """What it costs to have two neurons in one unit (see above), but for a factor. Symmetric, (n, n).

    `together` (n, n) is the sum of a a^T over examples, `weight` (m, n) what the layer behind makes of them.
    """
    strength, inner = together.diag(), weight.T @ weight
    apart = (inner.diag()[:, None] + inner.diag() - 2 * inner).clamp(min=0)
    exclusive = (strength[:, None] * strength - together.square()).clamp(min=0)
    cost = exclusive / (strength[:, None] + strength).clamp(min=torch.finfo(strength.dtype).tiny) * apart
    return (cost + cost.T) / 2


def units(cost: Tensor, strength: Tensor, k: int) -> Tensor:
    """Units of k neurons whose pairs cost little: neighbours of the strongest, then exchanges that help. (n / k, k)

    Neurons ascend within their unit, and units by their first neuron.
    """
    count, everyone = len(cost) // k, torch.arange(len(cost))
    unit = _neighbours(cost, strength, k)
    cost = cost.clone().fill_diagonal_(0)
    into = torch.zeros(len(cost), count, dtype=cost.dtype).index_add_(1, unit, cost)  # of each neuron, with each unit
    least = -1e-9 * cost.mean()  # less is rounding
    for _ in range(SWEEPS):
        exchanged = False
        for i in range(len(cost)):
            here = into[everyone, unit]
            gain = into[i, unit] + into[:, unit[i]] - here[i] - here - 2 * cost[i]
            gain[unit == unit[i]] = 0
            j = int(gain.argmin())
            if gain[j] < least:
                mine, other = int(unit[i]), int(unit[j])
                into[:, mine] += cost[j] - cost[i]
                into[:, other] += cost[i] - cost[j]
                unit[i], unit[j], exchanged = other, mine, True
        if not exchanged:
            break
    found = unit.argsort(stable=True).view(count, k)
    return found[found[:, 0].argsort()]


def _neighbours(cost: Tensor, strength: Tensor, k: int) -> Tensor:
    """The unit of each neuron when the strongest one left takes the k - 1 that cost least, again and again. (n,)"""
    unit, count = torch.full((len(cost),), -1), 0
    for i in strength.argsort(descending=True, stable=True).tolist():
        if unit[i] < 0:
            unit[i] = count
            unit[cost[i].masked_fill(unit >= 0, torch.inf).argsort(stable=True)[: k - 1]] = count
            count += 1
    return unit


def _products(a: Tensor, k: int) -> Tensor:
    """The sum of (u, 1)^T (u, a, 1) over a batch, u being the maxima of units of k. (n / k + 1, n / k + n + 1)"""
    u, one = in_units(a, k).amax(2), a.new_ones(len(a), 1)
    return torch.cat([u, one], 1).T @ torch.cat([u, a, one], 1)


def refit(weight: Tensor, bias: Tensor | None, moments: Tensor, ridge: float = RIDGE) -> tuple[Tensor, Tensor | None]:
    """The weights (m, n / k) and bias on the units' maxima u that differ least from W a + b, in the mean of squares.

    `moments` are the sums of `_products`, float64. Each unit's weight is first the best one for its own neurons, then
    all are fitted together, held to these by the ridge. Without a bias there is none in the fit.
    """
    moments = moments / moments[-1, -1]
    count, n = len(moments) - 1, weight.shape[1]
    (uu, ua), (mean_u, mean_a) = (torch.split(m, [count, n], -1) for m in (moments[:-1, :-1], moments[-1, :-1]))
    own = torch.unflatten(ua, 1, (count, -1)).diagonal().T  # (n / k, k): E[u a_i] for the neurons of the unit
    start = (torch.unflatten(weight, 1, (count, -1)) * own).sum(2) / uu.diag().clamp(min=torch.finfo(uu.dtype).tiny)
    if bias is not None:
        uu, ua = uu - mean_u[:, None] * mean_u, ua - mean_u[:, None] * mean_a
    held = uu.diag().mean() * ridge + torch.finfo(uu.dtype).tiny
    missing = ua @ weight.T - uu @ start.T
    fitted = start + torch.linalg.solve(uu + held * torch.eye(count).to(uu), missing).T
    return fitted, None if bias is None else bias + weight @ mean_a - fitted @ mean_u
