"""Which channels of a network hang together: the ground that surgery, counting and cost stand on.

Channels that can only be removed together (both operands of an addition, a convolution and its BatchNorm, a flattened
map and its columns) form one *channel group*. A group that meets an operation without a rule is frozen, with its
reason. `tracing` makes the graph of a network.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, fx, nn

from trimcore.errors import NotTrimmable

T = TypeVar("T")
Roles = tuple[str | None, ...]  # of the axes of a tensor
Kept = dict[str, dict[str, Tensor]]  # part -> role -> the positions that stay
WITHOUT_NEURONS = ("norm", "scale", "fixed", "maxout")  # kinds of parts that are no layers of neurons


@dataclass
class Part:
    """A module whose weights have channel axes, or a stored tensor that scales channels.

    `groups` gives the channel group of each position, by role: "out" for its outputs, "in" for its inputs, and for
    grouped convolutions those of one group. `axes` gives for each tensor of the module the role of its axes, None for
    one that is not cut: a convolution has {"weight": ("out", "in"), "bias": ("out",)}.

    A part of kind "fixed" is never cut (attention, say): it is there because it has weights or work (`fixed_macs`).
    """

    name: str
    module: nn.Module
    kind: str  # conv, transposed, depthwise, grouped, linear, norm, scale, maxout, fixed
    groups: dict[str, Tensor]
    axes: dict[str, Roles]
    positions: int = 0  # of one example, over all calls: where each weight is used once
    fixed_macs: int = 0
    training_only: bool = False
    reason: str = ""  # why a fixed part is fixed

    @property
    def outputs(self) -> Tensor:
        return self.groups["out"]

    @property
    def inputs(self) -> Tensor:
        """Only of parts that have some: layers and maxout units."""
        return self.groups["in"]

    @property
    def weight(self) -> Tensor:
        return cast(Tensor, self.module.weight)

    def tensors(self) -> Iterator[tuple[str, Tensor, Roles]]:
        """Name, tensor and roles of its axes, of the tensors that have some to cut."""
        for name, roles in self.axes.items():
            tensor = getattr(self.module, name, None)
            if tensor is not None:
                yield name, tensor, roles

    def macs(self, sizes: Mapping[str, int]) -> int:
        """Multiply-accumulates of one example, with so many positions of each role. Normalisation counts none."""
        if self.kind in WITHOUT_NEURONS:
            return self.fixed_macs
        return self.positions * elements(self.weight.shape, self.axes["weight"], sizes)


def elements(shape: torch.Size, roles: Roles, sizes: Mapping[str, int]) -> int:
    """How many elements a tensor of that shape has with so many positions of each role left."""
    kept = [length if role is None else sizes[role] for length, role in zip(shape, roles, strict=False)]
    return math.prod(kept) * math.prod(shape[len(roles) :])


@dataclass
class Site:
    """A place in the graph where activations are counted: `groups` of each position along `axis`. `exact`: the
    activation is a ReLU or the like, with true zeros; others only come near zero."""

    node: str
    axis: int
    groups: Tensor
    exact: bool = True


@dataclass
class Layer:
    """A convolution or linear layer as people see it. `neurons[i]` is the channel group of neuron i. A fixed part (see
    `Part`) is shown as a layer without neurons."""

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


@dataclass(frozen=True)
class Units:
    """The maxout units of a layer: its neurons u * k to u * k + k - 1 feed unit u. `source` is the operation whose
    values the module `maxout` takes the maximum of, along the axis `dim`."""

    maxout: str
    source: str
    k: int
    dim: int


@dataclass(frozen=True)
class Fold:
    """The part `consumer` is given channels that the parts of `chain` have shifted. `into` names the module whose bias
    or mean absorbs what goes with them (see `surgery.fold`)."""

    consumer: str
    chain: tuple[str, ...]
    into: str


@dataclass
class ChannelGraph:
    """The traced network. `held` has the modules and tensors that `graph` names, `inputs` what it was traced with
    (shapes only); `frozen` maps a group to the reason why it stays; `outputs` are the shapes of its results.

    A maxout unit is one group with all its neurons. In the graph `fine`, for pruning within units, each neuron and each
    unit is a group of its own; `coarse` gives for each group there the one here. Layers with units are in `units`.
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
    folds: list[Fold] = field(default_factory=list)  # constants that a cut has to leave behind
    units: dict[str, Units] = field(default_factory=dict)
    coarse: Tensor = field(default_factory=lambda: torch.arange(0))
    opened: "ChannelGraph | None" = None  # `fine`, where there are units

    @property
    def fine(self) -> "ChannelGraph":
        return self.opened or self

    def in_fine(self, gone: Tensor) -> Tensor:
        """A mask over the groups here as one over those of `fine`. (group_count,)"""
        return gone[self.coarse] if self.opened else gone

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
        return self.may_go[self.layers[layer].neurons].nonzero().flatten().tolist()

    @cached_property
    def may_go(self) -> Tensor:
        """The groups that are not frozen and reach an activation. Mask, (group_count,)"""
        return self.reaches & ~self.stays

    @cached_property
    def reaches(self) -> Tensor:
        """The groups that reach an activation, or the maximum of a unit. Mask, (group_count,)"""
        members = [part.groups["in"] for part in self.parts.values() if part.kind == "maxout"]
        return self._mask([*(site.groups for site in self.sites), *members])

    @cached_property
    def stays(self) -> Tensor:
        """The frozen groups. Mask, (group_count,)"""
        return self._mask([torch.tensor(list(self.frozen), dtype=torch.long)])

    def _mask(self, groups: list[Tensor]) -> Tensor:
        mask = torch.zeros(self.group_count, dtype=torch.bool)
        if groups:
            mask[torch.cat(groups)] = True
        return mask

    def kept(self, gone: Tensor) -> Kept:
        """By part and role, the positions that stay when the groups of the mask `gone` go."""
        groups, lengths = self._positions
        return self._by_role(stays.nonzero().flatten() for stays in torch.split((~gone)[groups], lengths))

    def sizes(self, gone: Tensor) -> dict[str, dict[str, int]]:
        """By part and role, how many positions stay when the groups of the mask `gone` go."""
        groups, lengths = self._positions
        until = torch.cat([torch.zeros(1, dtype=torch.long), (~gone)[groups].cumsum(0)])
        return self._by_role(until[torch.tensor([0, *lengths]).cumsum(0)].diff().tolist())

    @cached_property
    def _positions(self) -> tuple[Tensor, list[int]]:
        """The groups of all parts and roles end to end, so that all are looked up at once, and how many each has."""
        groups = [groups for part in self.parts.values() for groups in part.groups.values()]
        return torch.cat([torch.arange(0), *groups]), [len(one) for one in groups]

    @cached_property
    def parameters(self) -> int:
        """Of the whole network."""
        return sum(p.numel() for p in self.model.parameters())

    @cached_property
    def shapes(self) -> dict[str, list[tuple[torch.Size, Roles]]]:
        """By part, the shape of each parameter that it has and the roles of its axes."""
        return {
            name: [(tensor.shape, roles) for _, tensor, roles in part.tensors() if isinstance(tensor, nn.Parameter)]
            for name, part in self.parts.items()
        }

    def _by_role(self, values: Iterable[T]) -> dict[str, dict[str, T]]:
        left = iter(values)
        return {name: {role: next(left) for role in part.groups} for name, part in self.parts.items()}

    def together(self, layer: str, neurons: Iterable[int]) -> list[int]:
        """These neurons of a layer and those that can only go with them, ascending."""
        groups, neurons = self.layers[layer].neurons, list(neurons)
        return torch.isin(groups, groups[neurons]).nonzero().flatten().tolist() if neurons else []

    def trimmable(self) -> list[str]:
        """Names of the layers to plan with, in depth order; of tied layers only the first."""
        return [layer.name for layer in self.layers.values() if layer.trimmable and layer.leader == layer.name]

    def why_nothing(self) -> str:
        """One line for a network without a trimmable layer: the commonest reason."""
        reasons = [layer.reason for layer in self.layers.values()]
        most = max(reasons, key=reasons.count, default="it has no convolution or linear layer")
        return f"no layer of this {type(self.model).__name__} can be trimmed: {most}"
