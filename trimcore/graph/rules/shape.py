"""Rules for operations that move data or reduce it over positions."""

import re
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from trimcore.graph.channels import (
    Channels,
    Value,
    along,
    canonical,
    channel_axis,
    channel_vector,
    narrowed,
    spread,
    varying_axes,
    with_zero_flag,
)
from trimcore.graph.nodes import function, target
from trimcore.graph.sizes import counts_channels_of
from trimcore.graph.tracer import Tracer


def concatenate(tracer: Tracer, node: fx.Node, tensors: Sequence[Any], dim: int = 0, **kwargs: Any) -> Value:
    dim = kwargs.get("axis", dim)
    if not all(isinstance(t, Channels) for t in tensors):
        return tracer.without_rule(node, (tensors, dim), kwargs)
    dim %= len(tensors[0].shape)
    shape = list(tensors[0].shape)
    shape[dim] = sum(t.shape[dim] for t in tensors)
    return tracer.moved(node, Channels(torch.cat(narrowed([t.ids for t in tensors], dim), dim).expand(shape)))


def pool(tracer: Tracer, node: fx.Node, x: Channels, *args: Any, **kwargs: Any) -> Value:
    """Pooling and resizing: operations that change the positions of each channel separately and map zero to zero."""
    shape, vector = tracer.shape_of(node, x, *args, **kwargs), along(x.ids, 1)
    if vector is None or not isinstance(shape, torch.Size) or not has_batch(tracer, node, x):
        return tracer.without_rule(node, (x, *args), kwargs)
    return Channels(spread(vector, shape, 1))


def has_batch(tracer: Tracer, node: fx.Node, x: Channels) -> bool:
    """Whether axis 0 is the batch and axis 1 the channels. PyTorch treats a value with one axis less as one example."""
    name = type(tracer.module(node)).__name__ if node.op == "call_module" else function(node).__name__
    dimensions = re.search(r"([123])d", name)
    return dimensions is None or len(x.shape) == 2 + int(dimensions[1])


def pad(tracer: Tracer, node: fx.Node, x: Channels, *args: Any, **kwargs: Any) -> Value:
    """`F.pad` and the padding modules, for positions only. A nonzero padding value clears the zero flag."""
    shape, axis = tracer.shape_of(node, x, *args, **kwargs), channel_axis(x.ids)
    module: Any = tracer.module(node) if node.op == "call_module" else None
    amounts = module.padding if module else kwargs.get("pad", args[0] if args else ())
    padded = {len(x.shape) - 1 - k // 2 for k, amount in enumerate(amounts) if amount}  # pairs, from the last axis
    if axis is None or padded & {0, axis}:
        return tracer.without_rule(node, (x, *args), kwargs)
    value = kwargs.get("value", args[2] if len(args) > 2 else None)
    if module:
        value = getattr(module, "value", 0)
    result = Channels(spread(channel_vector(x.ids, axis), shape, axis))
    return result if not value else with_zero_flag(result.ids, False)


def reduce(
    tracer: Tracer, node: fx.Node, x: Channels, dim: Any = None, keepdim: bool = False, *, axis: Any = None,
    **kwargs: Any,
) -> Value:  # fmt: skip
    """`mean`, `sum`, `amax` and `amin` over positions."""
    dim = axis if dim is None else dim
    dims = [d % len(x.shape) for d in ([dim] if isinstance(dim, int) else dim or range(len(x.shape)))]
    axis = channel_axis(x.ids)
    if axis is None or axis in dims:
        return tracer.without_rule(node, (x, dim, keepdim), kwargs)
    kept = [1 if d in dims else size for d, size in enumerate(x.shape)]
    ids = spread(channel_vector(x.ids, axis), kept, axis)
    return Channels(ids if keepdim else ids.reshape([s for d, s in enumerate(kept) if d not in dims]))


def move(tracer: Tracer, node: fx.Node, x: Channels, *args: Any, **kwargs: Any) -> Channels:
    """Data movement, executed on the ids."""
    return tracer.moved(node, Channels(_moved_ids(tracer, node, x, args, kwargs)))


def _moved_ids(tracer: Tracer, node: fx.Node, x: Channels, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    moved: Tensor
    if node.op == "call_module":
        moved = tracer.module(node).forward(x.ids)
    elif node.op == "call_method":
        method = "reshape" if node.target == "view" else target(node)  # ids have other strides
        moved = getattr(x.ids, method)(*args, **kwargs)
    else:
        moved = function(node)(x.ids, *args, **kwargs)
    return moved


def squeeze(tracer: Tracer, node: fx.Node, x: Channels, *args: Any, **kwargs: Any) -> Value:
    """`squeeze` without an axis has no rule: with a single channel left, it would drop the channel axis too."""
    return move(tracer, node, x, *args, **kwargs) if args or kwargs else tracer.without_rule(node, (x,), {})


def expand(tracer: Tracer, node: fx.Node, x: Channels, *sizes: Any, **kwargs: Any) -> Channels:
    """Freeze a channel axis of length one that is expanded to a fixed length, because it would not shrink."""
    _check_counts(tracer, node, x)
    result = move(tracer, node, x, *sizes, **kwargs)
    added = len(result.shape) - len(x.shape)
    expanded = {axis + added for axis, size in enumerate(x.shape) if size != result.shape[axis + added]}
    axis = channel_axis(x.ids)
    if axis is None or axis + added in expanded:
        tracer.freeze(x, f"{node.name} broadcasts one value over all channels")
    return result


def reshape(tracer: Tracer, node: fx.Node, x: Channels, *args: Any, **kwargs: Any) -> Channels:
    """`view` and `reshape`.

    A channel axis may be split into several axes, as in a channel shuffle. If the length of exactly one of them is
    computed (-1, or from a shape), channels can be removed along that axis, and those that differ only along the others
    are tied. A channel axis with a hard-coded length is frozen, because it would not shrink.
    """
    _check_counts(tracer, node, x)
    ids = canonical(_moved_ids(tracer, node, x, args, kwargs))
    lengths: Any = node.args[1:] or tuple(node.kwargs.values())
    lengths = lengths[0] if len(lengths) == 1 and isinstance(lengths[0], list | tuple) else lengths
    axes = varying_axes(ids)
    computed = [a for a in axes if _is_computed(tracer, lengths, a)]
    if len(axes) > 1 and len(computed) == 1 and 0 not in axes:
        ids = tied_along(tracer, ids, [axis for axis in axes if axis not in computed])
    result = tracer.moved(node, Channels(ids))
    axis = channel_axis(result.ids)
    if axis is not None and not _is_computed(tracer, lengths, axis):
        length = result.shape[axis]
        tracer.freeze(result, f"{node.name} hard-codes the length {length} of its channel axis; use -1 instead")
    return result


def _is_computed(tracer: Tracer, lengths: Any, axis: int) -> bool:
    """Whether the length of an axis is computed: it is -1, it counts channels, or it comes from a whole shape."""
    if len(lengths) == 1 and isinstance(lengths[0], fx.Node) and isinstance(tracer.env[lengths[0]], torch.Size):
        return True
    return lengths[axis] == -1 or tracer.sizes.counted_by(lengths[axis]) is not None


def _check_counts(tracer: Tracer, node: fx.Node, x: Channels) -> None:
    """A number that counts channels may shape x only if it counts the channels of x, or channels tied to them."""
    atoms = tracer.sizes.counted_by(node.all_input_nodes)
    if atoms is None or counts_channels_of(atoms, x):
        return
    axis = channel_axis(x.ids)
    if axis is not None and x.shape[axis] == len(atoms):
        tracer.tie(channel_vector(x.ids, axis) >> 1, atoms)  # both must keep the same number
    else:
        tracer.require_same_channels(node, atoms, x)


def tied_along(tracer: Tracer, ids: Tensor, axes: list[int]) -> Tensor:
    """Tie the channels along `axes`. Returns ids that no longer differ along these axes."""
    shape, (slim,) = ids.shape, narrowed([ids])
    for axis in axes:
        tracer.tie_along(slim >> 1, axis)
        zero = (slim & 1).amin(axis, keepdim=True)
        slim = slim.narrow(axis, 0, 1) & ~1 | zero
    return slim.expand(shape)


def chunk(tracer: Tracer, node: fx.Node, x: Channels, chunks: int, dim: int = 0) -> Value:
    """Chunks of equal length. The same positions of all chunks are tied, so that the chunks stay equally long."""
    dim %= len(x.shape)
    if dim == channel_axis(x.ids):
        if x.shape[dim] % chunks:
            return tracer.without_rule(node, (x, chunks, dim), {})
        vector = tied_along(tracer, channel_vector(x.ids, dim).view(chunks, -1), [0])[0].repeat(chunks)
        x = Channels(spread(vector, x.shape, dim))
    return tuple(Channels(piece) for piece in x.ids.chunk(chunks, dim))


def getitem(tracer: Tracer, node: fx.Node, x: Any, index: Any) -> Value:
    """`x[...]` of a tensor or of several results. Selecting channels by index freezes them."""
    if not isinstance(x, Channels):
        return x[index]
    items = list(index) if isinstance(index, tuple) else [index]
    if any(not isinstance(i, int | slice | None | type(...)) for i in items):
        return tracer.without_rule(node, (x, index), {})
    if ... in items:
        at = items.index(...)
        items[at : at + 1] = [slice(None)] * (len(x.shape) - sum(i not in (None, ...) for i in items))
    taken = [i for i in items if i is not None]
    touched = {axis for axis, i in enumerate(taken) if i != slice(None)}
    if touched & set(varying_axes(x.ids)) or channel_axis(x.ids) in touched:
        tracer.freeze(x, f"{node.name} selects channels by index")
    return tracer.moved(node, Channels(x.ids[index]))


def pixel_shuffle(tracer: Tracer, node: fx.Node, x: Channels, *args: Any, **kwargs: Any) -> Value:
    """`PixelShuffle` and its inverse. The channels that form one block of pixels are tied."""
    shape, vector = tracer.shape_of(node, x, *args, **kwargs), along(x.ids, 1)
    if vector is None:
        return tracer.without_rule(node, (x, *args), kwargs)
    many, few = max(len(vector), shape[1]), min(len(vector), shape[1])
    if len(vector) == many:  # each output channel is built from several input channels
        vector = tied_along(tracer, vector.view(few, -1), [1])[:, 0]
    else:
        vector = vector.repeat_interleave(many // few)
    return Channels(spread(vector, shape, 1))


def named_tuple(tracer: Tracer, node: fx.Node, *args: Any, **kwargs: Any) -> Value:
    """A named tuple of values."""
    return function(node)(*args, **kwargs)


POOLS = [getattr(nn, f"{kind}Pool{d}d") for kind in ("Max", "Avg", "AdaptiveAvg", "AdaptiveMax") for d in (1, 2, 3)]
POOL_FUNCTIONS = [
    getattr(F, f"{kind}_pool{d}d") for kind in ("max", "avg", "adaptive_avg", "adaptive_max") for d in (1, 2, 3)
]
PADS = [getattr(nn, f"{kind}Pad{d}d") for kind in ("Zero", "Constant", "Reflection", "Replication") for d in (1, 2, 3)]
