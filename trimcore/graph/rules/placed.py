"""The rule for layers whose channels keep their places (see `layers.places`)."""

from dataclasses import replace
from typing import Any

import torch
from torch import fx
from torch.nn.modules.conv import _ConvNd

from trimcore.errors import NotTrimmable
from trimcore.graph.channels import BOTH, Channels, Value, along, atoms_of, canonical, ids_of, spread
from trimcore.graph.rules.layers import cuts_whole_groups
from trimcore.graph.tracer import Tracer
from trimcore.layers.places import INPUTS, OUTPUTS, channel_axis_of


def call_placed(tracer: Tracer, node: fx.Node, rule: Any, x: Channels, extra: dict[str, Any]) -> Value:
    """A layer that reads some of the channels of x and puts its outputs in their places among zeros. `rule` is the rule
    of its class."""
    module, reason = tracer.module(node), f"{node.name} keeps its channels in their places"
    axis, inputs, outputs = channel_axis_of(module), module._buffers.get(INPUTS), module._buffers.get(OUTPUTS)
    if inputs is not None:
        tracer.fix_width(x, reason)
        x = Channels(canonical(x.ids.index_select(axis, inputs.cpu())))
    first = len(tracer.exits)
    y: Channels = rule(tracer, node, x, **extra)
    if outputs is None:
        return y
    vector, places = along(y.ids, axis), outputs.cpu()
    if vector is None:
        raise NotTrimmable(f"{node.name}: its channels lie along several axes")
    # Channels of no layer, zero everywhere. Those that a depthwise layer made of one input are one channel still.
    block = 1
    if isinstance(module, _ConvNd) and module.groups > 1 and cuts_whole_groups(module):
        block = module.out_channels // module.groups
    zeros = ids_of(tracer.new_atoms(len(places) // block).repeat_interleave(block), BOTH)
    vector = torch.where(places < len(vector), vector[places.clamp(max=len(vector) - 1)], zeros)
    tracer.exits[first:] = [replace(exit, groups=atoms_of(vector)) for exit in tracer.exits[first:]]
    shape = list(y.shape)
    shape[axis] = len(places)
    result = Channels(spread(vector, shape, axis % len(shape)))
    tracer.fix_width(result, reason)
    return result
