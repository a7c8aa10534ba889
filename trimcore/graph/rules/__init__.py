"""Rules that define how channels pass through operations, one small rule per operation.

During a trace, every activation tensor is replaced by an integer tensor of the same shape that holds the channel of
each element (`Channels`). Operations that only move data are executed on these integers, so any combination of flatten,
permute and cat is tracked exactly without a formula. The rules cover all other operations: those that create channels,
those that tie channels together, and those that change the spatial size.

A rule is called as `rule(tracer, node, *args, **kwargs)`, with `Channels` in place of activation tensors. Rules in
TAKES_MODULE also receive the `module`. An operation without a rule freezes every channel that enters it (see
`Tracer.without_rule`).
"""

import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from trimcore.graph.channels import Channels, Value
from trimcore.graph.module_checks import is_modified
from trimcore.graph.nodes import function, target
from trimcore.graph.rules.elementwise import (
    activation,
    add,
    divide,
    hardtanh,
    identity,
    multiply,
    nonzero,
    power,
)
from trimcore.graph.rules.layers import batch_norm, conv, group_norm, layer_norm, linear, maxout, prelu
from trimcore.graph.rules.shape import (
    PADS,
    POOL_FUNCTIONS,
    POOLS,
    chunk,
    concatenate,
    expand,
    getitem,
    move,
    named_tuple,
    pad,
    pixel_shuffle,
    pool,
    reduce,
    reshape,
    squeeze,
)
from trimcore.graph.tracer import Tracer
from trimcore.layers.maxout import Maxout

Rule = Callable[..., Value]

# Functions with f(0) = 0, after which APoZ counts zeros. Softmax, Sigmoid and similar functions are excluded: removing
# a neuron means holding its activation at zero, and their outputs are never zero.
ACTIVATION_MODULES = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.RReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Hardswish, nn.Tanh,
    nn.Mish, nn.Softsign, nn.Softshrink, nn.Hardshrink, nn.Tanhshrink,
)  # fmt: skip
ACTIVATION_FUNCTIONS = (
    F.relu, torch.relu, torch.relu_, F.relu_, F.relu6, F.leaky_relu,
    F.elu, F.celu, F.selu, F.gelu, F.silu, F.hardswish, F.mish, F.softsign, torch.tanh,
)  # fmt: skip
ACTIVATION_METHODS = ("relu", "relu_", "tanh")
NONZERO_MODULES = (nn.Sigmoid, nn.Hardsigmoid, nn.LogSigmoid, nn.Softplus)
NONZERO_FUNCTIONS = (
    torch.sigmoid, F.sigmoid, F.hardsigmoid, F.logsigmoid, F.softplus, torch.exp, torch.abs, torch.neg, operator.neg,
    torch.clamp,
)  # fmt: skip


def attribute(tracer: Tracer, node: fx.Node, x: Any, name: str) -> Value:
    if not isinstance(x, Channels):
        return getattr(x, name)  # a field of a named result
    if name not in ("shape", "ndim", "device", "dtype"):
        return tracer.without_rule(node, (x, name), {})
    return x.dtype if name == "dtype" else getattr(x.ids, name)


def size(tracer: Tracer, node: fx.Node, x: Channels, dim: Any = None) -> Any:
    return x.ids.size(dim)


def dim(tracer: Tracer, node: fx.Node, x: Channels) -> int:
    return x.ids.dim()


# Rules that check numbers read from shapes themselves: such a number may count the value's own channels.
CHECKS_SIZES = (reshape, expand)
# Rules that receive the called module.
TAKES_MODULE = (conv, linear, batch_norm, group_norm, prelu, hardtanh, maxout)

_CONVS = [getattr(nn, f"Conv{kind}{d}d") for kind in ("", "Transpose") for d in (1, 2, 3)]
_NORMS = [getattr(nn, f"{kind}Norm{d}d") for kind in ("Batch", "Instance") for d in (1, 2, 3)]

MODULES: dict[type, Rule] = {
    **dict.fromkeys(_CONVS, conv),
    nn.Linear: linear,
    **dict.fromkeys(_NORMS, batch_norm),
    nn.GroupNorm: group_norm,
    **dict.fromkeys((nn.LayerNorm, nn.RMSNorm), layer_norm),
    **dict.fromkeys(ACTIVATION_MODULES, activation),
    nn.PReLU: prelu,
    Maxout: maxout,
    nn.Hardtanh: hardtanh,
    **dict.fromkeys(NONZERO_MODULES, nonzero),
    **dict.fromkeys((nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d), identity),
    **dict.fromkeys((*POOLS, nn.Upsample, nn.UpsamplingNearest2d, nn.UpsamplingBilinear2d), pool),
    **dict.fromkeys(PADS, pad),
    **dict.fromkeys((nn.PixelShuffle, nn.PixelUnshuffle), pixel_shuffle),
    nn.Flatten: move,
}
FUNCTIONS: dict[Callable[..., Any], Rule] = {
    **dict.fromkeys(ACTIVATION_FUNCTIONS, activation),
    **dict.fromkeys(NONZERO_FUNCTIONS, nonzero),
    **dict.fromkeys((F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, torch.clone, torch.detach), identity),
    **dict.fromkeys((operator.add, operator.sub, torch.add, torch.sub), add),
    **dict.fromkeys((operator.mul, torch.mul, torch.multiply), multiply),
    **dict.fromkeys((operator.truediv, torch.div), divide),
    **dict.fromkeys((operator.pow, torch.pow), power),
    **dict.fromkeys((F.layer_norm, F.rms_norm), layer_norm),
    **dict.fromkeys((torch.cat, torch.concat, torch.concatenate), concatenate),
    **dict.fromkeys((*POOL_FUNCTIONS, torch.max_pool1d, torch.max_pool2d, torch.max_pool3d, F.interpolate), pool),
    F.pad: pad,
    **dict.fromkeys((torch.mean, torch.sum, torch.amax, torch.amin), reduce),
    torch.reshape: reshape,
    **dict.fromkeys((torch.flatten, torch.permute, torch.transpose, torch.swapaxes, torch.unsqueeze), move),
    **dict.fromkeys((F.pixel_shuffle, F.pixel_unshuffle), pixel_shuffle),
    torch.squeeze: squeeze,
    torch.chunk: chunk,
    operator.getitem: getitem,
    getattr: attribute,
}
# Functions of optional packages, recognised by name without importing the package.
BY_NAME: dict[str, Rule] = {"torchvision.ops.stochastic_depth.stochastic_depth": identity}
METHODS: dict[str, Rule] = {
    **dict.fromkeys(ACTIVATION_METHODS, activation),
    **dict.fromkeys(("sigmoid", "exp", "abs", "neg", "clamp"), nonzero),
    **dict.fromkeys(("contiguous", "clone", "detach"), identity),
    **dict.fromkeys(("add", "sub"), add),
    "mul": multiply,
    "div": divide,
    "pow": power,
    **dict.fromkeys(("mean", "sum", "amax", "amin"), reduce),
    **dict.fromkeys(("view", "reshape"), reshape),
    **dict.fromkeys(("flatten", "permute", "transpose", "swapaxes", "unsqueeze"), move),
    "expand": expand,
    "squeeze": squeeze,
    "chunk": chunk,
    "size": size,
    "dim": dim,
}


def rule_for(tracer: Tracer, node: fx.Node) -> Rule | None:
    """The rule for a node of the graph, or None."""
    if node.op == "call_module":
        module = tracer.module(node)
        return None if is_modified(module) else MODULES.get(type(module))
    if node.op == "call_method":
        return METHODS.get(target(node))
    called = function(node)
    if isinstance(called, type) and issubclass(called, tuple):
        return named_tuple
    name = f"{getattr(called, '__module__', '')}.{getattr(called, '__name__', '')}"
    return FUNCTIONS.get(called) or BY_NAME.get(name)
