"""Rules for products of activations: attention and matrix products.

A product sums over channels, so a channel that is held at zero adds nothing to it. But the operands must keep their
width: forward functions divide by it, or write it down when they split the heads.
"""

from typing import Any

import torch
from torch import Tensor, fx

from trimcore.graph.channels import BOTH, Channels, Value, canonical, varying_axes, with_flags
from trimcore.graph.tracer import Tracer


def attention(
    tracer: Tracer, node: fx.Node, query: Any, key: Any, value: Any, attn_mask: Any = None, *args: Any, **kwargs: Any
) -> Value:
    """`F.scaled_dot_product_attention`: each channel of the result is a weighted mean of that channel of the values.

    Queries and keys (..., L, E), values (..., S, E).
    """
    mask, shape = kwargs.get("attn_mask", attn_mask), node.meta["shape"]
    tracked = [operand for operand in (query, key, value) if isinstance(operand, Channels)]
    if isinstance(mask, Channels):
        tracer.fix_width(mask, _reason(node))
    if len(tracked) < 3 or any(len(shape) - 2 in varying_axes(operand.ids) for operand in tracked):
        return tracer.without_rule(node, (query, key, value), {})
    for operand in tracked:
        tracer.fix_width(operand, _reason(node))
    tracer.add_products(node, (query, key, value, attn_mask, *args), kwargs)
    ids = value.ids.narrow(-2, 0, 1)
    if ids.dim() > 2 and ids.shape[-3] != shape[-3]:  # grouped queries
        ids = ids.repeat_interleave(shape[-3] // ids.shape[-3], -3)
    return Channels(canonical(ids.expand(shape)))


def matrix_product(tracer: Tracer, node: fx.Node, a: Any, b: Any, **kwargs: Any) -> Value:
    """`matmul` and `bmm`: a (..., n, k) @ b (..., k, m).

    If the sum is over positions, the result has the channels of one operand. If it is over channels, the result has
    none that can be removed.
    """
    shape = node.meta["shape"]
    if any(isinstance(x, Channels) and x.ids.dim() < 2 for x in (a, b)) or not isinstance(shape, torch.Size):
        return tracer.without_rule(node, (a, b), kwargs)
    tracer.fix_width((a, b), _reason(node))
    tracer.add_products(node, (a, b), kwargs)
    varying = [_varying(x) for x in (a, b)]
    if -1 in varying[0] or -2 in varying[1] or (varying[0] and varying[1]) or not any(varying):
        return _without_channels(tracer, node, shape)
    x, axis = (a, -1) if varying[0] else (b, -2)
    ids = x.ids.narrow(axis, 0, 1)
    return Channels(canonical(ids.expand(shape)))


def sum_of_products(tracer: Tracer, node: fx.Node, equation: Any, *operands: Any) -> Value:
    """`einsum`. The result has no channels that can be removed."""
    tracer.fix_width(operands, _reason(node))
    tracer.add_products(node, (equation, *operands), {})
    return _without_channels(tracer, node, node.meta["shape"])


def _varying(x: Any) -> set[int]:
    """The axes, from the end, along which the channels of an operand differ."""
    return {axis - x.ids.dim() for axis in varying_axes(x.ids)} if isinstance(x, Channels) else set()


def _without_channels(tracer: Tracer, node: fx.Node, shape: torch.Size) -> Channels:
    """A value whose elements all depend on many channels. One atom stands for all of them."""
    atom: Tensor = tracer.new_atoms(1, f"{node.name} sums over channels")
    return with_flags((atom[0] * 4).expand(shape), off=BOTH)


def _reason(node: fx.Node) -> str:
    return f"{node.name} needs operands of a fixed width"
