"""Verify a pruned network: trace it again and compare the trace with that of the full network.

Two things are checked. The operations must be the same and contain the same literal numbers: a forward function that
reads a width (`x * self.fc.in_features**-0.5`) would compute something else after pruning. And every layer must receive
the same channels as before, minus the removed ones.
"""

from typing import Any

import torch
from torch import Tensor, fx, nn

from trimcore.errors import NotTrimmable
from trimcore.graph.channel_graph import ChannelGraph, Kept
from trimcore.graph.computed import weight_of
from trimcore.graph.tracing import trace

DEPENDS = "the forward function depends on a width"


def trace_and_compare(full: ChannelGraph, kept: Kept, small: nn.Module) -> ChannelGraph:
    """Trace `small` and compare it with `full`, from which it was cut by keeping the positions `kept` (see
    `ChannelGraph.kept`). Returns the graph of `small`.

    Raises NotTrimmable with the operation that depends on a width.
    """
    try:
        found = trace(small, full.inputs, **full.options)
    except NotTrimmable as error:
        raise NotTrimmable(f"{DEPENDS}: {error}") from None
    _check_operations(full, found)
    _check_channels(full, kept, found)
    _check_computed_weights(full, kept, found)
    return found


def _check_operations(full: ChannelGraph, found: ChannelGraph) -> None:
    before, after = list(full.graph.nodes), list(found.graph.nodes)
    own = {id(tensor) for tensor in (*full.model.parameters(), *full.model.buffers())}
    for one, other in zip(before, after, strict=False):
        if _written(one) != _written(other) or not _same_constant(one, own, full, found):
            raise NotTrimmable(f"{DEPENDS}: {one.name} is a different operation after pruning")
    if len(before) != len(after):
        raise NotTrimmable(f"{DEPENDS}: it has a different number of operations after pruning")


def _written(node: fx.Node) -> tuple[Any, ...]:
    """An operation and its literal operands."""
    return node.op, node.target, *fx.node.map_arg((node.args, node.kwargs), lambda operand: operand.name)


def _same_constant(node: fx.Node, own: set[int], full: ChannelGraph, found: ChannelGraph) -> bool:
    """Whether a constant of the forward function is unchanged. Parameters and buffers (ids in `own`) may change."""
    if node.op != "get_attr" or node.target not in found.held:
        return True
    one, other = full.held[node.target], found.held[node.target]
    return id(one) in own or not isinstance(one, Tensor) or one.is_meta or torch.equal(one, other)


def _check_channels(full: ChannelGraph, kept: Kept, found: ChannelGraph) -> None:
    before, after = [], []
    for name, part in full.fine.parts.items():
        if part.kind == "maxout":
            continue  # it may have disappeared; the layers before and after it show the same ties
        other = found.parts.get(name)
        for role, positions in kept[name].items():
            if other is None or role not in other.groups or len(other.groups[role]) != len(positions):
                raise NotTrimmable(f"{DEPENDS}: {name} is used differently after pruning")
            before.append(full.parts[name].groups[role][positions])  # grouped with its whole maxout unit
            after.append(other.groups[role])
    if not before:
        return
    was, now = torch.cat(before), torch.cat(after)
    # With one channel left, more channels can be tied than before. Only removable channels can have been mixed up.
    free = ~full.is_frozen[was]
    was, now = was[free], now[free]
    low = torch.full((found.group_count,), full.group_count).scatter_reduce(0, now, was, "amin")
    if not torch.equal(low[now], was):
        raise NotTrimmable(f"{DEPENDS}: channels reach different layers after pruning")


def _check_computed_weights(full: ChannelGraph, kept: Kept, found: ChannelGraph) -> None:
    """Compare weights that are computed at each call with the remaining rows and columns of those before."""
    for name, computed in full.computed.items():
        before, after = weight_of(computed, full.held), weight_of(found.computed[name], found.held)
        if after.is_meta:
            continue
        expected, columns = before.index_select(0, kept[name]["out"]), kept[name]["in"]
        if computed.columns and len(columns) < before.shape[1]:
            expected = expected.index_select(1, columns)
        if not torch.allclose(after, expected, atol=1e-9 * float(before.abs().max())):
            raise NotTrimmable(f"{DEPENDS}: {name} computes other weights after pruning")
