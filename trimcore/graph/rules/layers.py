"""Rules of the operations that have weights for each channel."""

from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.modules.instancenorm import _InstanceNorm

from trimcore.errors import NotTrimmable
from trimcore.graph.channel_graph import Roles
from trimcore.graph.channels import Channels, Constant, Value, along, channel_axis, spread, with_zero
from trimcore.graph.nodes import target
from trimcore.graph.rules.elementwise import activation
from trimcore.graph.rules.shape import has_batch
from trimcore.graph.tracer import Tracer, has_fixed_shift
from trimcore.layers.maxout import Maxout


def goes_in_blocks(module: _ConvNd) -> bool:
    """How a grouped convolution is cut: whole groups with their inputs and outputs (a depthwise one is the extreme), or
    the same positions in every group. Whichever leaves the finer choice; once cut, it stays with it."""
    first = module.in_channels // module.groups
    return bool(getattr(module, "cut_in_blocks", module.groups >= first))


def conv_shape(module: _ConvNd, shape: torch.Size) -> torch.Size:
    """What a convolution of any kind makes of (N, C, ...): PyTorch's own formulas, without an operation carried out.

    Raises RuntimeError where it takes other channels, or leaves nothing.
    """
    if shape[1] != module.in_channels:
        raise RuntimeError(f"it takes {module.in_channels} channels but is given {shape[1]}")
    reach = [step * (size - 1) for step, size in zip(module.dilation, module.kernel_size, strict=True)]
    around = {"same": reach, "valid": [0] * len(reach)}
    both = around[module.padding] if isinstance(module.padding, str) else [2 * pad for pad in module.padding]
    moves = zip(shape[2:], module.stride, both, reach, module.output_padding, strict=True)
    if isinstance(module, _ConvTransposeNd):
        sides = [(size - 1) * stride - pad + reach + more + 1 for size, stride, pad, reach, more in moves]
    else:
        sides = [(size + pad - reach - 1) // stride + 1 for size, stride, pad, reach, _ in moves]
    if min(sides) < 1:
        raise RuntimeError(f"it leaves nothing of {tuple(shape[2:])} positions")
    return torch.Size((shape[0], module.out_channels, *sides))


def conv(tracer: Tracer, node: fx.Node, x: Channels, module: _ConvNd) -> Value:
    """Convolutions of 1 to 3 dimensions, transposed and grouped ones too. Input (N, C, ...)."""
    if not has_batch(tracer, node, x):
        return tracer.unknown(node, (x,), {})
    shape, groups = conv_shape(module, x.shape), module.groups
    transposed = isinstance(module, _ConvTransposeNd)
    # A weight meets each output position once, that of a transposed convolution each input position.
    where = x.shape if transposed else shape
    positions = where[0] * where[2:].numel() // tracer.batch
    vector, constant = along(x.ids, 1), None
    if groups > 1 and goes_in_blocks(module):
        kind = "depthwise" if groups == module.in_channels else "grouped"
        inputs = tracer.entering(node, vector, module.in_channels)
        blocks = inputs.view(groups, -1)
        tracer.tie_together(blocks, 1)
        outputs = blocks[:, 0].repeat_interleave(module.out_channels // groups)
        if vector is not None:
            zero = (vector % 2).view(groups, -1).amin(1).repeat_interleave(module.out_channels // groups)
            constant = Constant(zero, (target(node),))
        roles = {"out": outputs, "in": inputs}
        weight: Roles = ("in",) if transposed else ("out",)
    else:
        kind = "grouped" if groups > 1 else "transposed" if transposed else "conv"
        inputs = tracer.consumed(node, x, vector, module.in_channels)
        outputs = tracer.outputs_of(node, module.out_channels)
        roles, weight = {"out": outputs, "in": inputs}, ("in", "out") if transposed else ("out", "in")
        if groups > 1:
            every = {role: atoms.view(groups, -1) for role, atoms in roles.items()}
            for atoms in every.values():
                tracer.tie_together(atoms, 0)
            # The second axis of the weight counts the positions within one group.
            roles |= {f"{role} of one group": atoms[0] for role, atoms in every.items()}
            weight = (weight[0], f"{weight[1]} of one group")
    part = tracer.part(node, module, kind, roles, {"weight": weight, "bias": ("out",)}, positions)
    return Channels(spread(part.outputs * 2, shape, 1), constant=constant)


def linear(tracer: Tracer, node: fx.Node, x: Channels, module: nn.Linear) -> Channels:
    if x.shape[-1] != module.in_features:
        raise RuntimeError(f"it takes {module.in_features} features but is given {x.shape[-1]}")
    shape = x.shape[:-1] + (module.out_features,)
    inputs = tracer.consumed(node, x, along(x.ids, -1), module.in_features)
    roles = {"out": tracer.outputs_of(node, module.out_features), "in": inputs}
    positions = torch.Size(x.shape[:-1]).numel() // tracer.batch
    part = tracer.part(node, module, "linear", roles, {"weight": ("out", "in"), "bias": ("out",)}, positions)
    return Channels(spread(part.outputs * 2, shape, len(shape) - 1))


PER_CHANNEL: dict[str, Roles] = dict.fromkeys(("weight", "bias", "running_mean", "running_var"), ("out",))


def batch_norm(tracer: Tracer, node: fx.Node, x: Channels, module: _NormBase) -> Value:
    """BatchNorm and InstanceNorm: a channel is normalised by itself."""
    if isinstance(module, _InstanceNorm) and not has_batch(tracer, node, x):
        return tracer.unknown(node, (x,), {})
    tracer.part(node, module, "norm", {"out": _channels_of(tracer, node, x, module.num_features)}, PER_CHANNEL)
    result, vector = with_zero(x.ids, False), along(x.ids, 1)
    if has_fixed_shift(module) and vector is not None:
        result.constant = (x.constant or Constant(vector % 2)).then(target(node))
    return result


def group_norm(tracer: Tracer, node: fx.Node, x: Channels, module: nn.GroupNorm) -> Channels:
    """Channels of a group share mean and variance, so that they can only go together."""
    if module.num_groups == 1 and module.num_channels > 1:
        tracer.freeze(x, f"{node.name} normalises over all channels together")
    atoms = _channels_of(tracer, node, x, module.num_channels)
    tracer.tie_together(atoms.view(module.num_groups, -1), 1)
    tracer.part(node, module, "norm", {"out": atoms}, PER_CHANNEL)
    return with_zero(x.ids, False)


def _channels_of(tracer: Tracer, node: fx.Node, x: Channels, expected: int) -> Tensor:
    vector = along(x.ids, 1)
    if vector is None:
        tracer.freeze(x, f"{node.name} normalises across channels")
        return tracer.fresh(expected, f"{node.name} normalises across channels")
    if len(vector) != expected:
        raise NotTrimmable(f"{node.target} does not fit the {len(vector)} channels that it is given")
    return vector >> 1


def layer_norm(tracer: Tracer, node: fx.Node, x: Channels, *args: Any, **kwargs: Any) -> Channels:
    """LayerNorm and RMSNorm, over the last axes: harmless where the channels lie along another one."""
    module: Any = tracer.module(node) if node.op == "call_module" else None
    shape = module.normalized_shape if module else kwargs.get("normalized_shape", args[0] if args else ())
    axis = channel_axis(x.ids)
    if axis is None or axis >= x.ids.dim() - len(shape):
        tracer.freeze(x, f"{node.name} normalises over all channels together")
    return with_zero(x.ids, False)


def maxout(tracer: Tracer, node: fx.Node, x: Channels, module: Maxout) -> Value:
    """The maximum of k adjacent channels: they go with their unit, or, within the unit, all but one by themselves."""
    shape, dim, vector = tracer.shape_of(node, x), module.dim % len(x.shape), along(x.ids, module.dim)
    if vector is None or channel_axis(x.ids) != dim:
        return tracer.unknown(node, (x,), {})
    members, zero = vector.view(-1, module.k) >> 1, (vector % 2).view(-1, module.k).amin(1)
    roles = {"out": tracer.outputs_of(node, len(members)), "in": members.flatten()}
    part = tracer.part(node, module, "maxout", roles, {})
    tracer.unite(node, members, part.outputs)
    return Channels(spread(part.outputs * 2 + zero, shape, dim))


def prelu(tracer: Tracer, node: fx.Node, x: Channels, module: nn.PReLU) -> Channels:
    axis = channel_axis(x.ids)
    if module.num_parameters > 1 or (axis == 1 and x.shape[1] == 1):
        atoms = _channels_of(tracer, node, x, module.num_parameters)
        tracer.part(node, module, "scale", {"out": atoms}, {"weight": ("out",)})
    return activation(tracer, node, x)
