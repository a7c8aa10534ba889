"""Whether a smaller network does what the whole one did: it is traced again, and both traces are compared.

Two things are looked at. Its operations must be the same, with the same numbers written in them: a forward function
that reads a width (`x * self.fc.in_features**-0.5`) would do something else now. And every layer must find the channels
that it found before, less those that are gone.
"""

from typing import Any

import torch
from torch import Tensor, fx, nn

from trimcore.errors import NotTrimmable
from trimcore.graph.channel_graph import ChannelGraph, Kept
from trimcore.graph.tracing import trace

DEPENDS = "the forward function depends on a width"


def verified(whole: ChannelGraph, kept: Kept, small: nn.Module) -> ChannelGraph:
    """The graph of `small`, which is what `whole` is with only the positions `kept` (see `ChannelGraph.kept`).

    Raises NotTrimmable, naming the operation that depends on a width.
    """
    try:
        found = trace(small, whole.inputs)
    except NotTrimmable as error:
        raise NotTrimmable(f"{DEPENDS}: {error}") from None
    _check_operations(whole, found)
    _check_channels(whole, kept, found)
    return found


def _check_operations(whole: ChannelGraph, found: ChannelGraph) -> None:
    before, after = list(whole.graph.nodes), list(found.graph.nodes)
    own = {id(tensor) for tensor in (*whole.model.parameters(), *whole.model.buffers())}
    for one, other in zip(before, after, strict=False):
        if _written(one) != _written(other) or not _same_constant(one, own, whole, found):
            raise NotTrimmable(f"{DEPENDS}: {one.name} is another operation after the cut")
    if len(before) != len(after):
        raise NotTrimmable(f"{DEPENDS}: it has other operations after the cut")


def _written(node: fx.Node) -> tuple[Any, ...]:
    """What an operation is, with the numbers that are written in it."""
    return node.op, node.target, *fx.node.map_arg((node.args, node.kwargs), lambda operand: operand.name)


def _same_constant(node: fx.Node, own: set[int], whole: ChannelGraph, found: ChannelGraph) -> bool:
    """Tensors that forward made on the way must not change; its `own` (ids of parameters and buffers) may."""
    if node.op != "get_attr" or node.target not in found.held:
        return True
    one, other = whole.held[node.target], found.held[node.target]
    return id(one) in own or not isinstance(one, Tensor) or one.is_meta or torch.equal(one, other)


def _check_channels(whole: ChannelGraph, kept: Kept, found: ChannelGraph) -> None:
    before, after = [], []
    for name, part in whole.fine.parts.items():
        if part.kind == "maxout":
            continue  # it may have disappeared; what it ties together shows in the layers on both of its sides
        other = found.parts.get(name)
        for role, positions in kept[name].items():
            if other is None or role not in other.groups or len(other.groups[role]) != len(positions):
                raise NotTrimmable(f"{DEPENDS}: {name} is used differently after the cut")
            before.append(whole.parts[name].groups[role][positions])  # with its whole unit
            after.append(other.groups[role])
    if not before:
        return
    was, now = torch.cat(before), torch.cat(after)
    # With one channel left more can hang together than before; only channels that may go can have been mixed up.
    free = ~whole.stays[was]
    was, now = was[free], now[free]
    low = torch.full((found.group_count,), whole.group_count).scatter_reduce(0, now, was, "amin")
    if not torch.equal(low[now], was):
        raise NotTrimmable(f"{DEPENDS}: channels reach other layers after the cut")
