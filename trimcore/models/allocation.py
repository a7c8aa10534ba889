"""Building a network without memory, or at other widths, by deciding what its weights are allocated as.

PyTorch's layers get their weights from `torch.empty` and then fill them. Only that call is answered differently here;
everything else that a builder computes (rates, masks, tables of indices) is computed as always. A mode of torch holds
for one thread, so that several may build at the same time.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from trimcore.errors import SpecError

Make = Callable[[], nn.Module]
TROUBLE = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)  # of a builder that computes


class Allocating(TorchFunctionMode):
    """Inside the block `allocate` answers every `torch.empty` that does not name a device."""

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
    """The network that `make` builds, with all that a state dict holds on the meta device; other tensors are real.

    A builder that looks at its own weights is let have them, and they are given up afterwards.
    """
    try:
        with Allocating(_on_meta):
            network = make()
        if any(tensor.is_meta for tensor in _not_saved(network)):
            network = make()
    except TROUBLE:  # it computes with its weights; if the fault is another, it comes again
        network = make()
    return _to_meta(network)


def _not_saved(network: nn.Module) -> list[Tensor]:
    """Buffers and plain attributes that no state dict holds, and so nobody could bring back."""
    saved = {id(tensor) for tensor in network.state_dict(keep_vars=True).values()}
    attributes = [v for module in network.modules() for v in vars(module).values() if isinstance(v, Tensor)]
    return [tensor for tensor in [*network.buffers(), *attributes] if id(tensor) not in saved]


def _to_meta(network: nn.Module) -> nn.Module:
    saved = {id(tensor) for tensor in network.state_dict(keep_vars=True).values()}
    moved: dict[int, Tensor] = {}  # a tensor that two modules share stays shared
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
    """Give `model`, a trimmed network that `make` builds untrimmed, the new weights that its builder would give it.

    The builder runs once more, with its layers' weights allocated at the widths that `model` has, so that whatever it
    fills them with goes by these. What it makes otherwise (constants, tables) is taken as far as `model` reaches. So
    are all weights of a builder that runs its layers, which it cannot do at other widths. A scale that a builder takes
    from the widths it was written with, as RegNet's does, stays theirs. Buffers become new too. Changes `model`.

    Raises SpecError when the builder does not build the same network again.
    """
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    state = _at_widths(make, shapes).state_dict()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            new = state.get(name)
            if new is None or new[tuple(map(slice, tensor.shape))].shape != tensor.shape:
                raise SpecError(f"{name!r} cannot get new weights: its builder does not build the same network again")
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
    except TROUBLE:  # layers that it runs do not fit each other at these widths
        return make()


def _names_of_allocations(make: Make) -> list[str | None]:
    """For each `torch.empty` of a build, in order, the parameter that it became."""
    made: list[Tensor] = []

    def allocate(*args: Any, **kwargs: Any) -> Tensor:
        made.append(_on_meta(*args, **kwargs))
        return made[-1]

    with Allocating(allocate):
        network = make()
    names = {p.untyped_storage()._cdata: name for name, p in network.named_parameters()}
    return [names.get(tensor.untyped_storage()._cdata) for tensor in made]
