"""How channels pass through operations: one small rule an operation.

While a network is traced, every activation tensor is replaced by an integer tensor of the same shape that says, for
each element, which channel it belongs to (`Channels`). Operations that only move data are carried out on these integers
as they are, so that any mix of flatten, permute and cat is followed exactly and needs no formula. The rules below cover
the others: those that make new channels, those that tie channels together, and those that change spatial size.

A rule is `rule(tracer, node, *args, **kwargs)`, where activation tensors arrive as `Channels`. An operation without a
rule freezes every channel that enters it (see `tracing.Tracer`).
"""

import operator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Functions with f(0) = 0 whose output is what APoZ counts. Not Softmax, Sigmoid and the like: a removed neuron is one
# whose activation is held at zero, and these never are.
ACTIVATION_MODULES = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Hardswish, nn.Tanh, nn.Mish)
ACTIVATION_FUNCTIONS = (
    F.relu, torch.relu, torch.relu_, F.relu_, F.relu6, F.leaky_relu,
    F.elu, F.gelu, F.silu, F.hardswish, F.mish, torch.tanh,
)  # fmt: skip
ACTIVATION_METHODS = ("relu", "relu_", "tanh")
IN_PLACE = (torch.relu_, F.relu_, "relu_")


@dataclass
class Channels:
    """The channel of each element of a tensor: `ids = 2 * channel + zero`.

    `zero` is 1 where the value is certainly zero once all activations of the channel are held at zero: after an
    activation, and still after pooling or dropout, but no longer after BatchNorm, which has a bias.
    """

    ids: Tensor
    dtype: torch.dtype = torch.float32  # of a value without a rule, which may be a mask or an index

    @property
    def shape(self) -> torch.Size:
        return self.ids.shape


def along(ids: Tensor, axis: int) -> Tensor | None:
    """The ids as a vector along `axis`, or None when they also differ along another axis."""
    axis %= ids.dim()
    for other in range(ids.dim()):
        if other == axis or ids.shape[other] == 1:
            continue
        first = ids.narrow(other, 0, 1)
        if ids.stride(other) != 0 and not torch.equal(ids, first.expand_as(ids)):
            return None
        ids = first
    return ids.reshape(-1)


def varying_axes(ids: Tensor) -> list[int]:
    return [axis for axis, size in enumerate(ids.shape) if size > 1 and ids.stride(axis) != 0]


def canonical(ids: Tensor) -> Tensor:
    """The same ids with stride 0 along every axis on which they do not differ, as `varying_axes` relies on."""
    shape = ids.shape
    for axis in varying_axes(ids):
        first = ids.narrow(axis, 0, 1)
        if torch.equal(ids, first.expand_as(ids)):
            ids = first
    return ids.expand(shape)


def channel_axis(ids: Tensor) -> int | None:
    """The axis along which the channels lie, or None when they are spread over several axes or over the batch."""
    varying = varying_axes(ids)
    if len(varying) > 1 or varying == [0] or ids.dim() < 2:
        return None
    if varying:
        return varying[0]
    return next((axis for axis in range(1, ids.dim()) if ids.shape[axis] == 1), 1)  # a single channel


def spread(vector: Tensor, shape, axis: int) -> Tensor:
    """A vector of ids as a tensor of `shape` that differs along `axis` alone; takes no memory for the other axes."""
    view = [1] * len(shape)
    view[axis] = -1
    return vector.view(view).expand(*shape)


def narrowed(tensors: list[Tensor], keep: int | None = None) -> list[Tensor]:
    """The tensors with every axis cut to length one along which none of them differs (axis `keep` excepted)."""
    for axis in range(tensors[0].dim()):
        if axis != keep and all(t.stride(axis) == 0 for t in tensors):
            tensors = [t.narrow(axis, 0, 1) for t in tensors]
    return tensors


def with_zero(ids: Tensor, zero) -> Channels:
    """The same channels with the zero bit replaced by `zero(bit)`."""
    shape = ids.shape
    (slim,) = narrowed([ids])
    return Channels((slim // 2 * 2 | zero(slim & 1)).expand(shape))


# --- layers ---


def conv(tracer, node, x: Channels, module: nn.Module):
    output_shape = tracer.shape_of(node, x)
    positions = output_shape[2:].numel()
    vector = along(x.ids, 1)
    if module.groups == 1:
        outputs = tracer.consume(node, module, vector, module.in_channels, module.out_channels, "conv", positions)
    elif vector is not None and module.groups == module.in_channels:
        # One filter set for each input channel: a channel and its filters go together.
        vector = vector.repeat_interleave(module.out_channels // module.in_channels)
        outputs = tracer.carry(node, module, vector // 2, "depthwise", positions)
    else:
        reason = f"{node.name} is a convolution in {module.groups} groups"
        tracer.freeze(x, reason)
        outputs = tracer.carry(node, module, tracer.fresh(module.out_channels, reason), "grouped", positions)
    return Channels(spread(outputs * 2, output_shape, 1))


def linear(tracer, node, x: Channels, module: nn.Linear):
    if x.shape[-1] != module.in_features:
        raise RuntimeError(f"it takes {module.in_features} features but is given {x.shape[-1]}")
    output_shape = x.shape[:-1] + (module.out_features,)
    vector = along(x.ids, -1)
    positions = torch.Size(x.shape[1:-1]).numel()
    outputs = tracer.consume(node, module, vector, module.in_features, module.out_features, "linear", positions)
    return Channels(spread(outputs * 2, output_shape, len(output_shape) - 1))


def batch_norm(tracer, node, x: Channels, module: nn.Module):
    vector = along(x.ids, 1)
    if vector is None:
        tracer.freeze(x, f"{node.name} normalises across channels")
        vector = tracer.fresh(module.num_features, f"{node.name} normalises across channels") * 2
    tracer.carry(node, module, vector // 2, "norm", 0)
    return with_zero(x.ids, lambda bit: 0)


# --- element by element ---


def activation(tracer, node, x: Channels, *args, **kwargs):
    tracer.count_here(node, x)
    return with_zero(x.ids, lambda bit: 1)


def same(tracer, node, x: Channels, *args, **kwargs):
    return x


def _broadcast_over_channels(a: Tensor, b: Tensor) -> bool:
    """Whether one value of `a` meets several channels of `b` (a mask over positions, say)."""
    axis = channel_axis(b)
    if axis is None or b.shape[axis] == 1:
        return False
    axis -= b.dim()  # broadcasting counts axes from the last
    return a.dim() < -axis or a.shape[axis] == 1


def _pair(tracer, node, a, b, zero):
    """Two operands of an element-wise operation; `zero(a, b)` says where the result is zero, from where they are."""
    if not isinstance(a, Channels) or not isinstance(b, Channels):
        return _with_constant(tracer, node, a, b, zero)
    reason = f"{node.name} spreads one value over all channels"
    for one, other in ((a, b), (b, a)):
        if _broadcast_over_channels(one.ids, other.ids):
            tracer.freeze(one, reason)
            wide = other.ids.expand(torch.broadcast_shapes(one.shape, other.shape))
            return with_zero(wide, lambda bit: zero(bit, 0))  # what is spread is there for the other channels too
    wide_a, wide_b = torch.broadcast_tensors(a.ids, b.ids)
    shape = wide_a.shape
    slim_a, slim_b = narrowed([wide_a, wide_b])
    tracer.tie(slim_a // 2, slim_b // 2)
    return Channels((slim_a // 2 * 2 | zero(slim_a & 1, slim_b & 1)).expand(shape))


def _with_constant(tracer, node, a, b, zero):
    x, constant = (a, b) if isinstance(a, Channels) else (b, a)
    shape = x.shape
    if isinstance(constant, Tensor):
        if constant.dim() and not _broadcast_over_channels(constant, x.ids):
            tracer.freeze(x, f"{node.name} combines it with a stored tensor")
        shape = torch.broadcast_shapes(x.shape, constant.shape)
    return with_zero(x.ids.expand(shape), lambda bit: zero(bit, 0))  # a constant is not zero


def add(tracer, node, a, b, **kwargs):
    return _pair(tracer, node, a, b, lambda za, zb: za & zb)


def multiply(tracer, node, a, b, **kwargs):
    return _pair(tracer, node, a, b, lambda za, zb: za | zb)


def divide(tracer, node, a, b, **kwargs):
    if isinstance(b, Channels):
        return tracer.unknown(node, (a, b), kwargs)
    return _pair(tracer, node, a, b, lambda za, zb: za | zb)


# --- shape ---


def concatenate(tracer, node, tensors, dim=0, **kwargs):
    dim = kwargs.get("axis", dim)
    if not all(isinstance(t, Channels) for t in tensors):
        return tracer.unknown(node, (tensors, dim), kwargs)
    dim %= len(tensors[0].shape)
    shape = list(tensors[0].shape)
    shape[dim] = sum(t.shape[dim] for t in tensors)
    return tracer.moved(node, Channels(torch.cat(narrowed([t.ids for t in tensors], dim), dim).expand(shape)))


def pool(tracer, node, x: Channels, *args, **kwargs):
    shape, vector = tracer.shape_of(node, x, *args, **kwargs), along(x.ids, 1)
    if vector is None or not isinstance(shape, torch.Size):
        return tracer.unknown(node, (x, *args), kwargs)
    return Channels(spread(vector, shape, 1))


def mean(tracer, node, x: Channels, dim=None, keepdim=False, *, axis=None, **kwargs):
    dim = axis if dim is None else dim
    dims = [d % len(x.shape) for d in ([dim] if isinstance(dim, int) else dim or range(len(x.shape)))]
    axis = channel_axis(x.ids)
    if axis is None or axis in dims:
        return tracer.unknown(node, (x, dim, keepdim), kwargs)
    kept = [1 if d in dims else size for d, size in enumerate(x.shape)]
    ids = spread(along(x.ids, axis), kept, axis)
    return Channels(ids if keepdim else ids.reshape([s for d, s in enumerate(kept) if d not in dims]))


def move(tracer, node, x: Channels, *args, **kwargs):
    """Data movement: carried out on the ids as it stands."""
    if node.op == "call_module":
        return tracer.moved(node, Channels(tracer.module(node).forward(x.ids)))
    if node.op == "call_method":
        method = "reshape" if node.target == "view" else node.target  # ids have strides of their own
        return tracer.moved(node, Channels(getattr(x.ids, method)(*args, **kwargs)))
    return tracer.moved(node, Channels(node.target(x.ids, *args, **kwargs)))


def squeeze(tracer, node, x: Channels, *args, **kwargs):
    """Without an axis it would drop the channel axis too, once a single channel is left."""
    return move(tracer, node, x, *args, **kwargs) if args or kwargs else tracer.unknown(node, (x,), {})


def reshape(tracer, node, x: Channels, *args, **kwargs):
    """`view` and `reshape`. A channel axis whose new length is written as a number would not shrink: frozen."""
    result = move(tracer, node, x, *args, **kwargs)
    written = node.args[1:] or tuple(node.kwargs.values())
    written = written[0] if len(written) == 1 and isinstance(written[0], list | tuple) else written
    axis = channel_axis(result.ids)
    if axis is not None and axis < len(written) and isinstance(written[axis], int) and written[axis] != -1:
        tracer.freeze(result, f"{node.name} writes its width as the number {written[axis]}; write -1 there")
    return result


def attribute(tracer, node, x: Channels, name: str):
    if name not in ("shape", "ndim"):
        return tracer.unknown(node, (x, name), {})
    return getattr(x.ids, name)


def size(tracer, node, x: Channels, *args):
    return x.ids.size(*args)


def dim(tracer, node, x: Channels):
    return x.ids.dim()


# Rules whose result depends on numbers among the operands.
ARITHMETIC = (activation, add, multiply, divide)

_POOLS = [getattr(nn, f"{kind}Pool{d}d") for kind in ("Max", "Avg", "AdaptiveAvg", "AdaptiveMax") for d in (1, 2, 3)]

MODULES = {
    **dict.fromkeys((nn.Conv1d, nn.Conv2d, nn.Conv3d), conv),
    nn.Linear: linear,
    **dict.fromkeys((nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d), batch_norm),
    **dict.fromkeys(ACTIVATION_MODULES, activation),
    **dict.fromkeys((nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d), same),
    **dict.fromkeys(_POOLS, pool),
    nn.Flatten: move,
}
FUNCTIONS = {
    **dict.fromkeys(ACTIVATION_FUNCTIONS, activation),
    **dict.fromkeys((F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, torch.clone, torch.detach), same),
    **dict.fromkeys((operator.add, operator.sub, torch.add, torch.sub), add),
    **dict.fromkeys((operator.mul, torch.mul, torch.multiply), multiply),
    **dict.fromkeys((operator.truediv, torch.div), divide),
    **dict.fromkeys((torch.cat, torch.concat, torch.concatenate), concatenate),
    **dict.fromkeys(
        [getattr(F, f"{kind}_pool{d}d") for kind in ("max", "avg", "adaptive_avg", "adaptive_max") for d in (1, 2, 3)],
        pool,
    ),
    **dict.fromkeys((torch.max_pool1d, torch.max_pool2d, torch.max_pool3d), pool),
    torch.mean: mean,
    torch.reshape: reshape,
    **dict.fromkeys((torch.flatten, torch.permute, torch.transpose, torch.unsqueeze), move),
    torch.squeeze: squeeze,
    getattr: attribute,
}
METHODS = {
    **dict.fromkeys(ACTIVATION_METHODS, activation),
    **dict.fromkeys(("contiguous", "clone", "detach"), same),
    **dict.fromkeys(("add", "sub"), add),
    "mul": multiply,
    "div": divide,
    "mean": mean,
    **dict.fromkeys(("view", "reshape"), reshape),
    **dict.fromkeys(("flatten", "permute", "transpose", "unsqueeze"), move),
    "squeeze": squeeze,
    "size": size,
    "dim": dim,
}
