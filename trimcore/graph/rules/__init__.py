"""Rules that define how channels pass through operations, one small rule per operation.

During a trace, every activation tensor is replaced by an integer tensor of the same shape that holds the channel of
each element (`Channels`). Operations that only move data are executed on these integers, so any combination of flatten,
permute and cat is tracked exactly without a formula. The rules cover all other operations: those that create channels,
those that tie channels together, and those that change the spatial size.

A rule is called as `rule(tracer, node, *args, **kwargs)`, with `Channels` in place of activation tensors. Rules in
TAKES_MODULE also receive the `module`. An operation without a rule freezes every channel that enters it (see
`Tracer.without_rule`).
"""

import functools
import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from trimcore.graph.channels import Channels, Value
from trimcore.graph.module_checks import is_modified
from trimcore.graph.nodes import function, part_name, target
from trimcore.graph.rules.elementwise import (
    activation,
    add,
    clamp,
    compare,
    divide,
    extreme,
    hardtanh,
    identity,
    masked_fill,
    multiply,
    nonzero,
    power,
    unary,
    undefined_at_zero,
    where,
)
from trimcore.graph.rules.functional import as_layer, layer_with_computed_weight, projection
from trimcore.graph.rules.layers import batch_norm, conv, embedding, group_norm, layer_norm, linear, maxout, prelu
from trimcore.graph.rules.pieces import chunk, concatenate, getitem, named_tuple, split, stack, unbind
from trimcore.graph.rules.positions import (
    PADS,
    POOL_FUNCTIONS,
    POOLS,
    constant_like,
    filtered,
    flip,
    grid_sample,
    neighbours,
    new_constant,
    normalize,
    pad,
    pool,
    reduce,
    roll,
    softmax,
    unfold,
    unpool,
)
from trimcore.graph.rules.products import attention, matrix_product, sum_of_products
from trimcore.graph.rules.recurrent import recurrent
from trimcore.graph.rules.shape import (
    expand,
    expand_as,
    move,
    pixel_shuffle,
    repeat,
    repeat_interleave,
    reshape,
    reshape_as,
    squeeze,
    unflatten,
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
    torch.sigmoid, F.sigmoid, F.hardsigmoid, F.logsigmoid, F.softplus, torch.exp, torch.cos,
)  # fmt: skip
UNARY_FUNCTIONS = (
    torch.abs, torch.neg, operator.neg, torch.sqrt, torch.square, torch.sin, torch.erf, torch.sign, torch.floor,
    torch.ceil, torch.round, torch.expm1, torch.log1p, torch.nan_to_num,
)  # fmt: skip
COMPARISONS = (
    operator.gt, operator.ge, operator.lt, operator.le, operator.eq, operator.ne, torch.gt, torch.ge, torch.lt,
    torch.le, torch.eq, torch.ne, torch.logical_and, torch.logical_or, operator.and_, operator.or_,
)  # fmt: skip
CASTS = ("to", "float", "half", "double", "bfloat16", "type_as", "type", "cpu", "cuda", "detach")


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
CHECKS_SIZES = (reshape, expand, split)
# Rules that receive the called module.
TAKES_MODULE = (conv, linear, batch_norm, group_norm, prelu, hardtanh, maxout, recurrent, embedding)

_CONVS = [getattr(nn, f"Conv{kind}{d}d") for kind in ("", "Transpose") for d in (1, 2, 3)]
_NORMS = [getattr(nn, f"{kind}Norm{d}d") for kind in ("Batch", "Instance") for d in (1, 2, 3)]

MODULES: dict[type, Rule] = {
    **dict.fromkeys(_CONVS, conv),
    nn.Linear: linear,
    nn.Embedding: embedding,
    nn.LocalResponseNorm: neighbours,
    **dict.fromkeys((nn.MaxUnpool1d, nn.MaxUnpool2d, nn.MaxUnpool3d), unpool),
    **dict.fromkeys(_NORMS, batch_norm),
    nn.GroupNorm: group_norm,
    **dict.fromkeys((nn.LayerNorm, nn.RMSNorm), layer_norm),
    **dict.fromkeys(ACTIVATION_MODULES, activation),
    nn.PReLU: prelu,
    Maxout: maxout,
    **dict.fromkeys((nn.RNN, nn.LSTM, nn.GRU), recurrent),
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
    **dict.fromkeys(UNARY_FUNCTIONS, unary),
    **dict.fromkeys((torch.log, torch.rsqrt, torch.reciprocal), undefined_at_zero),
    **dict.fromkeys((torch.clamp, torch.clamp_min, torch.clamp_max, torch.clip), clamp),
    **dict.fromkeys(COMPARISONS, compare),
    torch.where: where,
    torch.masked_fill: masked_fill,
    **dict.fromkeys((torch.maximum, torch.minimum), extreme),
    **dict.fromkeys((operator.add, operator.sub, torch.add, torch.sub), add),
    **dict.fromkeys((operator.mul, torch.mul, torch.multiply), multiply),
    **dict.fromkeys((operator.truediv, torch.div), divide),
    **dict.fromkeys((operator.pow, torch.pow), power),
    **dict.fromkeys((F.layer_norm, F.rms_norm), layer_norm),
    **dict.fromkeys((torch.cat, torch.concat, torch.concatenate), concatenate),
    **dict.fromkeys((*POOL_FUNCTIONS, torch.max_pool1d, torch.max_pool2d, torch.max_pool3d, F.interpolate), pool),
    F.pad: pad,
    **dict.fromkeys((torch.mean, torch.sum, torch.amax, torch.amin, torch.std, torch.var), reduce),
    torch.reshape: reshape,
    **dict.fromkeys(
        (torch.flatten, torch.permute, torch.transpose, torch.swapaxes, torch.unsqueeze, torch.movedim),
        move,
    ),
    F.scaled_dot_product_attention: attention,
    **dict.fromkeys((torch.matmul, torch.bmm, operator.matmul), matrix_product),
    torch.einsum: sum_of_products,
    torch.stack: stack,
    torch.unbind: unbind,
    torch.split: split,
    torch.flip: flip,
    torch.repeat_interleave: repeat_interleave,
    torch.unflatten: unflatten,
    torch.roll: roll,
    **dict.fromkeys((F.softmax, torch.softmax, F.log_softmax, torch.log_softmax), softmax),
    F.unfold: unfold,
    F.grid_sample: grid_sample,
    F.local_response_norm: neighbours,
    **dict.fromkeys((F.max_unpool1d, F.max_unpool2d, F.max_unpool3d), unpool),
    **dict.fromkeys((F.conv1d, F.conv2d, F.conv3d), filtered),
    **dict.fromkeys(
        (torch.zeros_like, torch.ones_like, torch.empty_like, torch.full_like, torch.rand_like, torch.randn_like),
        constant_like,
    ),
    F.normalize: normalize,
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
    **dict.fromkeys(("sigmoid", "sigmoid_", "exp", "cos"), nonzero),
    **dict.fromkeys(("log", "rsqrt", "reciprocal"), undefined_at_zero),
    **dict.fromkeys(("abs", "neg", "sqrt", "square", "sin", "erf", "sign", "floor", "ceil", "round"), unary),
    **dict.fromkeys(("clamp", "clamp_", "clip", "clamp_min", "clamp_max"), clamp),
    **dict.fromkeys(("contiguous", "clone", *CASTS), identity),
    **dict.fromkeys(("add", "sub", "add_", "sub_"), add),
    **dict.fromkeys(("mul", "mul_"), multiply),
    **dict.fromkeys(("div", "div_"), divide),
    "pow": power,
    **dict.fromkeys(("gt", "ge", "lt", "le", "eq", "ne"), compare),
    **dict.fromkeys(("masked_fill", "masked_fill_"), masked_fill),
    **dict.fromkeys(("mean", "sum", "amax", "amin", "std", "var"), reduce),
    **dict.fromkeys(("softmax", "log_softmax"), softmax),
    **dict.fromkeys(("matmul", "bmm"), matrix_product),
    "unbind": unbind,
    "split": split,
    "expand_as": expand_as,
    **dict.fromkeys(("new_zeros", "new_ones", "new_empty", "new_full", "new_tensor"), new_constant),
    **dict.fromkeys(("reshape_as", "view_as"), reshape_as),
    "unflatten": unflatten,
    "repeat": repeat,
    "repeat_interleave": repeat_interleave,
    "flip": flip,
    "roll": roll,
    **dict.fromkeys(("view", "reshape"), reshape),
    **dict.fromkeys(("flatten", "permute", "transpose", "swapaxes", "unsqueeze", "movedim"), move),
    "expand": expand,
    "squeeze": squeeze,
    "chunk": chunk,
    "size": size,
    "dim": dim,
}


def is_layer(module: nn.Module) -> bool:
    """Whether the call of a module is one operation, with a rule of its own. A module that is modified has none."""
    return known_class(type(module)) is not None


def known_class(kind: Any) -> Any:
    """The class whose rule holds for modules of the class `kind`: itself, or one that it inherits its forward from."""
    for base in kind.__mro__:
        if base in MODULES:
            return base
        if not DECIDES.isdisjoint(vars(base)):
            return None
    return None


known_class = functools.cache(known_class)


def rule_for(tracer: Tracer, node: fx.Node) -> Rule | None:
    """The rule for a node of the graph, or None."""
    if node.op == "call_module":
        module, kind = tracer.module(node), known_class(type(tracer.module(node)))
        return None if kind is None or is_modified(module) else MODULES[kind]
    if as_layer(tracer, node):
        if node in tracer.computed:
            return layer_with_computed_weight
        if isinstance(tracer.modules.get(part_name(node)), nn.MultiheadAttention):
            return projection
        return MODULES[type(tracer.module(node))]
    if node.op == "call_method":
        return METHODS.get(target(node))
    called = function(node)
    if isinstance(called, type) and issubclass(called, tuple):
        return named_tuple
    name = str(getattr(called, "__name__", ""))
    return (
        FUNCTIONS.get(called) or BY_NAME.get(f"{getattr(called, '__module__', '')}.{name}") or _of_torch(called, name)
    )


def _of_torch(called: Callable[..., Any], name: str) -> Rule | None:
    """The rule of a function that PyTorch has under several names, such as `F.max_pool2d` and `torch.max_pool2d`."""
    where = getattr(called, "__module__", None) or getattr(getattr(called, "__objclass__", None), "__module__", None)
    return OF_TORCH.get(name) if str(where).partition(".")[0] == "torch" else None


OF_TORCH = {function.__name__: rule for function, rule in FUNCTIONS.items() if hasattr(function, "__name__")}
# What a subclass must not change to compute what its base class does.
DECIDES = frozenset(("forward", "__call__", "_call_impl", "_conv_forward", "_output_padding", "weight", "__getattr__"))
