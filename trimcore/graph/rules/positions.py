"""Rules for operations over the positions of each channel, and for constants."""

import re
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from trimcore.graph.channels import (
    BOTH,
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
    with_flags,
)
from trimcore.graph.nodes import function
from trimcore.graph.tracer import Tracer


def pool(tracer: Tracer, node: fx.Node, x: Channels, *args: Any, **kwargs: Any) -> Value:
    """Pooling and resizing: operations that change the positions of each channel separately and map zero to zero. The
    maximum may come with its index, which is a number of the same channel."""
    shape, vector = node.meta["shape"], along(x.ids, 1)
    if vector is None or not has_batch(tracer, node, x):
        return tracer.without_rule(node, (x, *args), kwargs)
    if isinstance(shape, torch.Size):
        return Channels(spread(vector, shape, 1))
    values, indices = (Channels(spread(vector, own, 1)) for own in shape)
    return values, Channels(with_flags(indices.ids).ids, torch.int64)


def unpool(tracer: Tracer, node: fx.Node, x: Channels, indices: Any, *args: Any, **kwargs: Any) -> Value:
    """`max_unpool`: each value goes back to where its maximum was, with zeros elsewhere."""
    vector = along(x.ids, 1)
    if not isinstance(indices, Channels) or vector is None or not has_batch(tracer, node, x):
        return tracer.without_rule(node, (x, indices, *args), kwargs)
    tracer.tie(*(atoms_of(i) for i in narrowed([x.ids, indices.ids])))
    return Channels(spread(vector, node.meta["shape"], 1))


def grid_sample(tracer: Tracer, node: fx.Node, x: Channels, grid: Any, *args: Any, **kwargs: Any) -> Value:
    """`F.grid_sample`: every channel is read at the same places."""
    vector = along(x.ids, 1)
    if vector is None:
        return tracer.without_rule(node, (x, grid, *args), kwargs)
    tracer.freeze(grid, f"{node.name} combines it with positions to read")
    return Channels(spread(vector, node.meta["shape"], 1))


def neighbours(tracer: Tracer, node: fx.Node, x: Channels, *args: Any, **kwargs: Any) -> Value:
    """Local response normalisation: a channel that is held at zero in its place adds nothing to the norms of others."""
    tracer.fix_width(x, f"{node.name} normalises each channel by its neighbours")
    return Channels(x.ids)


def filtered(
    tracer: Tracer, node: fx.Node, x: Channels, weight: Any, bias: Any = None, *args: Any, **kwargs: Any
) -> Value:
    """A convolution with a constant filter for each channel, such as the blur before a stride. The filters are not cut,
    so the number of channels must stay."""
    shape, vector = node.meta["shape"], along(x.ids, 1)
    groups = kwargs.get("groups", args[3] if len(args) > 3 else 1)
    separate = isinstance(groups, int) and groups == x.shape[1] == shape[1]
    if not separate or vector is None or bias is not None or isinstance(weight, Channels):
        return tracer.without_rule(node, (x, weight, bias, *args), kwargs)
    tracer.fix_width(x, f"{node.name} has a filter for each channel")
    return Channels(spread(vector, shape, 1))


def has_batch(tracer: Tracer, node: fx.Node, x: Channels) -> bool:
    """Whether axis 0 is the batch and axis 1 the channels. PyTorch treats a value with one axis less as one example."""
    name = type(tracer.module(node)).__name__ if node.op == "call_module" else function(node).__name__
    dimensions = re.search(r"([123])d", name)
    return dimensions is None or len(x.shape) == 2 + int(dimensions[1])


def pad(tracer: Tracer, node: fx.Node, x: Channels, *args: Any, **kwargs: Any) -> Value:
    """`F.pad` and the padding modules, for positions only. A nonzero padding value clears the zero flag."""
    shape, axis = node.meta["shape"], channel_axis(x.ids)
    module: Any = tracer.module(node) if node.op == "call_module" else None
    amounts = module.padding if module else kwargs.get("pad", args[0] if args else ())
    padded = {len(x.shape) - 1 - k // 2 for k, amount in enumerate(amounts) if amount}  # pairs, from the last axis
    if axis is None or padded & {0, axis}:
        return tracer.without_rule(node, (x, *args), kwargs)
    value = kwargs.get("value", args[2] if len(args) > 2 else None)
    if module:
        value = getattr(module, "value", 0)
    result = Channels(spread(channel_vector(x.ids, axis), shape, axis))
    return result if not value else with_flags(result.ids)


def reduce(
    tracer: Tracer, node: fx.Node, x: Channels, dim: Any = None, keepdim: bool = False, *, axis: Any = None,
    **kwargs: Any,
) -> Value:  # fmt: skip
    """`mean`, `sum`, `amax` and `amin` over positions."""
    dim = axis if dim is None else dim
    dims = [d % len(x.shape) for d in ([dim] if isinstance(dim, int) else dim or range(len(x.shape)))]
    if set(dims) & changing_axes(x.ids):
        if not isinstance(node.meta["shape"], torch.Size):
            return tracer.without_rule(node, (x, dim, keepdim), kwargs)
        tracer.fix_width(x, f"{node.name} reduces over channels")
        return tracer.frozen_value(node.meta["shape"], f"{node.name} reduces over channels", x.dtype)
    if getattr(node.target, "__name__", node.target) in ("std", "var", "logsumexp", "prod"):
        x = with_flags(x.ids)
    ids = x.ids[tuple(slice(1) if d in dims else slice(None) for d in range(len(x.shape)))]
    return Channels(ids if keepdim else canonical(ids.squeeze(dims)))


def softmax(tracer: Tracer, node: fx.Node, x: Channels, dim: Any = None, *args: Any, **kwargs: Any) -> Value:
    """Softmax and its like over positions. The result is nowhere zero."""
    if not isinstance(dim, int) or dim % len(x.shape) in changing_axes(x.ids):
        tracer.fix_width(x, f"{node.name} normalises over all channels together")
    return with_flags(x.ids)


def normalize(
    tracer: Tracer, node: fx.Node, x: Channels, p: Any = 2.0, dim: Any = 1, *args: Any, **kwargs: Any
) -> Value:
    """`F.normalize`: zero stays zero. Over channels, their number must stay."""
    axes = [dim] if isinstance(dim, int) else dim
    if changing_axes(x.ids) & {axis % len(x.shape) for axis in axes}:
        tracer.fix_width(x, f"{node.name} normalises over all channels together")
    return Channels(x.ids)


def flip(tracer: Tracer, node: fx.Node, x: Channels, *args: Any, **kwargs: Any) -> Value:
    """`flip` along other axes than that of the channels."""
    return _along_positions(tracer, node, x, kwargs.get("dims", args[0] if len(args) == 1 else args))


def roll(tracer: Tracer, node: fx.Node, x: Channels, shifts: Any, dims: Any = (), **kwargs: Any) -> Value:
    """`roll` along other axes than that of the channels. Without axes, it moves values through all of them."""
    return _along_positions(tracer, node, x, dims)


def _along_positions(tracer: Tracer, node: fx.Node, x: Channels, dims: Any) -> Value:
    axes = [dims] if isinstance(dims, int) else list(dims)
    if not axes or changing_axes(x.ids) & {axis % len(x.shape) for axis in axes}:
        return tracer.without_rule(node, (x, dims), {})
    return Channels(x.ids)


def unfold(tracer: Tracer, node: fx.Node, x: Channels, *args: Any, **kwargs: Any) -> Value:
    """`F.unfold`: each channel becomes one per position of the kernel. Input (N, C, H, W)."""
    vector, shape = along(x.ids, 1), node.meta["shape"]
    if node.op == "call_method" or vector is None or len(x.shape) != 4:
        return tracer.without_rule(node, (x, *args), kwargs)
    return Channels(spread(vector.repeat_interleave(shape[1] // len(vector)), shape, 1))


def constant_like(tracer: Tracer, node: fx.Node, x: Channels, *args: Any, **kwargs: Any) -> Value:
    """`zeros_like` and its like: as wide as x, and zero or not whatever x is."""
    zeros = getattr(node.target, "__name__", node.target) == "zeros_like"
    return with_flags(x.ids, on=BOTH if zeros else 0)


def new_constant(tracer: Tracer, node: fx.Node, x: Channels, *args: Any, **kwargs: Any) -> Value:
    """`new_zeros` and its like: a constant of a given shape."""
    return node.meta["value"]


POOLS = [getattr(nn, f"{kind}Pool{d}d") for kind in ("Max", "Avg", "AdaptiveAvg", "AdaptiveMax") for d in (1, 2, 3)]
POOL_FUNCTIONS = [
    getattr(F, f"{kind}_pool{d}d") for kind in ("max", "avg", "adaptive_avg", "adaptive_max") for d in (1, 2, 3)
] + [getattr(F, f"max_pool{d}d_with_indices") for d in (1, 2, 3)]
PADS = [getattr(nn, f"{kind}Pad{d}d") for kind in ("Zero", "Constant", "Reflection", "Replication") for d in (1, 2, 3)]
