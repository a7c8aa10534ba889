"""The rule for recurrent layers: LSTM, GRU and the plain RNN.

A hidden unit that is held at zero at every step adds nothing to any gate, so it can go: its rows in all gates, its
column in the recurrent weights, and its channel in the results. Its gates then compute nothing that is read.
"""

import operator
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, fx, nn

from trimcore.graph.channel_graph import Roles
from trimcore.graph.channels import OWN, Channels, Value, along, ids_of, spread
from trimcore.graph.nodes import part_name
from trimcore.graph.tracer import Limit, Tracer


def recurrent(tracer: Tracer, node: fx.Node, x: Channels, hx: Any = None, *, module: nn.RNNBase) -> Value:
    """Input (..., input_size), output (..., directions * hidden_size). All layers and directions lose the same units,
    because they have one width. The units are frozen if their first values are given, or if they are projected."""
    inputs = tracer.mixed_input_atoms(node, x, along(x.ids, -1), module.input_size)
    outputs = tracer.output_atoms(node, module.hidden_size)
    if hx is not None:
        tracer.freeze(hx, f"{node.name} takes it as the first hidden state")
        tracer.freeze_atoms(outputs, f"{node.name} gets its first hidden state from outside")
    if module.proj_size:
        tracer.freeze_atoms(outputs, f"{node.name} projects its hidden state")
    gates, directions = len(cast(Tensor, module.weight_ih_l0)) // module.hidden_size, 1 + module.bidirectional
    roles = {"out": outputs, "in": inputs, "out of all gates": outputs.repeat(gates),
             "out of both directions": outputs.repeat(directions)}  # fmt: skip
    axes = {name: _roles(name, bool(module.proj_size)) for name in module._parameters}
    part = tracer.part(node, module, "recurrent", roles, axes, x.shape[:-1].numel() // tracer.batch)
    # Behind an activation, a hidden unit is held too late: the next step has read it.
    why = f"{part_name(node)} reads it at the next step"
    tracer.limits.append(Limit("exposed", why, part.outputs, part.outputs[:0]))
    for result in _results(node):
        axis = len(result.meta["shape"]) - 1
        tracer.add_exit(result, _repeated(part.outputs, result.meta["shape"]), axis)

    def channels(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        vector = ids_of(_repeated(part.outputs, value.shape), OWN)
        return Channels(spread(vector, value.shape, value.dim() - 1))

    return fx.node.map_aggregate(node.meta["value"], channels)


def _repeated(outputs: Tensor, shape: torch.Size) -> Tensor:
    """The atoms along the last axis of a result: those of both directions, or of a projection, which are frozen."""
    return outputs.repeat(-(-shape[-1] // len(outputs)))[: shape[-1]]


def _roles(name: str, projected: bool) -> Roles:
    """The roles of the axes of a parameter, by its name: weight_ih_l0, bias_hh_l1_reverse and so on."""
    first = name.removesuffix("_reverse").endswith("_l0")
    reads = "in" if name.startswith("weight_ih") and first else None
    if projected:
        return None, reads
    if name.startswith("bias"):
        return ("out of all gates",)
    if reads is None:
        reads = "out" if name.startswith("weight_hh") else "out of both directions"
    return "out of all gates", reads


def _results(node: fx.Node) -> Iterator[fx.Node]:
    """The nodes that take a single tensor out of the layer's results."""
    for user in node.users:
        if user.target is operator.getitem:
            yield from [user] if isinstance(user.meta.get("shape"), torch.Size) else _results(user)
