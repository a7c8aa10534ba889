"""Stored tensors that a forward function combines with channels: scales, position embeddings and class tokens."""

import operator
from typing import Any

import torch
from torch import Tensor, fx

from trimcore.graph.channel_graph import Roles
from trimcore.graph.channels import Channels, atoms_of, channel_axis, channel_vector
from trimcore.graph.meta import execute
from trimcore.graph.nodes import operand, target
from trimcore.graph.tracer import Tracer

# Methods that keep the values of a stored tensor, in another shape.
SHAPES = ("view", "reshape", "unsqueeze", "expand", "permute", "transpose", "to", "type_as", "clone", "contiguous")


def add_stored_tensor(tracer: Tracer, node: fx.Node, x: Channels, stored: Tensor) -> None:
    """Record a stored tensor with one value per channel that is combined with x element by element. It is cut together
    with the channels if it is part of a state dict."""
    source = next((n for n in node.all_input_nodes if tracer.env[n] is stored), None)
    axis = channel_axis(x.ids)
    if source is None or axis is None or not _add(tracer, node, source, x, axis, stored.dim() - len(x.shape) + axis):
        tracer.fix_width(x, f"{node.name} combines it with a stored tensor")


def add_token(tracer: Tracer, node: fx.Node, source: fx.Node, x: Channels, dimensions: int) -> bool:
    """Record a stored tensor, such as a class token, that is put beside the positions of x and shares its channels.
    Only if removed channels may leave the statistics of norms, which read the token next; returns False if it cannot be
    cut with them."""
    axis = channel_axis(x.ids)
    return (
        tracer.embeddings and axis is not None and _add(tracer, node, source, x, axis, dimensions - len(x.shape) + axis)
    )


def _add(tracer: Tracer, node: fx.Node, source: fx.Node, x: Channels, axis: int, of_source: int) -> bool:
    """Record the stored tensor that `source` reads or reshapes for `node`, and whose axis `of_source` has the
    channels along the axis of x. Returns False, with the reason if others are concerned, if it cannot be cut."""
    chain = [source]
    while _reshapes(chain[-1]):
        chain.append(operand(chain[-1]))
    path = target(chain[-1]) if chain[-1].op == "get_attr" else ""
    owner, _, name = path.rpartition(".")
    if not path or name not in tracer.modules[owner].state_dict(keep_vars=True):
        return False
    stored, length = tracer.env[chain[-1]], x.shape[axis]
    own = of_source if len(chain) == 1 else _axis_before(tracer, chain, of_source, length)
    known = tracer.parts.get(path)
    if own is None or stored.shape[own] != length or (known and known.axes != {name: _roles(own)}):
        if known is not None:
            tracer.freeze_atoms(known.outputs, f"{source.name} reads {path} along another axis")
        return False
    atoms = atoms_of(channel_vector(x.ids, axis))
    tracer.add_scale(path, tracer.modules[owner], atoms, {name: _roles(own)})
    tracer.stored_uses.add((chain[-1], chain[-2] if len(chain) > 1 else node))
    return True


def _roles(axis: int) -> Roles:
    return (*[None] * axis, "out")


def _reshapes(node: fx.Node) -> bool:
    if node.op == "call_function" and node.target is operator.getitem:
        items = node.args[1] if isinstance(node.args[1], tuple) else (node.args[1],)
        return all(item in (None, ..., slice(None)) for item in items)
    return node.op == "call_method" and node.target in SHAPES and len(node.users) == 1


def _axis_before(tracer: Tracer, chain: list[fx.Node], axis: int, length: int) -> int | None:
    """The axis of the stored tensor (the last of `chain`) that becomes `axis` of the first, found by making it shorter.
    None if the shape is written down, so that a shorter tensor would not fit."""
    stored: Tensor = tracer.env[chain[-1]]
    axes = [own for own, size in enumerate(stored.shape) if size == length > 1]
    if len(axes) != 1:
        return None
    value: Any = torch.zeros([length - 1 if own in axes else size for own, size in enumerate(stored.shape)])
    try:
        for step in reversed(chain[:-1]):
            args, kwargs = fx.node.map_arg((step.args[1:], step.kwargs), tracer.env.__getitem__)
            value = execute(step, (value, *args), kwargs, {})
    except (RuntimeError, IndexError, TypeError):
        return None
    shape = list(tracer.env[chain[0]].shape)
    shape[axis] = length - 1
    return axes[0] if list(value.shape) == shape else None
