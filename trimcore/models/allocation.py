"""Build a network without memory, or at other widths, by intercepting the allocation of its weights.

PyTorch layers allocate their weights with `torch.empty`, then fill them. Only that call is intercepted; everything else
that a builder computes (rates, masks, index tables) is computed as usual. A torch function mode applies to one thread,
so several threads can build at the same time.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from trimcore.errors import SpecError

Make = Callable[[], nn.Module]
BUILD_ERRORS = (  # of a builder that computes with meta or resized weights
    ArithmeticError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)


class Allocating(TorchFunctionMode):
    """Inside the block, `allocate` replaces every `torch.empty` call without a device."""

    def __init__(self, allocate: Callable[..., Tensor]):
        super().__init__()
        self.allocate = allocate

    def __torch_function__(
        self, function: Callable[..., Any], types: object, args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # fmt: skip
        kwargs = kwargs or {}
        plain = function is torch.empty and kwargs.get("device") is None
        return (self.allocate if plain else function)(*args, **kwargs)


def _on_meta(*args: Any, **kwargs: Any) -> Tensor:
    return torch.empty(*args, **{**kwargs, "device": "meta"})


def without_memory(make: Make) -> nn.Module:
    """Build with `make`, with everything in the state dict on the meta device and all other tensors real.

    If the builder needs its own weights, they are allocated and then discarded.
    """
    try:
        with Allocating(_on_meta):
            network = make()
        if any(tensor.is_meta for tensor in _not_saved(network)):
            network = make()
    except BUILD_ERRORS:  # the builder computes with its weights; any other error is raised again
        network = make()
    return _to_meta(network)


def _not_saved(network: nn.Module) -> list[Tensor]:
    """Buffers and tensor attributes outside the state dict, which loading could not restore."""
    saved = {id(tensor) for tensor in network.state_dict(keep_vars=True).values()}
    attributes = [v for module in network.modules() for v in vars(module).values() if isinstance(v, Tensor)]
    return [tensor for tensor in [*network.buffers(), *attributes] if id(tensor) not in saved]


def _to_meta(network: nn.Module) -> nn.Module:
    saved = {id(tensor) for tensor in network.state_dict(keep_vars=True).values()}
    moved: dict[int, Tensor] = {}  # shared tensors stay shared
    for module in network.modules():
        tables: tuple[dict[str, Any], ...] = (module._parameters, module._buffers)
        for held in tables:
            for name, tensor in held.items():
                if tensor is None or tensor.is_meta or id(tensor) not in saved:
                    continue
                if id(tensor) not in moved:
                    blank = tensor.detach().to("meta")
                    is_parameter = isinstance(tensor, nn.Parameter)
                    moved[id(tensor)] = nn.Parameter(blank, tensor.requires_grad) if is_parameter else blank
                held[name] = moved[id(tensor)]
    return network


def renew(model: nn.Module, make: Make) -> nn.Module:
    """Reinitialise `model`, a trimmed version of the network that `make` builds. Changes `model`.

    The builder runs again with its layers' weights allocated at the widths of `model`, so its initialisation uses those
    widths. Everything else it makes (constants, tables) is cropped to the size in `model`. So are all weights if the
    builder runs its layers, which fails at other widths. A scale derived from the original widths, as in RegNet, stays
    as it was. Buffers are reset too.

    Raises SpecError if the builder does not build the same network again.
    """
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    state = _at_widths(make, shapes).state_dict()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            new = state.get(name)
            if new is None or new[tuple(map(slice, tensor.shape))].shape != tensor.shape:
                raise SpecError(f"cannot reinitialise {name!r}: the builder does not build the same network again")
            tensor.copy_(new[tuple(map(slice, tensor.shape))])
    return model


def _at_widths(make: Make, shapes: dict[str, torch.Size]) -> nn.Module:
    try:
        names = iter(_names_of_allocations(make))

        def allocate(*args: Any, **kwargs: Any) -> Tensor:
            name = next(names, None)
            return torch.empty(shapes[name], **kwargs) if name in shapes else torch.empty(*args, **kwargs)

        with Allocating(allocate):
            return make()
    except BUILD_ERRORS:  # the builder runs its layers, which do not fit each other at these widths
        return make()


def _names_of_allocations(make: Make) -> list[str | None]:
    """For each `torch.empty` call of a build, in order, the name of the parameter it became."""
    made: list[Tensor] = []

    def allocate(*args: Any, **kwargs: Any) -> Tensor:
        made.append(_on_meta(*args, **kwargs))
        return made[-1]

    with Allocating(allocate):
        network = make()
    names = {p.untyped_storage()._cdata: name for name, p in network.named_parameters()}
    return [names.get(tensor.untyped_storage()._cdata) for tensor in made]
