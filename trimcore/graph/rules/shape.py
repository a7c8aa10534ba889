"""Rules for operations that move data: every channel stays what it is."""

from typing import Any

import torch
from torch import Tensor, fx

from trimcore.graph.channels import (
    BEHIND,
    BOTH,
    OWN,
    Channels,
    Value,
    along,
    atoms_of,
    canonical,
    changing_axes,
    channel_axis,
    channel_vector,
    narrowed,
    spread,
    varying_axes,
)
from trimcore.graph.nodes import function, target
from trimcore.graph.sizes import counts_channels_of
from trimcore.graph.tracer import Tracer


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


def expand_as(tracer: Tracer, node: fx.Node, x: Channels, other: Any) -> Value:
    shape = other.shape
    axis = channel_axis(x.ids)
    if isinstance(other, Channels) and axis is not None:
        if x.shape[axis] == 1 and len(shape) > axis and shape[axis] != 1:
            tracer.freeze(x, f"{node.name} broadcasts one value over all channels")
        elif len(shape) == len(x.shape) and len(changing_axes(other.ids)) == 1:
            tracer.tie(*(atoms_of(i) for i in narrowed([x.ids.expand(shape), other.ids])))
    return tracer.moved(node, Channels(x.ids.expand(shape)))


def reshape(tracer: Tracer, node: fx.Node, x: Channels, *args: Any, **kwargs: Any) -> Channels:
    """`view` and `reshape`.

    A channel axis may be split into several axes, as in a channel shuffle. If the length of exactly one of them is
    computed (-1, or from a shape), channels can be removed along that axis, and those that differ only along the others
    are tied; not so along the last axis if heads are only removed whole. A channel axis with a hard-coded length does
    not shrink, so the channels that stay must keep their places.
    """
    _check_counts(tracer, node, x)
    ids = canonical(_moved_ids(tracer, node, x, args, kwargs))
    lengths: Any = node.args[1:] or tuple(node.kwargs.values())
    lengths = lengths[0] if len(lengths) == 1 and isinstance(lengths[0], list | tuple) else lengths
    ids = _split(tracer, ids, [a for a in varying_axes(ids) if _is_computed(tracer, lengths, a)])
    result = tracer.moved(node, Channels(ids))
    axis = channel_axis(result.ids)
    if axis is not None and len(lengths) > 1 and (names := tracer.sizes.attributes_of(lengths[axis])):
        atoms = atoms_of(channel_vector(result.ids, axis))
        for name in names:
            tracer.attribute_uses.append((name, atoms, f"{node.name} sets its shape from another width"))
    elif axis is not None and not _is_computed(tracer, lengths, axis):
        length = result.shape[axis]
        tracer.fix_width(result, f"{node.name} hard-codes the length {length} of its channel axis; use -1 instead")
    return result


def _split(tracer: Tracer, ids: Tensor, computed: list[int]) -> Tensor:
    """The ids after a channel axis became several, of which one has a computed length: see `reshape`."""
    axes = varying_axes(ids)
    if len(axes) < 2 or len(computed) != 1 or 0 in axes or (tracer.whole_heads and computed == axes[-1:]):
        return ids
    return tied_along(tracer, ids, [axis for axis in axes if axis not in computed])


def unflatten(tracer: Tracer, node: fx.Node, x: Channels, dim: int, sizes: Any) -> Value:
    """One axis becomes several, as in `reshape`. If all their lengths are written down, that of the channels stays."""
    first, ids = dim % len(x.shape), canonical(torch.unflatten(x.ids, dim, tuple(sizes)))
    computed = [first + place for place, size in enumerate(sizes) if size == -1]
    if first in changing_axes(x.ids) and not set(computed) & set(varying_axes(ids)):
        tracer.fix_width(x, f"{node.name} hard-codes the shape of its channels")
    return tracer.moved(node, Channels(_split(tracer, ids, computed)))


def reshape_as(tracer: Tracer, node: fx.Node, x: Channels, other: Any) -> Value:
    """`view_as` and `reshape_as`. The shape of another value need not follow the channels of x."""
    result = Channels(canonical(x.ids.reshape(other.shape)))
    tracer.fix_width(result, f"{node.name} takes its shape from another value")
    return tracer.moved(node, result)


def _is_computed(tracer: Tracer, lengths: Any, axis: int) -> bool:
    """Whether the length of an axis is computed: it is -1, it counts channels, or it comes from a whole shape."""
    if len(lengths) == 1 and isinstance(lengths[0], fx.Node) and isinstance(tracer.env[lengths[0]], torch.Size):
        return True
    length = lengths[axis]
    return length == -1 or tracer.sizes.counted_by(length) is not None or bool(tracer.sizes.attributes_of(length))


def _check_counts(tracer: Tracer, node: fx.Node, x: Channels) -> None:
    """A number that counts channels may shape x only if it counts the channels of x, or channels tied to them."""
    atoms = tracer.sizes.counted_by(node.all_input_nodes)
    if atoms is None or counts_channels_of(atoms, x):
        return
    axis = channel_axis(x.ids)
    if axis is not None and x.shape[axis] == len(atoms):
        tracer.tie(atoms_of(channel_vector(x.ids, axis)), atoms)  # both must keep the same number
    else:
        tracer.require_same_channels(node, atoms, x)


def tied_along(tracer: Tracer, ids: Tensor, axes: list[int]) -> Tensor:
    """Tie the channels along `axes`. Returns ids that no longer differ along these axes."""
    shape, (slim,) = ids.shape, narrowed([ids])
    for axis in axes:
        tracer.tie_along(atoms_of(slim), axis)
        flags = sum((slim & flag).amin(axis, keepdim=True) for flag in (BEHIND, OWN))
        slim = slim.narrow(axis, 0, 1) & ~BOTH | flags
    return slim.expand(shape)


def repeat(tracer: Tracer, node: fx.Node, x: Channels, *args: Any, **kwargs: Any) -> Value:
    """Copies along any axis. A single channel that is repeated would become several."""
    times = args[0] if len(args) == 1 and isinstance(args[0], list | tuple) else args
    axis, added = channel_axis(x.ids), len(times) - len(x.shape)
    if axis is None or added < 0 or not all(isinstance(n, int) for n in times):
        return tracer.without_rule(node, (x, *args), kwargs)
    if tracer.sizes.counted_by(node.all_input_nodes) is not None:
        tracer.freeze_counted(node, node.all_input_nodes)
    return tracer.moved(node, Channels(x.ids.repeat(*times)))


def repeat_interleave(
    tracer: Tracer, node: fx.Node, x: Channels, repeats: Any, dim: Any = None, **kwargs: Any
) -> Value:
    """Copies of each position along an axis, as many of each."""
    if not isinstance(repeats, int) or dim is None:
        return tracer.without_rule(node, (x, repeats), kwargs)
    return tracer.moved(node, Channels(canonical(x.ids.repeat_interleave(repeats, dim))))


def pixel_shuffle(tracer: Tracer, node: fx.Node, x: Channels, *args: Any, **kwargs: Any) -> Value:
    """`PixelShuffle` and its inverse. The channels that form one block of pixels are tied."""
    shape, vector = node.meta["shape"], along(x.ids, 1)
    if vector is None:
        return tracer.without_rule(node, (x, *args), kwargs)
    many, few = max(len(vector), shape[1]), min(len(vector), shape[1])
    if len(vector) == many:  # each output channel is built from several input channels
        vector = tied_along(tracer, vector.view(few, -1), [1])[:, 0]
    else:
        vector = vector.repeat_interleave(many // few)
    return Channels(spread(vector, shape, 1))
