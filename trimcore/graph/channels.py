"""The channel of each element of a tensor, as a tensor of integers: what tracing carries through a network.

An axis along which the channels do not differ has stride 0, so a value of any size takes the memory of a vector.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, fx

T = TypeVar("T")
Value = Any  # what a node gives: `Channels` for a tensor, else as it is; or tuples, lists and dicts of these


@dataclass(frozen=True)
class Constant:
    """What a value is once its channels are held at zero: `zero` (channels,) says where it was zero before the parts
    named in `chain` shifted it, channel by channel."""

    zero: Tensor
    chain: tuple[str, ...] = ()

    def then(self, part: str) -> "Constant":
        return Constant(self.zero, (*self.chain, part))


@dataclass
class Channels:
    """The channel of each element of a tensor: `ids = 2 * channel + zero`.

    `zero` is 1 where the value is certainly zero once all activations of the channel are held at zero: after an
    activation, and still after pooling or dropout, but no longer after BatchNorm, which has a bias.
    """

    ids: Tensor
    dtype: torch.dtype = torch.float32  # of a value without a rule, which may be a mask or an index
    constant: Constant | None = None  # what is known of it where it is no longer zero

    @property
    def shape(self) -> torch.Size:
        return self.ids.shape


def found_in(value: Value, kind: type[T]) -> list[T]:
    """All that is of a kind in what a node gives, channels or tensors, in order."""
    found: list[T] = []
    fx.node.map_aggregate(value, lambda v: found.append(v) if isinstance(v, kind) else None)
    return found


def along(ids: Tensor, axis: int) -> Tensor | None:
    """The ids as a vector along `axis`, or None when they also differ along another axis."""
    axis %= ids.dim()
    for other in range(ids.dim()):
        if other == axis or ids.shape[other] == 1:
            continue
        first = ids.narrow(other, 0, 1)
        if ids.stride(other) != 0 and not torch.equal(ids, first.expand_as(ids)):
            return None
        ids = first
    return ids.reshape(-1)


def laid_along(ids: Tensor, axis: int) -> Tensor:
    """As `along`, for the axis that `channel_axis` gives: along others the ids do not differ."""
    return cast(Tensor, along(ids, axis))


def varying_axes(ids: Tensor) -> list[int]:
    return [axis for axis, size in enumerate(ids.shape) if size > 1 and ids.stride(axis) != 0]


def canonical(ids: Tensor) -> Tensor:
    """The same ids with stride 0 along every axis on which they do not differ, as `varying_axes` relies on."""
    shape = ids.shape
    for axis in varying_axes(ids):
        first = ids.narrow(axis, 0, 1)
        if torch.equal(ids, first.expand_as(ids)):
            ids = first
    return ids.expand(shape)


def channel_axis(ids: Tensor) -> int | None:
    """The axis along which the channels lie, or None when they are spread over several axes or over the batch."""
    varying = varying_axes(ids)
    if len(varying) > 1 or varying == [0] or ids.dim() < 2:
        return None
    if varying:
        return varying[0]
    return next((axis for axis in range(1, ids.dim()) if ids.shape[axis] == 1), 1)  # a single channel


def changing_axes(ids: Tensor) -> set[int]:
    """The axes whose length may change when channels go."""
    axis = channel_axis(ids)
    return set(varying_axes(ids)) | ({axis} if axis is not None else set())


def spread(vector: Tensor, shape: Sequence[int], axis: int) -> Tensor:
    """A vector of ids as a tensor of `shape` that differs along `axis` alone; takes no memory for the other axes."""
    view = [1] * len(shape)
    view[axis] = -1
    return vector.view(view).expand(*shape)


def narrowed(tensors: list[Tensor], keep: int | None = None) -> list[Tensor]:
    """The tensors with every axis cut to length one along which none of them differs (axis `keep` excepted)."""
    same = [all(strides) for strides in zip(*([step == 0 for step in t.stride()] for t in tensors), strict=True)]
    cut = tuple(slice(1) if flat and axis != keep else slice(None) for axis, flat in enumerate(same))
    return [t[cut] for t in tensors]


def with_zero(ids: Tensor, zero: bool) -> Channels:
    """The same channels, all of them zero by now, or none."""
    (slim,) = narrowed([ids])
    return Channels((slim | 1 if zero else slim & ~1).expand(ids.shape))
