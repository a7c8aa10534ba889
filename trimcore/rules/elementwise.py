"""Rules of operations that work element by element."""

import torch
from torch import Tensor, nn

from trimcore.channels import Channels, channel_axis, narrowed, with_zero


def activation(tracer, node, x: Channels, *args, **kwargs):
    tracer.count_here(node, x)
    return with_zero(x.ids, True)


def hardtanh(tracer, node, x: Channels, module: nn.Hardtanh):
    """An activation where its range holds zero."""
    return activation(tracer, node, x) if module.min_val <= 0 <= module.max_val else shifted(tracer, node, x)


def same(tracer, node, x: Channels, *args, **kwargs):
    return x


def shifted(tracer, node, x: Channels, *args, **kwargs):
    """What is not zero where its operand is: a sigmoid, say."""
    if any(isinstance(other, Tensor | Channels) for other in (*args, *kwargs.values())):
        return tracer.unknown(node, (x, *args), kwargs)
    return with_zero(x.ids, False)


def _broadcast_over_channels(a: Tensor, b: Tensor) -> bool:
    """Whether one value of `a` meets several channels of `b` (a mask over positions, say)."""
    axis = channel_axis(b)
    if axis is None or b.shape[axis] == 1:
        return False
    axis -= b.dim()  # broadcasting counts axes from the last
    return a.dim() < -axis or a.shape[axis] == 1


def _pair(tracer, node, a, b, both: bool):
    """Two operands of an element-wise operation. The result is zero where `both` are (a sum), or where one is."""
    if not isinstance(a, Channels) or not isinstance(b, Channels):
        return _with_constant(tracer, node, a, b, both)
    reason = f"{node.name} spreads one value over all channels"
    for one, other in ((a, b), (b, a)):
        if _broadcast_over_channels(one.ids, other.ids):
            tracer.freeze(one, reason)
            wide = other.ids.expand(torch.broadcast_shapes(one.shape, other.shape))
            return _with_nonzero(wide, both)  # what is spread is there for the other channels too
    shape = torch.broadcast_shapes(a.shape, b.shape)
    wide_a, wide_b = a.ids.expand(shape), b.ids.expand(shape)
    slim_a, slim_b = narrowed([wide_a, wide_b])
    tracer.tie(slim_a >> 1, slim_b >> 1)
    zero = (slim_a & slim_b if both else slim_a | slim_b) & 1
    return Channels((slim_a & ~1 | zero).expand(shape))


def _with_constant(tracer, node, a, b, both: bool):
    x, constant = (a, b) if isinstance(a, Channels) else (b, a)
    shape = x.shape
    if isinstance(constant, Tensor):
        shape = torch.broadcast_shapes(x.shape, constant.shape)
        if constant.dim() and not _broadcast_over_channels(constant, x.ids):
            tracer.meet_stored(node, x, constant)
    return _with_nonzero(x.ids.expand(shape), both)  # a constant is not zero


def _with_nonzero(ids: Tensor, both: bool) -> Channels:
    return with_zero(ids, False) if both else Channels(ids)


def add(tracer, node, a, b, **kwargs):
    for x, other in ((a, b), (b, a)):
        if isinstance(other, int | float) and other == 0 and not isinstance(x, int | float):
            return Channels(x.ids, x.dtype)  # how `sum` begins; taken from zero, a constant changes its sign
    return _pair(tracer, node, a, b, both=True)


def multiply(tracer, node, a, b, **kwargs):
    return _pair(tracer, node, a, b, both=False)


def divide(tracer, node, a, b, **kwargs):
    if isinstance(b, Channels):
        return tracer.unknown(node, (a, b), kwargs)
    return _pair(tracer, node, a, b, both=False)


def power(tracer, node, a, b, **kwargs):
    if not isinstance(b, int | float):
        return tracer.unknown(node, (a, b), kwargs)
    return shifted(tracer, node, a)
