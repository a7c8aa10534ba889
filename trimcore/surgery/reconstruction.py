"""A network from its architecture, its weights, and the widths that their shapes have."""

from typing import Any

import torch
from torch import Tensor, nn

from trimcore import models
from trimcore.errors import CheckpointError, NotTrimmable, SpecError, first_line
from trimcore.graph.channel_graph import ChannelGraph
from trimcore.graph.tracing import trace
from trimcore.layers.maxout import units_of
from trimcore.surgery.grouping import groupable, insert
from trimcore.surgery.widths import set_widths


def widths_of(model: nn.Module) -> dict[str, int]:
    """Neurons of every convolution and linear layer, by name; and the channels of normalisation that has no weights or
    statistics, whose width no state dict shows."""
    widths = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.conv._ConvTransposeNd):
            widths[name] = module.out_channels
        elif isinstance(module, nn.Linear | nn.modules.conv._ConvNd):
            widths[name] = module.weight.shape[0]
        elif _is_bare_norm(module):
            widths[name] = module.num_channels if isinstance(module, nn.GroupNorm) else module.num_features
    return widths


def _is_bare_norm(module: nn.Module) -> bool:
    norm = isinstance(module, nn.modules.batchnorm._NormBase | nn.GroupNorm)
    return norm and not any(tensor is not None for tensor in (*module._parameters.values(), *module._buffers.values()))


def build_with(
    model: str, arguments: dict[str, int], state: dict[str, Tensor], widths: dict[str, int] | None = None,
    units: dict[str, int] | None = None,
) -> nn.Module:  # fmt: skip
    """`model` with the weights of `state`, at the widths that their shapes have, and with the maxout units `units`
    (layer -> neurons a unit). Raises CheckpointError."""
    network = architecture(model, arguments)
    wanted = network.state_dict()
    if missing := sorted(set(wanted) - set(state)):
        raise CheckpointError(
            f"the weights lack {missing[0]!r} and {len(missing) - 1} more of {model}: another architecture?"
        )
    if extra := sorted(set(state) - set(wanted)):
        raise CheckpointError(
            f"the weights have {extra[0]!r} and {len(extra) - 1} more that {model} does not: another architecture?"
        )
    with torch.device("meta"):
        example = models.example_input(arguments)
    try:
        whole = trace(network, example)
        _give(network, whole, state, model)
        for name, width in (widths or {}).items():
            module = whole.parts[name].module if name in whole.parts else None
            if module is not None and _is_bare_norm(module) and 0 < width <= len(whole.parts[name].outputs):
                set_widths(module, {"out": width})
        insert(network, _maxout_modules(whole, units or {}))
        trace(network, example)
    except (NotTrimmable, SpecError) as error:
        raise CheckpointError(f"the weights do not fit each other: {error}") from None
    found = widths_of(network)
    for name, layer in whole.layers.items():
        if layer.width and found[name] != layer.width and not layer.trimmable:
            raise CheckpointError(f"{name!r} has {found[name]} neurons, not {layer.width}, in the weights for {model}")
    if widths is not None and widths != found:
        raise CheckpointError("the table of widths and the weights of the checkpoint disagree")
    return network


def units_by_shape(network: nn.Module, arguments: dict[str, int], state: dict[str, Tensor]) -> dict[str, int]:
    """The neurons of each maxout unit of an architecture, as far as the weights before and behind it show them."""
    found: dict[str, int] = {}
    if not units_of(network):
        return found
    whole = trace(network, models.example_input(arguments))
    for layer, units in whole.units.items():
        outputs = whole.fine.parts[units.maxout].outputs
        neurons = len(state[f"{layer}.weight"])
        for part in whole.fine.parts.values():
            inputs = part.groups.get("in", torch.arange(0))
            if part.kind in ("linear", "conv") and len(inputs) and torch.isin(inputs, outputs).all():
                behind = state[f"{part.name}.weight"].shape[1] * len(outputs) // len(inputs)
                if behind and neurons % behind == 0:
                    found[layer] = neurons // behind
    return found


def _maxout_modules(whole: ChannelGraph, units: dict[str, int]) -> dict[str, int]:
    """The maxout modules behind layers: those that the architecture has, and those that grouping puts there."""
    places = groupable(whole) if units.keys() - whole.units.keys() else {}
    modules = {}
    for layer, k in units.items():
        if layer not in whole.units and layer not in places:
            raise CheckpointError(f"{layer!r} is no maxout layer, and cannot become one")
        modules[whole.units[layer].maxout if layer in whole.units else places[layer].maxout] = k
    return modules


def architecture(model: str, arguments: dict[str, int]) -> nn.Module:
    """The untrimmed network, without memory for its weights."""
    try:
        return models.empty(model, **arguments)
    except (RuntimeError, TypeError) as error:
        raise CheckpointError(f"{model} cannot be built with {arguments}: {first_line(error)}") from None


def _give(network: nn.Module, whole: ChannelGraph, state: dict[str, Tensor], model: str) -> None:
    """Put the weights into the network `whole` was traced from, and bring its modules to their widths."""
    roles_of = {id(tensor): (part, roles) for part in whole.parts.values() for _, tensor, roles in part.tensors()}
    sizes: dict[str, dict[str, int]] = {}  # part -> role -> length
    given: dict[int, Tensor] = {}  # weights that are shared stay shared
    for name, full in network.state_dict(keep_vars=True).items():
        part, roles = roles_of.get(id(full), (None, ()))
        tensor = state[name]
        _check_tensor(name, tensor, full, roles, model)
        for role, length in zip(roles, tensor.shape, strict=False):
            if part and role and sizes.setdefault(part.name, {}).setdefault(role, length) != length:
                raise CheckpointError(f"the weights do not fit each other: {name!r} has shape {tuple(tensor.shape)}")
        if id(full) not in given:
            copied = tensor.to(full.dtype, copy=True)  # weights saved in half precision work like others
            given[id(full)] = nn.Parameter(copied) if isinstance(full, nn.Parameter) else copied
        owner, _, key = name.rpartition(".")
        module = network.get_submodule(owner)
        held: dict[str, Any] = module._parameters if key in module._parameters else module._buffers
        held[key] = given[id(full)]
    for name, found in sizes.items():
        if whole.parts[name].kind != "scale" or isinstance(whole.parts[name].module, nn.PReLU):
            set_widths(whole.parts[name].module, found)


def _check_tensor(name: str, tensor: Tensor, full: Tensor, roles: tuple[str | None, ...], model: str) -> None:
    """Axes with a role may be shorter than in the full network."""
    if tensor.is_floating_point() != full.is_floating_point():
        raise CheckpointError(f"{name!r} holds {tensor.dtype}, {model} has {full.dtype}")
    pairs = list(zip(tensor.shape, full.shape, strict=False))
    fits = tensor.dim() == full.dim() and all(
        1 <= a <= b if axis < len(roles) and roles[axis] else a == b for axis, (a, b) in enumerate(pairs)
    )
    if not fits:
        raise CheckpointError(f"{name!r} has shape {tuple(tensor.shape)}, {model} has {tuple(full.shape)}")
