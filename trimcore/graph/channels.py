"""The channel of each element of a tensor, stored as a tensor of integers. Tracing passes these through the network.

An axis along which the channels are the same has stride 0, so a value of any size needs only the memory of a vector.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, fx

T = TypeVar("T")
BEHIND, OWN, BOTH = 1, 2, 3
Value = Any  # a node's value: `Channels` for a tensor, other values unchanged, or tuples, lists and dicts of them


@dataclass(frozen=True)
class Constant:
    """A value that is constant per channel while its channels' activations are held at zero.

    `zero` (channels,) is 1 where the value was zero before the parts named in `chain` shifted it channel by channel.
    """

    zero: Tensor
    chain: tuple[str, ...] = ()

    def shifted_by(self, part: str) -> "Constant":
        return Constant(self.zero, (*self.chain, part))


@dataclass
class Channels:
    """The channel of each element of a tensor: `ids = 4 * channel + flags`.

    The flags say when the value must be zero. `BEHIND`: if the channel is held at zero behind its activations. This is
    so after an activation, and still after pooling or dropout, but not after BatchNorm, which adds a bias. `OWN`: if it
    is held at zero where its own layers, and the norms after them, give it out.
    """

    ids: Tensor
    dtype: torch.dtype = torch.float32  # differs for results of operations without a rule: masks, indices
    constant: Constant | None = None  # set if the value may no longer be zero but is known to be constant

    @property
    def shape(self) -> torch.Size:
        return self.ids.shape


def leaves_of(value: Value, kind: type[T]) -> list[T]:
    """All leaves of one type in a node's value, in order."""
    found: list[T] = []
    fx.node.map_aggregate(value, lambda v: found.append(v) if isinstance(v, kind) else None)
    return found


def along(ids: Tensor, axis: int) -> Tensor | None:
    """The ids along `axis` as a vector, or None if they also differ along another axis."""
    axis %= ids.dim()
    for other in range(ids.dim()):
        if other == axis or ids.shape[other] == 1:
            continue
        first = ids.narrow(other, 0, 1)
        if ids.stride(other) != 0 and not torch.equal(ids, first.expand_as(ids)):
            return None
        ids = first
    return ids.reshape(-1)


def channel_vector(ids: Tensor, axis: int) -> Tensor:
    """Like `along`, for the axis returned by `channel_axis`: the ids do not differ along any other axis."""
    return cast(Tensor, along(ids, axis))


def varying_axes(ids: Tensor) -> list[int]:
    return [axis for axis, size in enumerate(ids.shape) if size > 1 and ids.stride(axis) != 0]


def canonical(ids: Tensor) -> Tensor:
    """The same ids, with stride 0 along every axis on which they do not differ. `varying_axes` relies on this."""
    shape = ids.shape
    for axis in varying_axes(ids):
        first = ids.narrow(axis, 0, 1)
        if torch.equal(ids, first.expand_as(ids)):
            ids = first
    return ids.expand(shape)


def channel_axis(ids: Tensor) -> int | None:
    """The axis of the channels, or None if they are spread over several axes or over the batch."""
    varying = varying_axes(ids)
    if len(varying) > 1 or varying == [0] or ids.dim() < 2:
        return None
    if varying:
        return varying[0]
    return next((axis for axis in range(1, ids.dim()) if ids.shape[axis] == 1), 1)  # a single channel


def changing_axes(ids: Tensor) -> set[int]:
    """The axes whose length may change when channels are removed."""
    axis = channel_axis(ids)
    return set(varying_axes(ids)) | ({axis} if axis is not None else set())


def spread(vector: Tensor, shape: Sequence[int], axis: int) -> Tensor:
    """Expand a vector of ids along `axis` to a tensor of `shape`. The other axes take no memory."""
    view = [1] * len(shape)
    view[axis] = -1
    return vector.view(view).expand(*shape)


def narrowed(tensors: list[Tensor], keep: int | None = None) -> list[Tensor]:
    """Reduce every axis along which no tensor differs to length one, except the axis `keep`."""
    same = [all(strides) for strides in zip(*([step == 0 for step in t.stride()] for t in tensors), strict=True)]
    cut = tuple(slice(1) if flat and axis != keep else slice(None) for axis, flat in enumerate(same))
    return [t[cut] for t in tensors]


def atoms_of(ids: Tensor) -> Tensor:
    """The channels without the flags."""
    return ids >> 2


def ids_of(atoms: Tensor, flags: int = 0) -> Tensor:
    return atoms * 4 + flags


def with_flags(ids: Tensor, on: int = 0, off: int = BOTH) -> Channels:
    """The same channels with the flags `off` cleared and then the flags `on` set for all of them."""
    (slim,) = narrowed([ids])
    return Channels((slim & ~off | on).expand(ids.shape))
