"""Rules for element-wise operations."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from trimcore.graph.channels import BEHIND, BOTH, Channels, Value, atoms_of, channel_axis, narrowed, with_flags
from trimcore.graph.rules.stored import add_stored_tensor
from trimcore.graph.tracer import Tracer

_common_shape: Callable[..., torch.Size] = torch.broadcast_shapes


# Activations that are exactly zero over a range of inputs. Hardswish is excluded: it is zero only below -3.
EXACT_ZEROS = (
    nn.ReLU, nn.ReLU6, nn.Softshrink, nn.Hardshrink, F.relu, torch.relu, torch.relu_, F.relu_, F.relu6, "relu", "relu_",
)  # fmt: skip


def activation(tracer: Tracer, node: fx.Node, x: Channels, *args: Any, **kwargs: Any) -> Channels:
    what = type(tracer.module(node)) if node.op == "call_module" else node.target
    tracer.add_site(node, x, exact=what in EXACT_ZEROS)
    return with_flags(x.ids, on=BEHIND, off=0)


def hardtanh(tracer: Tracer, node: fx.Node, x: Channels, module: nn.Hardtanh) -> Value:
    """An activation if its range includes zero."""
    return activation(tracer, node, x) if module.min_val <= 0 <= module.max_val else nonzero(tracer, node, x)


def identity(tracer: Tracer, node: fx.Node, x: Channels, *args: Any, **kwargs: Any) -> Value:
    return x


def nonzero(tracer: Tracer, node: fx.Node, x: Channels, *args: Any, **kwargs: Any) -> Value:
    """An operation whose result may be nonzero where its operand is zero, such as a sigmoid."""
    if any(isinstance(other, Tensor | Channels) for other in (*args, *kwargs.values())):
        return tracer.without_rule(node, (x, *args), kwargs)
    return with_flags(x.ids)


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
    tracer.tie(atoms_of(slim_a), atoms_of(slim_b))
    flags = (slim_a & slim_b if both else slim_a | slim_b) & BOTH
    return Channels((slim_a & ~BOTH | flags).expand(shape))


def _with_constant(tracer: Tracer, node: fx.Node, a: Any, b: Any, both: bool) -> Channels:
    x, constant = (a, b) if isinstance(a, Channels) else (b, a)
    shape = x.shape
    if isinstance(constant, Tensor):
        shape = _common_shape(x.shape, constant.shape)
        if constant.dim() and not _broadcasts_over_channels(constant, x.ids):
            add_stored_tensor(tracer, node, x, constant)
    return _with_nonzero(x.ids.expand(shape), both)  # a constant may be nonzero


def _with_nonzero(ids: Tensor, both: bool) -> Channels:
    return with_flags(ids) if both else Channels(ids)


def unary(tracer: Tracer, node: fx.Node, x: Channels, *args: Any, **kwargs: Any) -> Value:
    """A function with f(0) = 0 that is no activation, such as the absolute value."""
    if any(isinstance(other, Tensor | Channels) for other in (*args, *kwargs.values())):
        return tracer.without_rule(node, (x, *args), kwargs)
    return Channels(x.ids, x.dtype)


def clamp(tracer: Tracer, node: fx.Node, x: Channels, min: Any = None, max: Any = None, **kwargs: Any) -> Value:
    """Zero stays zero if it lies within the limits."""
    limits = (kwargs.get("min_val", min), kwargs.get("max_val", max))
    if "clamp_max" in str(getattr(node.target, "__name__", node.target)):
        limits = (None, kwargs.get("max", min))
    if any(isinstance(limit, Channels) for limit in limits):
        return tracer.without_rule(node, (x, min, max), kwargs)
    if any(isinstance(limit, Tensor) for limit in limits):
        if any(limit.numel() > 1 for limit in limits if isinstance(limit, Tensor)):
            return tracer.without_rule(node, (x, min, max), kwargs)
        return with_flags(x.ids)
    low, high = limits
    inside = (low is None or low <= 0) and (high is None or high >= 0)
    return Channels(x.ids) if inside else with_flags(x.ids)


def compare(tracer: Tracer, node: fx.Node, a: Any, b: Any) -> Value:
    """Comparisons and logical operations: a mask, which may be true where its operands are zero."""
    result = with_flags(_binary(tracer, node, a, b, both=True).ids)
    return Channels(result.ids, torch.bool)


def where(tracer: Tracer, node: fx.Node, condition: Any, a: Any, b: Any) -> Value:
    """A choice between two values: zero where both are."""
    if all(isinstance(value, int | float) for value in (a, b)):
        return with_flags(condition.ids)
    if not isinstance(a, Channels) and not isinstance(b, Channels):
        return tracer.without_rule(node, (condition, a, b), {})
    result = _binary(tracer, node, a, b, both=True)
    if isinstance(condition, Channels):
        return _binary(tracer, node, result, with_flags(condition.ids), both=False)
    return _widened(tracer, node, result, condition)


def masked_fill(tracer: Tracer, node: fx.Node, x: Any, mask: Any, value: Any) -> Value:
    """Set some elements to a constant."""
    if not isinstance(x, Channels) or isinstance(value, Tensor | Channels):
        return tracer.without_rule(node, (x, mask, value), {})
    return with_flags(_binary(tracer, node, x, mask, both=True).ids)


def _widened(tracer: Tracer, node: fx.Node, x: Channels, other: Any) -> Channels:
    """x broadcast with a stored mask, which must not tell its channels apart."""
    if not isinstance(other, Tensor):
        return x
    if other.dim() and not _broadcasts_over_channels(other, x.ids):
        tracer.freeze(x, f"{node.name} combines it with a stored tensor")
    return Channels(x.ids.expand(_common_shape(x.shape, other.shape)))


def add(tracer: Tracer, node: fx.Node, a: Any, b: Any, **kwargs: Any) -> Value:
    for x, other in ((a, b), (b, a)):
        if isinstance(other, int | float) and other == 0 and not isinstance(x, int | float):
            return Channels(x.ids, x.dtype)  # as in `sum`; the constant is dropped because 0 - x would change its sign
    return _binary(tracer, node, a, b, both=True)


def extreme(tracer: Tracer, node: fx.Node, a: Any, b: Any, **kwargs: Any) -> Value:
    """Maximum and minimum: zero where both operands are."""
    return _binary(tracer, node, a, b, both=True)


def multiply(tracer: Tracer, node: fx.Node, a: Any, b: Any, **kwargs: Any) -> Value:
    return _binary(tracer, node, a, b, both=False)


def divide(tracer: Tracer, node: fx.Node, a: Any, b: Any, **kwargs: Any) -> Value:
    if not isinstance(b, Channels):
        return _binary(tracer, node, a, b, both=False)
    _freeze_zeros(tracer, node, b)
    if not isinstance(a, Channels):
        return with_flags(_binary(tracer, node, a, b, both=True).ids)
    return _binary(tracer, node, a, with_flags(b.ids), both=False)


def undefined_at_zero(tracer: Tracer, node: fx.Node, x: Channels, *args: Any, **kwargs: Any) -> Value:
    """A function such as the logarithm, which has no finite value at zero."""
    _freeze_zeros(tracer, node, x)
    return nonzero(tracer, node, x, *args, **kwargs)


def _freeze_zeros(tracer: Tracer, node: fx.Node, x: Channels) -> None:
    """Freeze the channels that would be zero if they were held at zero."""
    (slim,) = narrowed([x.ids])
    if (slim & BOTH).any():
        tracer.freeze(x, f"{node.name} has no finite value at zero")


def power(tracer: Tracer, node: fx.Node, a: Any, b: Any, **kwargs: Any) -> Value:
    if not isinstance(b, int | float):
        return tracer.without_rule(node, (a, b), kwargs)
    return unary(tracer, node, a) if b > 0 else undefined_at_zero(tracer, node, a)
