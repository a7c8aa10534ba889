"""Which channels of a network hang together: the ground that surgery, counting and cost stand on.

Channels that can only be removed together (both operands of an addition, a convolution and its BatchNorm, a flattened
map and its columns) form one *channel group*. A group that meets an operation without a rule is frozen, with its
reason. `tracing` makes the graph of a network.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor, fx, nn

from trimcore.errors import NotTrimmable


@dataclass
class Part:
    """A module whose weights have channel axes. `outputs` and `inputs` give the group of each position of weight axes
    0 and 1; `inputs` is None where the weight has no input axis to cut (normalisation, depthwise)."""

    name: str
    module: nn.Module
    kind: str  # conv, linear, norm, depthwise, grouped
    outputs: Tensor
    inputs: Tensor | None
    positions: int = 0  # output positions of one example, over all calls

    def macs(self, inputs: int | None = None, outputs: int | None = None) -> int:
        """Multiply-accumulates of one example; normalisation counts none."""
        if self.kind == "norm":
            return 0
        weight = self.module.weight
        outputs = len(self.outputs) if outputs is None else outputs
        inputs = weight.shape[1] if inputs is None or self.inputs is None else inputs
        return self.positions * outputs * inputs * weight.shape[2:].numel()


@dataclass
class Site:
    """A place in the graph where activations are counted: `groups` of each position along `axis`."""

    node: str
    axis: int
    groups: Tensor


@dataclass
class Layer:
    """A convolution or linear layer as people see it. `neurons[i]` is the channel group of neuron i."""

    name: str
    kind: str
    neurons: Tensor
    reason: str = ""  # why it cannot be trimmed; empty: it can
    leader: str = ""  # the layer through which this one is trimmed (itself, unless they are tied)
    tied: list[str] = field(default_factory=list)

    @property
    def width(self) -> int:
        return len(self.neurons)

    @property
    def trimmable(self) -> bool:
        return not self.reason


@dataclass
class ChannelGraph:
    """The traced network. `frozen` maps a group to the reason why it stays."""

    model: nn.Module
    graph: fx.Graph
    parts: dict[str, Part]
    sites: list[Site]
    layers: dict[str, Layer]
    group_count: int
    frozen: dict[int, str]

    def layer(self, name: str) -> Layer:
        """The trimmable layer of that name. Raises NotTrimmable, naming layer and reason."""
        if name not in self.layers:
            raise NotTrimmable(f"there is no layer {name!r}; trimmable are {', '.join(self.trimmable()) or 'none'}")
        layer = self.layers[name]
        if not layer.trimmable:
            raise NotTrimmable(f"layer {name!r} cannot be trimmed: {layer.reason}")
        return layer

    def candidates(self, layer: str) -> list[int]:
        """The neurons of a layer that may go: those whose group is not frozen and reaches an activation."""
        if not self.layers[layer].trimmable:
            return []
        counted = self._counted()
        groups = self.layers[layer].neurons.tolist()
        return [i for i, group in enumerate(groups) if group not in self.frozen and group in counted]

    def _counted(self) -> set[int]:
        return set(torch.cat([site.groups for site in self.sites]).tolist()) if self.sites else set()

    def trimmable(self) -> list[str]:
        """Names of the layers to plan with, in depth order; of tied layers only the first."""
        return [layer.name for layer in self.layers.values() if layer.trimmable and layer.leader == layer.name]


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


def layers_of(parts: dict[str, Part], sites: list[Site], frozen: dict[int, str]) -> dict[str, Layer]:
    counted = set(torch.cat([s.groups for s in sites]).tolist()) if sites else set()
    owner: dict[int, str] = {}  # group -> the first layer that has it
    layers: dict[str, Layer] = {}
    for part in parts.values():
        if part.kind == "norm":
            continue
        layer = layers[part.name] = Layer(part.name, part.kind, part.outputs)
        groups = part.outputs.tolist()
        first = next((owner[g] for g in groups if g in owner), None)
        layer.leader = part.name if first is None or any(g not in owner for g in groups) else first
        if layer.leader != part.name:
            layers[layer.leader].tied.append(part.name)
        for group in groups:
            owner.setdefault(group, part.name)
        free = [g for g in groups if g not in frozen]
        if not free:
            layer.reason = frozen[groups[0]]
        elif not any(g in counted for g in free):
            layer.reason = "its output reaches no activation"
        elif len(set(free)) < 2 and layer.width > 1:
            layer.reason = "its channels can only be removed all together"
    return layers
