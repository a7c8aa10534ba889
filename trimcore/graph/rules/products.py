"""Rules for products of activations: attention and matrix products.

A product sums over channels, so a channel that is held at zero adds nothing to it. But the operands must keep their
width: forward functions divide by it, or write it down when they split the heads.
"""

from typing import Any

import torch
from torch import Tensor, fx

from trimcore.graph.channels import BOTH, Channels, Value, atoms_of, canonical, varying_axes, with_flags
from trimcore.graph.heads import Heads, earlier_product, has_heads, head_rows
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
    for_each = isinstance(mask, Tensor | Channels) and len(mask.shape) > 2 and mask.shape[-3] > 1
    if for_each or not _only_heads(tracer, tracked):  # a mask for each head is not cut
        tracer.fix_width(tuple(tracked), _reason(node))
    add_heads(tracer, node, [(None, query), (None, key), (None, value)], shape[-3] if len(shape) > 3 else 1)
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
    heads = _only_heads(tracer, [x for x in (a, b) if isinstance(x, Channels)], least=2)
    if not heads:
        tracer.fix_width((a, b), _reason(node))
    if len(shape) > 3:
        add_heads(tracer, node, list(zip(node.args, (a, b), strict=False)), shape[-3])
    tracer.add_products(node, (a, b), kwargs)
    if heads:
        ids = [x.ids.narrow(-1, 0, 1).narrow(-2, 0, 1) for x in (a, b)]
        flags = (ids[0] | ids[1]) & BOTH
        return Channels(canonical((ids[0] & ~BOTH | flags).expand(shape)))
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


def _only_heads(tracer: Tracer, operands: list[Channels], least: int = 1) -> bool:
    """Whether the channels of all operands differ by head alone, so that whole heads can go. The operands (...,
    heads, positions, channels) are then tied: they must have the same heads."""
    by_head = all(_varying(x) == {-3} and x.ids.dim() > 3 for x in operands)
    if not by_head or len(operands) < least or len({x.shape[-3] for x in operands}) > 1:
        return False
    first, *others = (atoms_of(x.ids[(0,) * (x.ids.dim() - 3)][:, 0, 0]) for x in operands)
    for own in others:
        tracer.tie(first, own)
    return True


def _varying(x: Any) -> set[int]:
    """The axes, from the end, along which the channels of an operand differ."""
    return {axis - x.ids.dim() for axis in varying_axes(x.ids)} if isinstance(x, Channels) else set()


def _without_channels(tracer: Tracer, node: fx.Node, shape: torch.Size) -> Channels:
    """A value whose elements all depend on many channels. One atom stands for all of them."""
    atom: Tensor = tracer.new_atoms(1, f"{node.name} sums over channels")
    return with_flags((atom[0] * 4).expand(shape), off=BOTH)


def add_heads(tracer: Tracer, node: fx.Node, operands: list[tuple[Any, Value]], heads: int) -> None:
    """Record the heads of the operands (source, value) of a product. An operand without channels, such as the
    weights of attention, belongs to the product that it was computed from. Ties the channels of a head if heads
    are only removed whole."""
    tracked = [value for _, value in operands if isinstance(value, Channels)]
    if not any(map(has_heads, tracked)):
        tracked = []
    rows = [own for value in tracked if (own := head_rows(value, heads)) is not None]
    earlier = [
        source
        for source, value in operands
        if isinstance(source, fx.Node) and not (isinstance(value, Channels) and varying_axes(value.ids))
    ]
    found = [earlier_product(source, tracer.products, tracer.parts) for source in earlier]
    joined = next((known for known in found if known and len(known[0]) == heads), Heads())
    if not joined:
        tracer.attentions.append(joined)
    joined += rows
    tracer.products[node] = joined
    for own in rows if tracer.whole_heads else ():
        tracer.tie_along(own, 1)
        tracer.tie(own[:, 0], joined[0][:, 0])


def _reason(node: fx.Node) -> str:
    return f"{node.name} needs operands of a fixed width"
