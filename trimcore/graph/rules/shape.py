"""Rules of operations that move data, or reduce it over positions."""

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
    laid_along,
    narrowed,
    spread,
    varying_axes,
    with_zero,
)
from trimcore.graph.nodes import function, target
from trimcore.graph.sizes import counts_just
from trimcore.graph.tracer import Tracer


def concatenate(tracer: Tracer, node: fx.Node, tensors: Sequence[Any], dim: int = 0, **kwargs: Any) -> Value:
    dim = kwargs.get("axis", dim)
    if not all(isinstance(t, Channels) for t in tensors):
        return tracer.unknown(node, (tensors, dim), kwargs)
    dim %= len(tensors[0].shape)
    shape = list(tensors[0].shape)
    shape[dim] = sum(t.shape[dim] for t in tensors)
    return tracer.moved(node, Channels(torch.cat(narrowed([t.ids for t in tensors], dim), dim).expand(shape)))


def pool(tracer: Tracer, node: fx.Node, x: Channels, *args: Any, **kwargs: Any) -> Value:
    """Pooling, and resizing: whatever changes the positions of each channel by itself and leaves zero zero."""
    shape, vector = tracer.shape_of(node, x, *args, **kwargs), along(x.ids, 1)
    if vector is None or not isinstance(shape, torch.Size) or not has_batch(tracer, node, x):
        return tracer.unknown(node, (x, *args), kwargs)
    return Channels(spread(vector, shape, 1))


def has_batch(tracer: Tracer, node: fx.Node, x: Channels) -> bool:
    """Whether axis 0 is the batch and axis 1 the channels: PyTorch takes a value with an axis less for one example."""
    name = type(tracer.module(node)).__name__ if node.op == "call_module" else function(node).__name__
    dimensions = re.search(r"([123])d", name)
    return dimensions is None or len(x.shape) == 2 + int(dimensions[1])


def pad(tracer: Tracer, node: fx.Node, x: Channels, *args: Any, **kwargs: Any) -> Value:
    """`F.pad` and the padding modules, on positions alone. Constants other than zero are seen by the next layer."""
    shape, axis = tracer.shape_of(node, x, *args, **kwargs), channel_axis(x.ids)
    module: Any = tracer.module(node) if node.op == "call_module" else None
    amounts = module.padding if module else kwargs.get("pad", args[0] if args else ())
    last = {len(x.shape) - 1 - k // 2 for k, amount in enumerate(amounts) if amount}  # in pairs, from the last axis
    if axis is None or last & {0, axis}:
        return tracer.unknown(node, (x, *args), kwargs)
    value = kwargs.get("value", args[2] if len(args) > 2 else None)
    if module:
        value = getattr(module, "value", 0)
    result = Channels(spread(laid_along(x.ids, axis), shape, axis))
    return result if not value else with_zero(result.ids, False)


def reduce(
    tracer: Tracer, node: fx.Node, x: Channels, dim: Any = None, keepdim: bool = False, *, axis: Any = None,
    **kwargs: Any,
) -> Value:  # fmt: skip
    """`mean`, `sum`, `amax` and `amin` over positions."""
    dim = axis if dim is None else dim
    dims = [d % len(x.shape) for d in ([dim] if isinstance(dim, int) else dim or range(len(x.shape)))]
    axis = channel_axis(x.ids)
    if axis is None or axis in dims:
        return tracer.unknown(node, (x, dim, keepdim), kwargs)
    kept = [1 if d in dims else size for d, size in enumerate(x.shape)]
    ids = spread(laid_along(x.ids, axis), kept, axis)
    return Channels(ids if keepdim else ids.reshape([s for d, s in enumerate(kept) if d not in dims]))


def move(tracer: Tracer, node: fx.Node, x: Channels, *args: Any, **kwargs: Any) -> Channels:
    """Data movement: carried out on the ids as it stands."""
    return tracer.moved(node, Channels(_moved_ids(tracer, node, x, args, kwargs)))


def _moved_ids(tracer: Tracer, node: fx.Node, x: Channels, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    moved: Tensor
    if node.op == "call_module":
        moved = tracer.module(node).forward(x.ids)
    elif node.op == "call_method":
        method = "reshape" if node.target == "view" else target(node)  # ids have strides of their own
        moved = getattr(x.ids, method)(*args, **kwargs)
    else:
        moved = function(node)(x.ids, *args, **kwargs)
    return moved


def squeeze(tracer: Tracer, node: fx.Node, x: Channels, *args: Any, **kwargs: Any) -> Value:
    """Without an axis it would drop the channel axis too, once a single channel is left."""
    return move(tracer, node, x, *args, **kwargs) if args or kwargs else tracer.unknown(node, (x,), {})


def expand(tracer: Tracer, node: fx.Node, x: Channels, *sizes: Any, **kwargs: Any) -> Channels:
    """A channel axis of length one that is stretched to a fixed length would not shrink: frozen."""
    _check_counts(tracer, node, x)
    result = move(tracer, node, x, *sizes, **kwargs)
    added = len(result.shape) - len(x.shape)
    stretched = {axis + added for axis, size in enumerate(x.shape) if size != result.shape[axis + added]}
    axis = channel_axis(x.ids)
    if axis is None or axis + added in stretched:
        tracer.freeze(x, f"{node.name} spreads one value over all channels")
    return result


def reshape(tracer: Tracer, node: fx.Node, x: Channels, *args: Any, **kwargs: Any) -> Channels:
    """`view` and `reshape`.

    An axis of channels that is split into several, as a channel shuffle does, leaves a choice along the one axis whose
    length is computed (-1, or from a shape): channels that differ along the others go together. A channel axis whose
    new length is written as a number would not shrink: frozen.
    """
    _check_counts(tracer, node, x)
    ids = canonical(_moved_ids(tracer, node, x, args, kwargs))
    written: Any = node.args[1:] or tuple(node.kwargs.values())
    written = written[0] if len(written) == 1 and isinstance(written[0], list | tuple) else written
    axes = varying_axes(ids)
    free = [a for a in axes if _is_free(tracer, written, a)]
    if len(axes) > 1 and len(free) == 1 and 0 not in axes:
        ids = as_one(tracer, ids, [axis for axis in axes if axis not in free])
    result = tracer.moved(node, Channels(ids))
    axis = channel_axis(result.ids)
    if axis is not None and not _is_free(tracer, written, axis):
        number = result.shape[axis]
        tracer.freeze(result, f"{node.name} writes its width as the number {number}; write -1 there")
    return result


def _is_free(tracer: Tracer, written: Any, axis: int) -> bool:
    """Whether the length of an axis is computed: it is -1, or counts channels; or a whole shape is given."""
    if len(written) == 1 and isinstance(written[0], fx.Node) and isinstance(tracer.env[written[0]], torch.Size):
        return True
    return written[axis] == -1 or tracer.sizes.behind(written[axis]) is not None


def _check_counts(tracer: Tracer, node: fx.Node, x: Channels) -> None:
    """Numbers that count channels may give x a shape where they count those of x (or such as are tied to them)."""
    atoms = tracer.sizes.behind(node.all_input_nodes)
    if atoms is None or counts_just(atoms, x):
        return
    axis = channel_axis(x.ids)
    if axis is not None and x.shape[axis] == len(atoms):
        tracer.tie(laid_along(x.ids, axis) >> 1, atoms)  # both have to stay as many
    else:
        tracer.must_agree(node, atoms, x)


def as_one(tracer: Tracer, ids: Tensor, axes: list[int]) -> Tensor:
    """The ids with the channels along `axes` tied together: they do not differ there any more."""
    shape, (slim,) = ids.shape, narrowed([ids])
    for axis in axes:
        tracer.tie_together(slim >> 1, axis)
        zero = (slim & 1).amin(axis, keepdim=True)
        slim = slim.narrow(axis, 0, 1) & ~1 | zero
    return slim.expand(shape)


def chunk(tracer: Tracer, node: fx.Node, x: Channels, chunks: int, dim: int = 0) -> Value:
    """Pieces of equal length: the same positions of all pieces go together, so that the pieces stay equal."""
    dim %= len(x.shape)
    if dim == channel_axis(x.ids):
        if x.shape[dim] % chunks:
            return tracer.unknown(node, (x, chunks, dim), {})
        vector = as_one(tracer, laid_along(x.ids, dim).view(chunks, -1), [0])[0].repeat(chunks)
        x = Channels(spread(vector, x.shape, dim))
    return tuple(Channels(piece) for piece in x.ids.chunk(chunks, dim))


def item(tracer: Tracer, node: fx.Node, x: Any, index: Any) -> Value:
    """`x[...]` of a tensor or of several results. Taking some of the channels by number freezes them."""
    if not isinstance(x, Channels):
        return x[index]
    items = list(index) if isinstance(index, tuple) else [index]
    if any(not isinstance(i, int | slice | None | type(...)) for i in items):
        return tracer.unknown(node, (x, index), {})
    if ... in items:
        place = items.index(...)
        items[place : place + 1] = [slice(None)] * (len(x.shape) - sum(i not in (None, ...) for i in items))
    taken = [i for i in items if i is not None]
    touched = {axis for axis, i in enumerate(taken) if i != slice(None)}
    if touched & set(varying_axes(x.ids)) or channel_axis(x.ids) in touched:
        tracer.freeze(x, f"{node.name} takes some of the channels by their number")
    return tracer.moved(node, Channels(x.ids[index]))


def shuffle_pixels(tracer: Tracer, node: fx.Node, x: Channels, *args: Any, **kwargs: Any) -> Value:
    """`PixelShuffle` and its inverse: the channels of one pixel's block go together."""
    shape, vector = tracer.shape_of(node, x, *args, **kwargs), along(x.ids, 1)
    if vector is None:
        return tracer.unknown(node, (x, *args), kwargs)
    many, few = max(len(vector), shape[1]), min(len(vector), shape[1])
    if len(vector) == many:  # each of the few output channels is made of several
        vector = as_one(tracer, vector.view(few, -1), [1])[:, 0]
    else:
        vector = vector.repeat_interleave(many // few)
    return Channels(spread(vector, shape, 1))


def container(tracer: Tracer, node: fx.Node, *args: Any, **kwargs: Any) -> Value:
    """A named tuple of results."""
    return function(node)(*args, **kwargs)


POOLS = [getattr(nn, f"{kind}Pool{d}d") for kind in ("Max", "Avg", "AdaptiveAvg", "AdaptiveMax") for d in (1, 2, 3)]
POOL_FUNCTIONS = [
    getattr(F, f"{kind}_pool{d}d") for kind in ("max", "avg", "adaptive_avg", "adaptive_max") for d in (1, 2, 3)
]
PADS = [getattr(nn, f"{kind}Pad{d}d") for kind in ("Zero", "Constant", "Reflection", "Replication") for d in (1, 2, 3)]
