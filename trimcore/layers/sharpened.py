"""Turn smooth activations into ReLU during continued training (lambda-GELU, arXiv 2603.21991).

GELU, SiLU and Hardswish all have the form f(t) = t g(t), with a gate g that rises from 0 to 1. Sharpened by lambda, the
activation is x g(lambda x) = f(lambda x) / lambda: unchanged at lambda 1, and ReLU as lambda goes to infinity. Networks
with smooth activations have few or no exact zeros. Converted to ReLU they have true zeros, and APoZ measures them.

The paper learns a lambda for each layer, then anneals it. Here all layers share one schedule that depends only on the
step, so it adds no parameters to state dicts and a resumed run needs no extra state.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trimcore.errors import SpecError

MAX_SHARPNESS = 160.0  # as in the paper; ReLU follows
RAMP = 0.8  # the fraction of all steps during which the sharpness rises

KINDS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,  # x * Phi(lambda x), Phi the normal distribution function
    "gelu-tanh": partial(F.gelu, approximate="tanh"),
    "silu": F.silu,  # x * sigmoid(lambda x)
    "hardswish": F.hardswish,  # x * relu6(lambda x + 3) / 6
}
SMOOTH = {nn.GELU: "gelu", nn.SiLU: "silu", nn.Hardswish: "hardswish"}


class Sharpened(nn.Module):
    """f(sharpness * x) / sharpness, elementwise, for a `kind` of activation f; ReLU at infinity.

    Half-precision inputs are computed in float32 and rounded once: sharpness * x would lose digits, or overflow in
    float16. The sharpness is a plain number, not a parameter or buffer. Raises SpecError for an unknown kind.
    """

    def __init__(self, kind: str, sharpness: float = 1.0):
        super().__init__()
        if kind not in KINDS:
            raise SpecError(f"unknown activation {kind!r}; expected one of {', '.join(KINDS)}")
        self.kind, self.sharpness = kind, _checked(sharpness)

    def forward(self, x: Tensor) -> Tensor:
        if math.isinf(self.sharpness):
            return F.relu(x)
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        return (KINDS[self.kind](wide * self.sharpness) / self.sharpness).to(x.dtype)

    def extra_repr(self) -> str:
        return f"{self.kind}, sharpness={self.sharpness:g}"


def smooth_modules(network: nn.Module) -> dict[str, str]:
    """The modules that can be converted: name -> type name ("GELU").

    Function calls such as `F.gelu` are not visible, and subclasses are skipped because they may compute something else.
    """
    return {name: type(m).__name__ for name, m in network.named_modules() if type(m) in SMOOTH}


def check(network: nn.Module, model: str) -> None:
    """Raise SpecError if there is nothing to convert. `model` is the network's name in the message."""
    if not smooth_modules(network):
        raise SpecError(f"{model} has no GELU, SiLU or Hardswish module to convert")


def sharpen(network: nn.Module, sharpness: float) -> nn.Module:
    """Replace every GELU, SiLU and Hardswish module with a Sharpened one. Changes and returns `network`.

    State dict names stay the same, and a shared module stays shared. Raises SpecError if there is nothing to convert
    or the sharpness is not positive.
    """
    check(network, type(network).__name__)
    return _replace(network, lambda smooth: Sharpened(_kind(smooth), sharpness), tuple(SMOOTH))


def set_sharpness(network: nn.Module, sharpness: float) -> None:
    """Set the sharpness of every sharpened activation. Raises SpecError if it is not positive."""
    _checked(sharpness)
    for module in network.modules():
        if isinstance(module, Sharpened):
            module.sharpness = sharpness


def to_relu(network: nn.Module) -> nn.Module:
    """Replace every smooth or sharpened activation with ReLU. Changes and returns `network`."""
    return _replace(network, lambda smooth: nn.ReLU(), (*SMOOTH, Sharpened))


def sharpness_at(step: int, steps: int) -> float:
    """The sharpness at training step `step` (from 0) of `steps`: from 1 to 160 over the first 80 %, then infinity.

    The ramp is geometric because the relative change matters: the bend is 1 / sharpness wide, and each step narrows it
    by the same factor. At 160 all three activations are within 0.0024 of ReLU, less than the rounding error of bfloat16
    at 1, so the switch to ReLU barely changes the outputs. In the remaining steps the learning rate falls to zero and
    the weights adapt to the final activation.
    """
    ramp = int(RAMP * steps)
    return MAX_SHARPNESS ** (step / max(1, ramp - 1)) if step < ramp else math.inf


def _replace(network: nn.Module, make: Callable[[nn.Module], nn.Module], types: tuple[type, ...]) -> nn.Module:
    made: dict[nn.Module, nn.Module] = {}  # shared modules stay shared
    for parent in list(network.modules()):
        for name, child in parent._modules.items():  # named_children would skip a module's second name
            if child is not None and type(child) in types:
                if child not in made:
                    made[child] = make(child).train(child.training)
                parent._modules[name] = made[child]
    return network


def _kind(smooth: nn.Module) -> str:
    return "gelu-tanh" if getattr(smooth, "approximate", "none") == "tanh" else SMOOTH[type(smooth)]


def _checked(sharpness: float) -> float:
    if not sharpness > 0:
        raise SpecError(f"sharpness {sharpness!r} is not positive; 1 keeps the activation, infinity is ReLU")
    return sharpness
