"""Rules for operations with weights per channel."""

from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.modules.instancenorm import _InstanceNorm

from trimcore.errors import NotTrimmable
from trimcore.graph.channel_graph import Roles
from trimcore.graph.channels import (
    BEHIND,
    OWN,
    Channels,
    Constant,
    Value,
    along,
    atoms_of,
    channel_axis,
    ids_of,
    spread,
    with_flags,
)
from trimcore.graph.layer_shapes import conv_shape
from trimcore.graph.module_checks import uses_running_stats
from trimcore.graph.nodes import part_name
from trimcore.graph.rules.elementwise import activation
from trimcore.graph.rules.positions import has_batch
from trimcore.graph.tracer import Tracer
from trimcore.layers.maxout import Maxout


def cuts_whole_groups(module: _ConvNd) -> bool:
    """Whether a grouped convolution is cut in whole groups with their inputs and outputs, or else at the same positions
    in every group. A depthwise convolution is cut in whole groups. The finer option is used, and later cuts repeat it.
    """
    inputs_per_group = module.in_channels // module.groups
    return bool(getattr(module, "cut_whole_groups", module.groups >= inputs_per_group))


def conv(tracer: Tracer, node: fx.Node, x: Channels, module: _ConvNd) -> Value:
    """Convolutions in 1 to 3 dimensions, including transposed and grouped ones. Input (N, C, ...)."""
    if not has_batch(tracer, node, x):
        return tracer.without_rule(node, (x,), {})
    shape, groups = conv_shape(module, x.shape), module.groups
    transposed = isinstance(module, _ConvTransposeNd)
    # Each weight is used once per output position; in a transposed convolution, once per input position.
    counted = x.shape if transposed else shape
    positions = counted[0] * counted[2:].numel() // tracer.batch
    vector, constant = along(x.ids, 1), None
    if groups > 1 and cuts_whole_groups(module):
        kind = "depthwise" if groups == module.in_channels else "grouped"
        inputs = tracer.input_atoms(node, vector, module.in_channels)
        blocks = inputs.view(groups, -1)
        tracer.tie_along(blocks, 1)
        outputs = blocks[:, 0].repeat_interleave(module.out_channels // groups)
        if vector is not None:
            zero = (vector & BEHIND).view(groups, -1).amin(1).repeat_interleave(module.out_channels // groups)
            constant = Constant(zero, (part_name(node),))
        roles = {"out": outputs, "in": inputs}
        weight: Roles = ("in",) if transposed else ("out",)
    else:
        kind = "grouped" if groups > 1 else "transposed" if transposed else "conv"
        inputs = tracer.mixed_input_atoms(node, x, vector, module.in_channels)
        outputs = tracer.output_atoms(node, module.out_channels)
        roles, weight = {"out": outputs, "in": inputs}, ("in", "out") if transposed else ("out", "in")
        if groups > 1:
            by_group = {role: atoms.view(groups, -1) for role, atoms in roles.items()}
            for atoms in by_group.values():
                tracer.tie_along(atoms, 0)
            # The second axis of the weight covers the positions within one group.
            roles |= {f"{role} of one group": atoms[0] for role, atoms in by_group.items()}
            weight = (weight[0], f"{weight[1]} of one group")
    part = tracer.part(node, module, kind, roles, {"weight": weight, "bias": ("out",)}, positions)
    tracer.add_exit(node, part.outputs, 1)
    return Channels(spread(ids_of(part.outputs, OWN), shape, 1), constant=constant)


def linear(tracer: Tracer, node: fx.Node, x: Channels, module: nn.Linear) -> Channels:
    if x.shape[-1] != module.in_features:
        raise RuntimeError(f"it expects {module.in_features} features, not {x.shape[-1]}")
    shape = x.shape[:-1] + (module.out_features,)
    inputs = tracer.mixed_input_atoms(node, x, along(x.ids, -1), module.in_features)
    roles = {"out": tracer.output_atoms(node, module.out_features), "in": inputs}
    positions = torch.Size(x.shape[:-1]).numel() // tracer.batch
    part = tracer.part(node, module, "linear", roles, {"weight": ("out", "in"), "bias": ("out",)}, positions)
    tracer.add_exit(node, part.outputs, len(shape) - 1)
    return Channels(spread(ids_of(part.outputs, OWN), shape, len(shape) - 1))


def embedding(tracer: Tracer, node: fx.Node, x: Channels, module: nn.Embedding) -> Value:
    """Looks up a row of the weight for each number of x (...). Its neurons are the columns, (..., embedding_dim)."""
    if module.max_norm is not None:  # it rescales its rows
        return tracer.without_rule(node, (x,), {})
    roles = {"out": tracer.output_atoms(node, module.embedding_dim)}
    part = tracer.part(node, module, "embedding", roles, {"weight": (None, "out")})
    tracer.add_exit(node, part.outputs, x.ids.dim())
    return Channels(spread(ids_of(part.outputs, OWN), (*x.shape, module.embedding_dim), x.ids.dim()))


PER_CHANNEL: dict[str, Roles] = dict.fromkeys(("weight", "bias", "running_mean", "running_var"), ("out",))


def batch_norm(tracer: Tracer, node: fx.Node, x: Channels, module: _NormBase) -> Value:
    """BatchNorm and InstanceNorm normalise each channel separately."""
    if isinstance(module, _InstanceNorm) and not has_batch(tracer, node, x):
        return tracer.without_rule(node, (x,), {})
    vector = along(x.ids, 1)
    atoms = _channel_atoms(tracer, node, x, module.num_features)
    tracer.part(node, module, "norm", {"out": atoms}, PER_CHANNEL)
    result = _normalised(tracer, node, x, vector, atoms)
    if uses_running_stats(module) and vector is not None:
        result.constant = (x.constant or Constant(vector & BEHIND)).shifted_by(part_name(node))
    return result


def group_norm(tracer: Tracer, node: fx.Node, x: Channels, module: nn.GroupNorm) -> Channels:
    """The channels of a group share mean and variance, so they can only be removed together. The channels of a single
    group can be left out of them, if the trace allows it."""
    joint = module.num_groups == 1 and module.num_channels > 1
    if joint and not tracer.embeddings:
        tracer.freeze(x, f"{node.name} normalises over all channels together")
    atoms = _channel_atoms(tracer, node, x, module.num_channels)
    if not joint:
        tracer.tie_along(atoms.view(module.num_groups, -1), 1)
    tracer.part(node, module, "norm", {"out": atoms}, PER_CHANNEL)
    if joint and along(x.ids, 1) is not None:
        tracer.add_joint_norm(node, atoms, 1)
        return with_flags(x.ids, on=OWN)
    return _normalised(tracer, node, x, along(x.ids, 1), atoms)


def _normalised(tracer: Tracer, node: fx.Node, x: Channels, vector: Tensor | None, atoms: Tensor) -> Channels:
    """The result of a norm. It may be nonzero where its input is zero, but it is held at zero here if the channel is
    held where its layers give it out."""
    if vector is None:
        return with_flags(x.ids)
    tracer.add_exit(node, atoms, 1, norm=True)
    return with_flags(x.ids, on=OWN)


def _channel_atoms(tracer: Tracer, node: fx.Node, x: Channels, expected: int) -> Tensor:
    vector = along(x.ids, 1)
    if vector is None:
        tracer.freeze(x, f"{node.name} normalises across channels")
        return tracer.new_atoms(expected, f"{node.name} normalises across channels")
    if len(vector) != expected:
        raise NotTrimmable(f"{part_name(node)} expects {expected} channels, not {len(vector)}")
    return atoms_of(vector)


def layer_norm(tracer: Tracer, node: fx.Node, x: Channels, *args: Any, **kwargs: Any) -> Channels:
    """LayerNorm and RMSNorm normalise over the last axes. If the channels lie along one of them, they are frozen or, if
    the trace allows it, left out of the statistics when they are removed."""
    module: Any = tracer.module(node) if node.op == "call_module" or "module" in node.meta else None
    shape = module.normalized_shape if module else kwargs.get("normalized_shape", args[0] if args else ())
    axis = channel_axis(x.ids)
    if axis is not None and axis < x.ids.dim() - len(shape):
        return with_flags(x.ids)
    vector = along(x.ids, -1)
    if module is None or not tracer.embeddings or len(shape) > 1 or vector is None:
        tracer.freeze(x, f"{node.name} normalises over all channels together")
        return with_flags(x.ids)
    tracer.part(node, module, "norm", {"out": atoms_of(vector)}, {"weight": ("out",), "bias": ("out",)})
    tracer.add_joint_norm(node, atoms_of(vector), x.ids.dim() - 1)
    return with_flags(x.ids, on=OWN)


def maxout(tracer: Tracer, node: fx.Node, x: Channels, module: Maxout) -> Value:
    """The maximum of k adjacent channels. They are removed with their unit, or one by one as long as one remains."""
    shape, dim, vector = node.meta["shape"], module.dim % len(x.shape), along(x.ids, module.dim)
    if vector is None or channel_axis(x.ids) != dim:
        return tracer.without_rule(node, (x,), {})
    members, zero = atoms_of(vector).view(-1, module.k), (vector & BEHIND).view(-1, module.k).amin(1)
    roles = {"out": tracer.output_atoms(node, len(members)), "in": members.flatten()}
    part = tracer.part(node, module, "maxout", roles, {})
    tracer.add_units(node, members, part.outputs)
    return Channels(spread(ids_of(part.outputs) + zero, shape, dim))


def prelu(tracer: Tracer, node: fx.Node, x: Channels, module: nn.PReLU) -> Channels:
    axis = channel_axis(x.ids)
    if module.num_parameters > 1 or (axis == 1 and x.shape[1] == 1):
        atoms = _channel_atoms(tracer, node, x, module.num_parameters)
        tracer.part(node, module, "scale", {"out": atoms}, {"weight": ("out",)})
    return activation(tracer, node, x)
