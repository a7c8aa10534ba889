"""Rules for operations that join values or take them apart."""

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx

from trimcore.graph.channels import (
    Channels,
    Value,
    along,
    atoms_of,
    canonical,
    changing_axes,
    channel_axis,
    channel_vector,
    ids_of,
    leaves_of,
    narrowed,
    spread,
    varying_axes,
    with_flags,
)
from trimcore.graph.nodes import function
from trimcore.graph.rules.shape import tied_along
from trimcore.graph.rules.stored import add_token
from trimcore.graph.sizes import counts_channels_of
from trimcore.graph.tracer import Tracer


def concatenate(tracer: Tracer, node: fx.Node, tensors: Sequence[Any], dim: int = 0, **kwargs: Any) -> Value:
    dim = kwargs.get("axis", dim)
    if not all(isinstance(t, Channels | Tensor) for t in tensors):
        return tracer.without_rule(node, (tensors, dim), kwargs)
    dim %= len(tensors[0].shape)
    if not all(isinstance(t, Channels) for t in tensors):
        tensors = _with_constants(tracer, node, tensors, dim)
    shape = list(tensors[0].shape)
    shape[dim] = sum(t.shape[dim] for t in tensors)
    if (same := _common_ids([t.ids for t in tensors], dim)) is not None:
        return Channels(same.expand(shape))
    return tracer.moved(node, Channels(torch.cat(narrowed([t.ids for t in tensors], dim), dim).expand(shape)))


def _common_ids(ids: Sequence[Tensor], dim: int) -> Tensor | None:
    """The ids of values that have the same channels and do not differ along an axis, as a slice of that axis, or None.
    Zero is only what is zero in all of them."""
    slices = [canonical(i) for i in ids if i.shape[dim]]
    if any(dim in varying_axes(i) for i in slices):
        return None
    slices = narrowed([i.narrow(dim, 0, 1) for i in slices])
    if not all(torch.equal(atoms_of(i), atoms_of(slices[0])) for i in slices):
        return None
    return functools.reduce(torch.bitwise_and, slices)


def _with_constants(tracer: Tracer, node: fx.Node, tensors: Sequence[Any], dim: int) -> list[Channels]:
    """The operands of `cat`, with channels for constants such as class tokens. Constants are not cut, so the channels
    that continue in them keep their number."""
    tracked = next(t for t in tensors if isinstance(t, Channels))
    if dim in changing_axes(tracked.ids):  # the constants are channels of their own
        reason = f"{node.name} adds constant channels"
        fixed = [ids_of(tracer.new_atoms(t.shape[dim], reason)) for t in tensors if not isinstance(t, Channels)]
        constants = iter([spread(ids, t.shape, dim) for ids, t in zip(
            fixed, (t for t in tensors if not isinstance(t, Channels)), strict=True
        )])  # fmt: skip
    else:
        given: Any = node.args[0] if node.args else node.kwargs["tensors"]
        for t, source in zip(tensors, given, strict=True):
            if not isinstance(t, Channels) and not add_token(tracer, node, source, tracked, len(t.shape)):
                tracer.fix_width(tracked, f"{node.name} combines it with a stored tensor")
        ids = with_flags(tracked.ids.narrow(dim, 0, 1)).ids
        constants = iter([ids.expand(t.shape) for t in tensors if not isinstance(t, Channels)])
    return [t if isinstance(t, Channels) else Channels(next(constants)) for t in tensors]


def stack(tracer: Tracer, node: fx.Node, tensors: Sequence[Any], dim: int = 0) -> Value:
    if not all(isinstance(t, Channels) for t in tensors):
        return tracer.without_rule(node, (tensors, dim), {})
    return tracer.moved(node, Channels(torch.stack([t.ids for t in tensors], dim)))


def unbind(tracer: Tracer, node: fx.Node, x: Channels, dim: int = 0) -> Value:
    """The slices along an axis. Slices of the channel axis are selections by index: its width is fixed."""
    dim %= len(x.shape)
    if dim in varying_axes(x.ids) or dim == channel_axis(x.ids):
        tracer.fix_width(x, f"{node.name} selects channels by index")
    return tuple(tracer.moved(node, Channels(piece)) for piece in x.ids.unbind(dim))


def split(tracer: Tracer, node: fx.Node, x: Channels, split_size: Any, dim: int = 0, **kwargs: Any) -> Value:
    """Pieces of given lengths. Along the channel axis, lengths that are written as numbers fix its width."""
    split_size = kwargs.get("split_size_or_sections", split_size)
    dim %= len(x.shape)
    if dim in changing_axes(x.ids) and _follows_layers(tracer, node, x, dim):
        return tuple(tracer.moved(node, Channels(piece)) for piece in torch.split(x.ids, split_size, dim))
    if dim in changing_axes(x.ids):
        length, atoms = x.shape[dim], tracer.sizes.counted_by(node.all_input_nodes)
        own = atoms is not None and counts_channels_of(atoms, x)
        if isinstance(split_size, int) and own and length % split_size == 0:
            return chunk(tracer, node, x, length // split_size, dim)
        tracer.fix_width(x, f"{node.name} splits the channels at hard-coded places")
    return tuple(tracer.moved(node, Channels(piece)) for piece in torch.split(x.ids, split_size, dim))


def _follows_layers(tracer: Tracer, node: fx.Node, x: Channels, dim: int) -> bool:
    """Whether every length of a split is the width attribute of a layer. Each must then count the channels of its piece
    (see `resolution`)."""
    lengths = node.kwargs.get("split_size_or_sections", node.args[1] if len(node.args) > 1 else None)
    vector = along(x.ids, dim)
    if not isinstance(lengths, list | tuple) or vector is None:
        return False
    names = [tracer.sizes.attributes.get(length, set()) for length in lengths if isinstance(length, fx.Node)]
    if len(names) < len(lengths) or any(len(own) != 1 for own in names):
        return False
    pieces = torch.split(atoms_of(vector), [tracer.env[length] for length in lengths])
    for (name,), piece in zip(names, pieces, strict=True):
        tracer.attribute_uses.append((name, piece, f"{node.name} splits the channels at hard-coded places"))
    return True


def chunk(tracer: Tracer, node: fx.Node, x: Channels, chunks: int, dim: int = 0) -> Value:
    """Chunks of equal length. The same positions of all chunks are tied, so that the chunks stay equally long."""
    dim %= len(x.shape)
    if dim == channel_axis(x.ids):
        if x.shape[dim] % chunks:
            tracer.fix_width(x, f"{node.name} splits the channels unevenly")
            return tuple(Channels(piece) for piece in x.ids.chunk(chunks, dim))
        vector = tied_along(tracer, channel_vector(x.ids, dim).view(chunks, -1), [0])[0].repeat(chunks)
        x = Channels(spread(vector, x.shape, dim))
    return tuple(Channels(piece) for piece in x.ids.chunk(chunks, dim))


def getitem(tracer: Tracer, node: fx.Node, x: Any, index: Any) -> Value:
    """`x[...]` of a tensor or of several results. Selecting channels by index fixes their number."""
    if leaves_of(index, Channels):  # which elements are taken depends on an activation
        return tracer.without_rule(node, (x, index), {})
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
        tracer.fix_width(x, f"{node.name} selects channels by index")
    return tracer.moved(node, Channels(x.ids[index]))


def named_tuple(tracer: Tracer, node: fx.Node, *args: Any, **kwargs: Any) -> Value:
    """A named tuple of values."""
    return function(node)(*args, **kwargs)
