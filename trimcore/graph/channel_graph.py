"""The channel graph of a network: which channels depend on each other. Surgery, counting and costs are based on it.

Channels that can only be removed together form one *channel group*: the operands of an addition, a convolution and its
BatchNorm, a flattened feature map and the matching columns of a linear layer. A group that reaches an operation without
a rule is frozen, and the graph records the reason. `tracing.trace` builds the graph.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor, fx, nn

from trimcore.errors import NotTrimmable
from trimcore.graph.computed import ComputedWeight
from trimcore.graph.heads import Heads, head_of_groups, numbered

T = TypeVar("T")
Roles = tuple[str | None, ...]  # the role of each axis of a tensor
Kept = dict[str, dict[str, Tensor]]  # part -> role -> the positions to keep
WITHOUT_NEURONS = ("norm", "scale", "fixed", "maxout")  # the kinds of parts that are not layers of neurons


@dataclass
class Part:
    """A module whose weights have channel axes, or a stored tensor that scales channels.

    `groups` has the channel group of each position, by role: "out" for outputs, "in" for inputs, and for grouped
    convolutions the outputs or inputs of one group. `axes` has the roles of each tensor's axes; None marks an axis that
    is never cut. A convolution has {"weight": ("out", "in"), "bias": ("out",)}.

    A part of kind "fixed" (attention, for example) is never cut. It is listed for its weights and MACs (`fixed_macs`).
    """

    name: str
    module: nn.Module
    kind: str  # conv, transposed, depthwise, grouped, linear, recurrent, embedding, norm, scale, maxout, fixed
    groups: dict[str, Tensor]
    axes: dict[str, Roles]
    positions: int = 0  # output positions per example, summed over all calls; each weight is used once at each
    fixed_macs: int = 0
    training_only: bool = False
    reason: str = ""  # why the part is fixed

    @property
    def outputs(self) -> Tensor:
        return self.groups["out"]

    @property
    def inputs(self) -> Tensor:
        """Only layers and maxout units have inputs."""
        return self.groups["in"]

    @property
    def weights(self) -> list[tuple[Tensor, Roles]]:
        """The weight of a layer and the roles of its axes. A recurrent layer has several."""
        return [(tensor, roles) for name, tensor, roles in self.tensors() if name.startswith("weight")]

    def tensors(self) -> Iterator[tuple[str, Tensor, Roles]]:
        """Yields (name, tensor, roles of its axes) for the tensors that have axes to cut."""
        for name, roles in self.axes.items():
            tensor = getattr(self.module, name, None)
            if tensor is not None:
                yield name, tensor, roles

    def macs(self, sizes: Mapping[str, int]) -> int:
        """Multiply-accumulates per example with `sizes[role]` positions of each role. Normalisation counts as 0."""
        if self.kind in WITHOUT_NEURONS:
            return self.fixed_macs
        return self.positions * sum(elements(weight.shape, roles, sizes) for weight, roles in self.weights)


def elements(shape: torch.Size, roles: Roles, sizes: Mapping[str, int]) -> int:
    """The number of elements of a tensor of that shape with only `sizes[role]` positions of each role left."""
    kept = [length if role is None else sizes[role] for length, role in zip(shape, roles, strict=False)]
    return math.prod(kept) * math.prod(shape[len(roles) :])


@dataclass
class Site:
    """A node whose activations are counted. `groups` has the channel group of each position along `axis`. `exact` means
    that the activation has true zeros, like ReLU; other activations only come near zero."""

    node: str
    axis: int
    groups: Tensor
    exact: bool = True
    norm: bool = False  # of an exit: whether a norm gives out the channels, not the layer itself


@dataclass
class Layer:
    """A convolution or linear layer from the user's point of view. `neurons[i]` is the channel group of neuron i. A
    fixed part (see `Part`) is a layer without neurons."""

    name: str
    kind: str
    neurons: Tensor
    reason: str = ""  # why it cannot be trimmed; empty if it can
    leader: str = ""  # the layer that this one is trimmed with; itself unless it is tied
    tied: list[str] = field(default_factory=list)

    @property
    def width(self) -> int:
        return len(self.neurons)

    @property
    def trimmable(self) -> bool:
        return not self.reason


@dataclass(frozen=True)
class Units:
    """The maxout units of a layer. Neurons u * k to u * k + k - 1 feed unit u. The module `maxout` takes the maximum of
    the output of node `source` along the axis `dim`."""

    maxout: str
    source: str
    k: int
    dim: int


@dataclass(frozen=True)
class Fold:
    """A constant to fold (see `surgery.fold`). The parts of `chain` shift the channels that enter the part `consumer`;
    the bias or running mean of the module `into` absorbs what the removed channels contributed."""

    consumer: str
    chain: tuple[str, ...]
    into: str


@dataclass
class ChannelGraph:
    """The traced network. `held` maps the target names in `graph` to modules and tensors. `inputs` are the inputs
    (shapes only), `outputs` the shapes of the results. `frozen` maps a frozen group to its reason.

    A maxout unit and its neurons form one group. `units` has the layers with maxout units. In the graph `fine`, used
    for pruning within units, each neuron and each unit is a separate group; `coarse_group` maps the groups of `fine` to
    the groups of this graph.
    """

    model: nn.Module
    graph: fx.Graph
    held: dict[str, Any]
    inputs: tuple[Any, ...]
    parts: dict[str, Part]
    sites: list[Site]
    layers: dict[str, Layer]
    group_count: int
    frozen: dict[int, str]
    outputs: list[torch.Size] = field(default_factory=list)
    folds: list[Fold] = field(default_factory=list)  # constants to keep when channels are removed
    units: dict[str, Units] = field(default_factory=dict)
    coarse_group: Tensor = field(default_factory=lambda: torch.arange(0))
    per_neuron: "ChannelGraph | None" = None  # `fine`, if the network has maxout units
    computed: dict[str, ComputedWeight] = field(default_factory=dict)  # layer -> how its weight is computed
    attentions: list[Heads] = field(default_factory=list)
    joint_norms: list[Site] = field(default_factory=list)  # norms that leave removed channels out of their statistics
    options: dict[str, bool] = field(default_factory=dict)  # of `trace`
    exits: list[Site] = field(default_factory=list)  # where layers, and the norms after them, give out their channels
    held_behind: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.bool))  # (group_count,)
    # Of the padded groups, those that layers read although they are held at zero: they may be constants there.
    read_anyway: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.bool))  # (group_count,)
    padded: Tensor = field(
        default_factory=lambda: torch.zeros(0, dtype=torch.bool)
    )  # (group_count,), see layers.places

    @property
    def fine(self) -> "ChannelGraph":
        return self.per_neuron or self

    def to_fine(self, mask: Tensor) -> Tensor:
        """Convert a mask over the groups of this graph, (group_count,), to one over the groups of `fine`."""
        return mask[self.coarse_group] if self.per_neuron else mask

    def layer(self, name: str) -> Layer:
        """The trimmable layer with that name. Raises NotTrimmable with the reason if it does not exist or is frozen."""
        if name not in self.layers:
            raise NotTrimmable(f"there is no layer {name!r}; trimmable layers: {', '.join(self.trimmable()) or 'none'}")
        layer = self.layers[name]
        if not layer.trimmable:
            raise NotTrimmable(f"layer {name!r} cannot be trimmed: {layer.reason}")
        return layer

    def candidates(self, layer: str) -> list[int]:
        """The neurons of a layer that may be removed: their group is not frozen and reaches an activation."""
        if not self.layers[layer].trimmable:
            return []
        return self.removable[self.layers[layer].neurons].nonzero().flatten().tolist()

    @cached_property
    def heads(self) -> dict[str, list[int | None]]:
        """For layers whose neurons belong to heads of attention: the head of each, numbered from 0 in each layer."""
        known = head_of_groups(self.attentions)
        heads = {name: numbered(known, layer.neurons) for name, layer in self.layers.items()} if known else {}
        return {name: own for name, own in heads.items() if any(number is not None for number in own)}

    def has_activation(self, layer: str) -> bool:
        """Whether a neuron of the layer passes an activation, or the maximum of a unit, so that APoZ can rank it."""
        return bool(self._active[self.layers[layer].neurons].any())

    @cached_property
    def _active(self) -> Tensor:
        units = [part.outputs for part in self.parts.values() if part.kind == "maxout"]
        return self._mask([*(site.groups for site in self.sites), *units])

    @cached_property
    def removable(self) -> Tensor:
        """Mask of the groups that are not frozen and that can be held at zero. (group_count,)"""
        return ~self.is_frozen & (self.held_behind | self._mask([site.groups for site in self.exits]))

    @cached_property
    def is_frozen(self) -> Tensor:
        """Mask of the frozen groups. (group_count,)"""
        return self._mask([torch.tensor(list(self.frozen), dtype=torch.long)])

    def _mask(self, groups: list[Tensor]) -> Tensor:
        mask = torch.zeros(self.group_count, dtype=torch.bool)
        if groups:
            mask[torch.cat(groups)] = True
        return mask

    def kept(self, removed: Tensor) -> Kept:
        """The positions that remain, by part and role, if the groups of the mask `removed` are removed."""
        groups, lengths, _ = self._all_groups
        return self._by_role(kept.nonzero().flatten() for kept in torch.split(self._stays(removed), lengths))

    def sizes(self, removed: Tensor) -> dict[str, dict[str, int]]:
        """The number of positions that remain, by part and role, if the groups of the mask `removed` are removed."""
        _, lengths, _ = self._all_groups
        running = torch.cat([torch.zeros(1, dtype=torch.long), self._stays(removed).cumsum(0)])
        return self._by_role(running[torch.tensor([0, *lengths]).cumsum(0)].diff().tolist())

    def _stays(self, removed: Tensor) -> Tensor:
        """Which of all the positions remain. Tensors that scale an activation keep its width."""
        groups, _, whole = self._all_groups
        return ~removed[groups] | whole

    @cached_property
    def _all_groups(self) -> tuple[Tensor, list[int], Tensor]:
        """The groups of all parts and roles, concatenated so that one lookup covers them, the length of each, and which
        positions are never cut because their channels keep their places."""
        parts = [part for part in self.parts.values() for _ in part.groups]
        roles = [role for part in self.parts.values() for role in part.groups]
        groups = [groups for part in self.parts.values() for groups in part.groups.values()]
        never = [self.uncut(part, role)[own] for part, role, own in zip(parts, roles, groups, strict=True)]
        none = torch.zeros(0, dtype=torch.bool)
        return torch.cat([torch.arange(0), *groups]), [len(one) for one in groups], torch.cat([none, *never])

    def uncut(self, part: Part, role: str) -> Tensor:
        """Mask of the groups whose positions a part keeps in this role even if they are removed. (group_count,)"""
        if part.kind == "scale":
            return self.padded
        reads = role == "in" and part.kind in ("conv", "linear", "transposed")
        return self.read_anyway if reads else torch.zeros_like(self.read_anyway)

    @cached_property
    def parameters(self) -> int:
        """The number of parameters of the whole network."""
        return sum(p.numel() for p in self.model.parameters())

    @cached_property
    def shapes(self) -> dict[str, list[tuple[torch.Size, Roles]]]:
        """The shape and axis roles of each part's own parameters, by part."""
        return {
            name: [(tensor.shape, roles) for _, tensor, roles in part.tensors() if isinstance(tensor, nn.Parameter)]
            for name, part in self.parts.items()
        }

    def _by_role(self, values: Iterable[T]) -> dict[str, dict[str, T]]:
        remaining = iter(values)
        return {name: {role: next(remaining) for role in part.groups} for name, part in self.parts.items()}

    def together(self, layer: str, neurons: Iterable[int]) -> list[int]:
        """These neurons of a layer and the ones that can only be removed with them, in ascending order."""
        groups, neurons = self.layers[layer].neurons, list(neurons)
        return torch.isin(groups, groups[neurons]).nonzero().flatten().tolist() if neurons else []

    def trimmable(self) -> list[str]:
        """Names of the layers that a plan can name, in depth order. Of tied layers only the first is listed."""
        return [layer.name for layer in self.layers.values() if layer.trimmable and layer.leader == layer.name]

    def untrimmable_reason(self) -> str:
        """One line for a network without a trimmable layer: the most common reason."""
        reasons = [layer.reason for layer in self.layers.values()]
        most = max(reasons, key=reasons.count, default="it has no convolution or linear layer")
        return f"no layer of this {type(self.model).__name__} can be trimmed: {most}"
