"""Numbers that a network reads from shapes and that change when channels are removed.

In `b, c, h, w = x.shape`, `c` is such a number: it counts the channels of x. If it only shapes a value with the same
channels, it may shrink with them. Any other use (a scale `x / c**0.5`, the shape of another value) would change the
result, so the channels that it counts are frozen.
"""

import operator
from typing import Any

import torch
from torch import Tensor, fx

from trimcore.graph.channels import Channels, along, atoms_of, changing_axes, channel_axis, channel_vector


class Sizes:
    """The channels that numbers count: `counted` has the atoms for nodes whose value is one number, in order; `by_axis`
    has them by axis for nodes whose value is a whole shape."""

    def __init__(self) -> None:
        self.counted: dict[fx.Node, Tensor] = {}
        self.by_axis: dict[fx.Node, dict[int, Tensor]] = {}
        self.attributes: dict[fx.Node, set[str]] = {}  # the width attributes of layers that a number is computed from

    def record_shape(self, node: fx.Node, x: Channels) -> None:
        """The node's value is the whole shape of x."""
        self.by_axis[node] = {axis: _channels_along(x, axis) for axis in changing_axes(x.ids)}

    def record_length(self, node: fx.Node, x: Channels, dim: int) -> None:
        """The node's value is the length of one axis of x."""
        axis = dim % len(x.shape)
        if axis in changing_axes(x.ids):
            self.counted[node] = _channels_along(x, axis)

    def record_computed(self, node: fx.Node, rank: int) -> None:
        """The node computes its value from numbers alone. `rank` is the length of the shape that it indexes."""
        source, index, *_ = (*node.args, None, None)
        lengths = self.by_axis.get(source) if isinstance(source, fx.Node) else None
        if node.target is operator.getitem and lengths is not None and not isinstance(index, fx.Node):
            if isinstance(index, slice):
                taken = enumerate(range(rank)[index])
                self.by_axis[node] = {new: lengths[axis] for new, axis in taken if axis in lengths}
            elif isinstance(index, int) and index % rank in lengths:
                self.counted[node] = lengths[index % rank]
        elif (found := self.counted_by(node.all_input_nodes)) is not None:
            self.counted[node] = found
        if known := self.attributes_of(node.all_input_nodes):
            self.attributes[node] = known

    def attributes_of(self, operands: Any) -> set[str]:
        """The width attributes, such as "fc1.in_features", that numbers among the operands are computed from."""
        nodes: list[fx.Node] = []
        fx.node.map_arg(operands, nodes.append)
        return set().union(*(self.attributes.get(node, set()) for node in nodes))

    def counted_by(self, operands: Any) -> Tensor | None:
        """The atoms of the channels that numbers among the operands count, or None if no number counts channels."""
        nodes: list[fx.Node] = []
        fx.node.map_arg(operands, nodes.append)
        found = [self.counted[node] for node in nodes if node in self.counted]
        found += [atoms for node in nodes for atoms in self.by_axis.get(node, {}).values()]
        if not found:
            return None
        same = all(torch.equal(atoms, found[0]) for atoms in found)
        return found[0] if same else torch.cat(found)


def _channels_along(x: Channels, axis: int) -> Tensor:
    vector = along(x.ids, axis)
    if vector is None:
        vector = torch.unique(x.ids)
    return atoms_of(vector)


def counts_channels_of(atoms: Tensor, x: Channels) -> bool:
    """Whether the atoms are the channels of x in order, possibly each repeated over several positions."""
    axis = channel_axis(x.ids)
    vector = None if axis is None else atoms_of(channel_vector(x.ids, axis))
    if vector is None or len(vector) % len(atoms):
        return False
    return torch.equal(vector, atoms.repeat_interleave(len(vector) // len(atoms)))


def same_proportions(one: Tensor, other: Tensor) -> bool:
    """Whether two vectors have the same values in the same proportions."""
    values, counts = torch.unique(one, return_counts=True)
    other_values, other_counts = torch.unique(other, return_counts=True)
    if not torch.equal(values, other_values):
        return False
    return bool((counts * other_counts[0] == other_counts * counts[0]).all())
