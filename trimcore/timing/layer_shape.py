"""A convolution or linear layer alone, at any width, for inputs as it gets them in its network."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trimcore.graph.channel_graph import Part
from trimcore.timing.calls import Call

NAMES = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
TRANSPOSED = ("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation")
CONVOLUTIONS = ("conv1d", "conv2d", "conv3d")
TRANSPOSED_CONVOLUTIONS = ("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
Widths = Mapping[str, int]  # role of a weight's axis ("in", "out") -> channels


@dataclass(frozen=True)
class LayerShape:
    """Everything but the widths: what is called, with which arguments, and the roles of the weight's axes. `full` are
    the widths in the network."""

    function: Callable[..., Tensor]
    operands: dict[str, Any]  # by name, tensors being examples of their shape
    roles: tuple[str | None, ...]
    full: dict[str, int]
    depthwise: bool

    @property
    def key(self) -> str:
        """Equal for layers that take the same time at the same widths: function, sizes, strides, types and layouts."""
        x, weight = self.operands["input"], self.operands["weight"]
        sizes = [
            "x".join("c" if axis == self._channel_axis else str(n) for axis, n in enumerate(x.shape)),
            "x".join(role or str(n) for role, n in zip(self._all_roles, weight.shape, strict=True)),
        ]
        rest = [f"{name}={value}" for name, value in self.operands.items() if not isinstance(value, Tensor)]
        if self.depthwise:
            rest = ["depthwise" if one.startswith("groups=") else one for one in rest]
        types = [str(x.dtype).removeprefix("torch."), _layout(x), _layout(weight)]
        bias = "bias" if isinstance(self.operands.get("bias"), Tensor) else "no bias"
        return " ".join([self.function.__name__, *sizes, *rest, bias, *types])

    def at(self, widths: Widths, device: torch.device) -> Callable[[], Tensor]:
        """The layer with these widths and random weights, ready to be called on a device."""
        old, x = self.operands["weight"], self.operands["input"]
        lengths = [
            n if role is None else n * widths[role] // self.full[role]
            for n, role in zip(old.shape, self._all_roles, strict=True)
        ]
        operands, groups = dict(self.operands), self.operands.get("groups", 1)
        if self.depthwise:
            operands["groups"] = groups = groups * lengths[0] // old.shape[0]
        channels = list(x.shape)
        transposed = self.function.__name__ in TRANSPOSED_CONVOLUTIONS
        channels[self._channel_axis] = lengths[0] if transposed else lengths[1] * groups
        made = {"input": _random(x, channels, device), "weight": _random(old, lengths, device)}
        if isinstance(operands.get("bias"), Tensor):
            outputs = lengths[1] * groups if transposed else lengths[0]
            made["bias"] = _random(operands["bias"], [outputs], device)
        names = (name for name in operands if name not in ("input", "weight"))
        rest = {name: made.get(name, operands[name]) for name in names}
        return lambda: self.function(made["input"], made["weight"], **rest)

    @property
    def _channel_axis(self) -> int:
        x, weight = self.operands["input"], self.operands["weight"]
        rank: int = x.dim()
        return rank - 1 if self.function.__name__ == "linear" else rank - int(weight.dim()) + 1

    @property
    def _all_roles(self) -> tuple[str | None, ...]:
        return (*self.roles, *[None] * (self.operands["weight"].dim() - len(self.roles)))


def shape_of(call: Call, part: Part, full: dict[str, int]) -> LayerShape | None:
    """The shape of the layer that a call executes; None for a call that is not one of a convolution or linear layer."""
    name = getattr(call.function, "__name__", "")
    if name not in (*CONVOLUTIONS, *TRANSPOSED_CONVOLUTIONS, "linear") or "weight" not in part.axes:
        return None
    names = TRANSPOSED if name in TRANSPOSED_CONVOLUTIONS else NAMES
    operands = dict(zip(names, call.args, strict=False)) | call.kwargs
    x, weight = operands.get("input"), operands.get("weight")
    if not (isinstance(x, Tensor) and isinstance(weight, Tensor)) or weight.shape != part.module.weight.shape:
        return None
    return LayerShape(call.function, operands, part.axes["weight"], full, part.kind == "depthwise")


def _random(like: Tensor, shape: list[int], device: torch.device) -> Tensor:
    """Random values in the type and memory layout of another tensor, scaled so that results stay moderate."""
    made = torch.randn(shape, dtype=like.dtype, device=device) / math.sqrt(max(1, math.prod(shape[1:])))
    return made.contiguous(memory_format=torch.channels_last) if _layout(like) == "channels_last" else made


def _layout(x: Tensor) -> str:
    last = x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return "channels_last" if last else "contiguous"
