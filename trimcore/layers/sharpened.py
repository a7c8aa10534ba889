"""From smooth activations to ReLU, while the network is trained on (lambda-GELU, arXiv 2603.21991).

GELU, SiLU and Hardswish all have the form f(t) = t g(t) with a gate g that goes from 0 to 1. Sharpened by lambda, the
activation is x g(lambda x) = f(lambda x) / lambda: itself at lambda 1, ReLU as lambda goes to infinity. Networks with
such activations have few exact zeros or none; as ReLU networks they have true ones, and APoZ means what it says.

The paper learns a lambda for each layer, then anneals it. Here one schedule serves all layers: a function of the step
alone, so that it adds no parameter to state dicts and a resumed run needs to know nothing of it.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trimcore.errors import SpecError

SHARPEST = 160.0  # as in the paper; the next step is ReLU itself
RAMP = 0.8  # the share of all steps in which the sharpness climbs

KINDS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,  # x * Phi(lambda x), Phi the normal distribution function
    "gelu-tanh": partial(F.gelu, approximate="tanh"),
    "silu": F.silu,  # x * sigmoid(lambda x)
    "hardswish": F.hardswish,  # x * relu6(lambda x + 3) / 6
}
SMOOTH = {nn.GELU: "gelu", nn.SiLU: "silu", nn.Hardswish: "hardswish"}


class Sharpened(nn.Module):
    """f(sharpness * x) / sharpness, element by element, for a `kind` of activation f; ReLU at infinity.

    Half precision is computed in float32 and rounded once: sharpness * x would lose digits, or overflow in float16.
    The sharpness is a plain number, neither parameter nor buffer. Raises SpecError for an unknown kind.
    """

    def __init__(self, kind: str, sharpness: float = 1.0):
        super().__init__()
        if kind not in KINDS:
            raise SpecError(f"unknown activation {kind!r}; there are {', '.join(KINDS)}")
        self.kind, self.sharpness = kind, _checked(sharpness)

    def forward(self, x: Tensor) -> Tensor:
        if math.isinf(self.sharpness):
            return F.relu(x)
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        return (KINDS[self.kind](wide * self.sharpness) / self.sharpness).to(x.dtype)

    def extra_repr(self) -> str:
        return f"{self.kind}, sharpness={self.sharpness:g}"


def smooth_modules(network: nn.Module) -> dict[str, str]:
    """The modules that can be converted: name -> type in words ("GELU"). Calls such as `F.gelu` cannot be seen, and
    subclasses may compute something else."""
    return {name: type(m).__name__ for name, m in network.named_modules() if type(m) in SMOOTH}


def check(network: nn.Module, model: str) -> None:
    """Raises SpecError when there is nothing to convert; `model` is what the message calls the network."""
    if not smooth_modules(network):
        raise SpecError(f"{model} has no GELU, SiLU or Hardswish module to convert")


def sharpen(network: nn.Module, sharpness: float) -> nn.Module:
    """Replace every GELU, SiLU and Hardswish module by one that can be sharpened. Changes `network`, and returns it.

    Names in the state dict stay; a module used in several places is replaced by one. Raises SpecError when there is
    none, and for a sharpness that is not positive.
    """
    check(network, type(network).__name__)
    return _replace(network, lambda smooth: Sharpened(_kind(smooth), sharpness), tuple(SMOOTH))


def set_sharpness(network: nn.Module, sharpness: float) -> None:
    """Set the sharpness of every sharpened activation. Raises SpecError when it is not positive."""
    _checked(sharpness)
    for module in network.modules():
        if isinstance(module, Sharpened):
            module.sharpness = sharpness


def to_relu(network: nn.Module) -> nn.Module:
    """Replace every smooth or sharpened activation by ReLU. Changes `network`, and returns it."""
    return _replace(network, lambda smooth: nn.ReLU(), (*SMOOTH, Sharpened))


def sharpness_at(step: int, steps: int) -> float:
    """The sharpness of training step `step` (from 0) of `steps`: from 1 to 160 over the first 80 %, then infinity.

    Geometric, because what counts is the relative change: the bend is 1 / sharpness wide, and each step narrows it by
    the same share. At 160 all three are within 0.0024 of ReLU, less than bfloat16 rounds off an activation of 1, so
    that the exchange is hardly felt; the steps after it, in which the learning rate falls to zero, fit the weights to
    the activation that they will be used with.
    """
    ramp = int(RAMP * steps)
    return SHARPEST ** (step / max(1, ramp - 1)) if step < ramp else math.inf


def _replace(network: nn.Module, make: Callable[[nn.Module], nn.Module], types: tuple[type, ...]) -> nn.Module:
    made: dict[nn.Module, nn.Module] = {}  # also what is shared stays shared
    for parent in list(network.modules()):
        for name, child in parent._modules.items():  # named_children would leave out a module's second name
            if child is not None and type(child) in types:
                if child not in made:
                    made[child] = make(child).train(child.training)
                parent._modules[name] = made[child]
    return network


def _kind(smooth: nn.Module) -> str:
    return "gelu-tanh" if getattr(smooth, "approximate", "none") == "tanh" else SMOOTH[type(smooth)]


def _checked(sharpness: float) -> float:
    if not sharpness > 0:
        raise SpecError(f"sharpness {sharpness!r} is not positive; 1 leaves the activation as it is, infinity is ReLU")
    return sharpness
