"""Rules for element-wise operations."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from trimcore.graph.channels import Channels, Value, channel_axis, narrowed, with_zero_flag
from trimcore.graph.tracer import Tracer

_common_shape: Callable[..., torch.Size] = torch.broadcast_shapes


# Activations that are exactly zero over a range of inputs. Hardswish is excluded: it is zero only below -3.
EXACT_ZEROS = (
    nn.ReLU, nn.ReLU6, nn.Softshrink, nn.Hardshrink, F.relu, torch.relu, torch.relu_, F.relu_, F.relu6, "relu", "relu_",
)  # fmt: skip


def activation(tracer: Tracer, node: fx.Node, x: Channels, *args: Any, **kwargs: Any) -> Channels:
    what = type(tracer.module(node)) if node.op == "call_module" else node.target
    tracer.add_site(node, x, exact=what in EXACT_ZEROS)
    return with_zero_flag(x.ids, True)


def hardtanh(tracer: Tracer, node: fx.Node, x: Channels, module: nn.Hardtanh) -> Value:
    """An activation if its range includes zero."""
    return activation(tracer, node, x) if module.min_val <= 0 <= module.max_val else nonzero(tracer, node, x)


def identity(tracer: Tracer, node: fx.Node, x: Channels, *args: Any, **kwargs: Any) -> Value:
    return x


def nonzero(tracer: Tracer, node: fx.Node, x: Channels, *args: Any, **kwargs: Any) -> Value:
    """An operation whose result may be nonzero where its operand is zero, such as a sigmoid."""
    if any(isinstance(other, Tensor | Channels) for other in (*args, *kwargs.values())):
        return tracer.without_rule(node, (x, *args), kwargs)
    return with_zero_flag(x.ids, False)


def _broadcasts_over_channels(a: Tensor, b: Tensor) -> bool:
    """Whether one value of `a` is combined with several channels of `b`, as a mask over positions is."""
    axis = channel_axis(b)
    if axis is None or b.shape[axis] == 1:
        return False
    axis -= b.dim()  # broadcasting aligns the last axes
    return a.dim() < -axis or a.shape[axis] == 1


def _binary(tracer: Tracer, node: fx.Node, a: Any, b: Any, both: bool) -> Value:
    """An element-wise operation with two operands. Its result is zero where both operands are zero (`both`, a sum) or
    where either is (a product)."""
    if not isinstance(a, Channels) or not isinstance(b, Channels):
        return _with_constant(tracer, node, a, b, both)
    reason = f"{node.name} broadcasts one value over all channels"
    for one, other in ((a, b), (b, a)):
        if _broadcasts_over_channels(one.ids, other.ids):
            tracer.freeze(one, reason)
            wide = other.ids.expand(_common_shape(one.shape, other.shape))
            return _with_nonzero(wide, both)  # the broadcast value remains for the other channels
    shape = _common_shape(a.shape, b.shape)
    wide_a, wide_b = a.ids.expand(shape), b.ids.expand(shape)
    slim_a, slim_b = narrowed([wide_a, wide_b])
    tracer.tie(slim_a >> 1, slim_b >> 1)
    zero = (slim_a & slim_b if both else slim_a | slim_b) & 1
    return Channels((slim_a & ~1 | zero).expand(shape))


def _with_constant(tracer: Tracer, node: fx.Node, a: Any, b: Any, both: bool) -> Channels:
    x, constant = (a, b) if isinstance(a, Channels) else (b, a)
    shape = x.shape
    if isinstance(constant, Tensor):
        shape = _common_shape(x.shape, constant.shape)
        if constant.dim() and not _broadcasts_over_channels(constant, x.ids):
            tracer.add_stored_tensor(node, x, constant)
    return _with_nonzero(x.ids.expand(shape), both)  # a constant may be nonzero


def _with_nonzero(ids: Tensor, both: bool) -> Channels:
    return with_zero_flag(ids, False) if both else Channels(ids)


def add(tracer: Tracer, node: fx.Node, a: Any, b: Any, **kwargs: Any) -> Value:
    for x, other in ((a, b), (b, a)):
        if isinstance(other, int | float) and other == 0 and not isinstance(x, int | float):
            return Channels(x.ids, x.dtype)  # as in `sum`; the constant is dropped because 0 - x would change its sign
    return _binary(tracer, node, a, b, both=True)


def multiply(tracer: Tracer, node: fx.Node, a: Any, b: Any, **kwargs: Any) -> Value:
    return _binary(tracer, node, a, b, both=False)


def divide(tracer: Tracer, node: fx.Node, a: Any, b: Any, **kwargs: Any) -> Value:
    if isinstance(b, Channels):
        return tracer.without_rule(node, (a, b), kwargs)
    return _binary(tracer, node, a, b, both=False)


def power(tracer: Tracer, node: fx.Node, a: Any, b: Any, **kwargs: Any) -> Value:
    if not isinstance(b, int | float):
        return tracer.without_rule(node, (a, b), kwargs)
    return nonzero(tracer, node, a)
