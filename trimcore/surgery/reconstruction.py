"""Rebuild a network from its architecture and its weights, whose shapes determine the widths."""

from typing import Any, cast

import torch
from torch import Tensor, nn

from trimcore import models
from trimcore.errors import CheckpointError, NotTrimmable, SpecError, first_line
from trimcore.graph.channel_graph import ChannelGraph
from trimcore.graph.tracing import trace
from trimcore.layers.maxout import units_of
from trimcore.layers.places import INPUTS, OUTPUTS, set_places, split_places
from trimcore.surgery.grouping import groupable, insert
from trimcore.surgery.widths import set_widths


def widths_of(model: nn.Module) -> dict[str, int]:
    """The neurons of every convolution, linear and recurrent layer, by name. Also the channels of normalisation
    layers without weights or statistics, whose width no state dict shows."""
    widths = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.conv._ConvTransposeNd):
            widths[name] = module.out_channels
        elif isinstance(module, nn.Linear | nn.modules.conv._ConvNd):
            widths[name] = module.weight.shape[0]
        elif isinstance(module, nn.Embedding):
            widths[name] = module.embedding_dim
        elif isinstance(module, nn.MultiheadAttention) and module.in_proj_weight is not None:
            widths[name] = len(module.in_proj_weight)
        elif isinstance(module, nn.RNNBase):
            widths[name] = module.hidden_size
        elif _is_bare_norm(module):
            widths[name] = _width_of(module)
    return widths


def _width_of(norm: Any) -> int:
    if isinstance(norm, nn.LayerNorm | nn.RMSNorm):
        return int(norm.normalized_shape[-1])
    return int(norm.num_channels if isinstance(norm, nn.GroupNorm) else norm.num_features)


def _is_bare_norm(module: nn.Module) -> bool:
    norm = isinstance(module, nn.modules.batchnorm._NormBase | nn.GroupNorm | nn.LayerNorm | nn.RMSNorm)
    return norm and not any(tensor is not None for tensor in (*module._parameters.values(), *module._buffers.values()))


def build_with(
    model: str, arguments: dict[str, int], state: dict[str, Tensor], widths: dict[str, int] | None = None,
    units: dict[str, int] | None = None,
) -> nn.Module:  # fmt: skip
    """`model` with the weights of `state`, at the widths given by their shapes, and with the maxout units `units`
    (layer -> neurons per unit). Raises CheckpointError if they do not fit."""
    network, (state, places) = architecture(model, arguments), split_places(state)
    wanted = network.state_dict()
    if missing := sorted(set(wanted) - set(state)):
        raise CheckpointError(
            f"the weights lack {missing[0]!r} and {len(missing) - 1} more tensors of {model}; "
            "they may be of another architecture"
        )
    if extra := sorted(set(state) - set(wanted)):
        raise CheckpointError(
            f"the weights have {extra[0]!r} and {len(extra) - 1} more tensors that {model} does not have; "
            "they may be of another architecture"
        )
    with torch.device("meta"):
        example = models.example_input(arguments, model=model)
    try:
        full = trace(network, example, embeddings=True)
        _load(network, full, state, model)
        for name, width in (widths or {}).items():
            module = full.parts[name].module if name in full.parts else None
            if module is not None and _is_bare_norm(module) and 0 < width <= len(full.parts[name].outputs):
                set_widths(module, {"out": width})
        for name, own in places.items():
            _set_places(network, full, name, own)
        insert(network, _maxout_modules(full, units or {}))
        trace(network, example)
    except (NotTrimmable, SpecError) as error:
        raise CheckpointError(f"the weights do not fit together: {error}") from None
    found = widths_of(network)
    narrower = {
        name for name, layer in full.layers.items() if layer.width and found.get(name, layer.width) < layer.width
    }
    for name in _frozen(narrower, full, architecture(model, arguments)):
        raise CheckpointError(
            f"layer {name!r} of {model} must have {full.layers[name].width} neurons, not {found[name]}"
        )
    if widths is not None and any(found.get(name) != width for name, width in widths.items()):
        raise CheckpointError("the widths in the checkpoint do not match its weights")
    return network


def units_by_shape(network: nn.Module, arguments: dict[str, int], state: dict[str, Tensor]) -> dict[str, int]:
    """The neurons per maxout unit, by layer, where the weights before and after the units determine them."""
    found: dict[str, int] = {}
    if not units_of(network):
        return found
    full = trace(network, models.example_input(arguments))
    for layer, units in full.units.items():
        outputs = full.fine.parts[units.maxout].outputs
        neurons = len(state[f"{layer}.weight"])
        for part in full.fine.parts.values():
            inputs = part.groups.get("in", torch.arange(0))
            if part.kind in ("linear", "conv") and len(inputs) and torch.isin(inputs, outputs).all():
                count = state[f"{part.name}.weight"].shape[1] * len(outputs) // len(inputs)
                if count and neurons % count == 0:
                    found[layer] = neurons // count
    return found


def _frozen(names: set[str], full: ChannelGraph, network: nn.Module) -> set[str]:
    """Those of the layers that cannot be narrower in the untrimmed network, even if heads go whole."""
    frozen = {name for name in names if not full.layers[name].trimmable}
    if not frozen:
        return frozen
    by_head = trace(network, full.inputs, whole_heads=True)
    return {name for name in frozen if not by_head.layers[name].trimmable}


def _maxout_modules(full: ChannelGraph, units: dict[str, int]) -> dict[str, int]:
    """The maxout modules of layers: those of the architecture and those that grouping inserts."""
    places = groupable(full) if units.keys() - full.units.keys() else {}
    modules = {}
    for layer, k in units.items():
        if layer not in full.units and layer not in places:
            raise CheckpointError(f"layer {layer!r} is not a maxout layer and cannot become one")
        modules[full.units[layer].maxout if layer in full.units else places[layer].maxout] = k
    return modules


def architecture(model: str, arguments: dict[str, int]) -> nn.Module:
    """The untrimmed network on the meta device. Raises CheckpointError if it cannot be built."""
    try:
        return models.empty(model, **arguments)
    except (RuntimeError, TypeError) as error:
        raise CheckpointError(f"{model} cannot be built with {arguments}: {first_line(error)}") from None


def _load(network: nn.Module, full: ChannelGraph, state: dict[str, Tensor], model: str) -> None:
    """Load the weights into the network that `full` was traced from, and set the widths of its modules to match."""
    roles_of = {id(tensor): (part, roles) for part in full.parts.values() for _, tensor, roles in part.tensors()}
    sizes: dict[str, dict[str, int]] = {}  # part -> role -> length
    loaded: dict[int, Tensor] = {}  # shared weights stay shared
    for name, original in network.state_dict(keep_vars=True).items():
        part, roles = roles_of.get(id(original), (None, ()))
        tensor = state[name]
        _check_tensor(name, tensor, original, roles, model)
        for role, length in zip(roles, tensor.shape, strict=False):
            if part and role and sizes.setdefault(part.name, {}).setdefault(role, length) != length:
                raise CheckpointError(f"the weights do not fit together: {name!r} has shape {tuple(tensor.shape)}")
        if id(original) not in loaded:
            copied = tensor.to(original.dtype, copy=True)  # weights may be saved in half precision
            loaded[id(original)] = nn.Parameter(copied) if isinstance(original, nn.Parameter) else copied
        owner, _, key = name.rpartition(".")
        module = network.get_submodule(owner)
        tensors: dict[str, Any] = module._parameters if key in module._parameters else module._buffers
        tensors[key] = loaded[id(original)]
    modules = dict(network.named_modules())
    for name, found in sizes.items():
        shorter = any(len(groups) != found.get(role, len(groups)) for role, groups in full.parts[name].groups.items())
        if name in modules and shorter:  # not a stored tensor
            set_widths(modules[name], found)


def _set_places(network: nn.Module, full: ChannelGraph, name: str, places: dict[str, Tensor]) -> None:
    """Set the places of a layer whose weights are loaded (see `layers.places`), after checking them."""
    part = full.parts.get(name)
    if part is None or part.kind == "fixed":
        raise CheckpointError(f"the weights have places for {name!r}, which is not a layer that can be cut")
    module, weight = network.get_submodule(name), cast(Tensor, part.module.weight)
    inputs, outputs = places.get(INPUTS), places.get(OUTPUTS)
    wide = {INPUTS: len(part.groups.get("in", part.outputs)), OUTPUTS: len(part.outputs)}
    # A norm reads the channels that it gives out; a transposed convolution has its inputs first.
    sizes = [len(weight)] * 2 if weight.dim() < 2 else [weight.shape[1], len(weight)]
    left = dict(zip((INPUTS, OUTPUTS), sizes[::-1] if part.kind == "transposed" else sizes, strict=True))
    if part.kind == "depthwise":
        left[INPUTS] = left[OUTPUTS]
    for key, tensor in places.items():
        highest = wide[key] - 1 if key == INPUTS else left[key]
        length = left[key] if key == INPUTS else min(tensor.numel(), wide[key])
        if tensor.dtype != torch.int64 or tensor.shape != (length,) or not bool(
            ((tensor >= 0) & (tensor <= highest)).all()
        ):  # fmt: skip
            raise CheckpointError(f"the weights have {key} for {name!r} that do not fit its width")
    set_places(module, inputs, outputs)


def _check_tensor(name: str, tensor: Tensor, original: Tensor, roles: tuple[str | None, ...], model: str) -> None:
    """Raise CheckpointError for a tensor of the wrong dtype or shape. An axis with a role may be shorter."""
    if tensor.is_floating_point() != original.is_floating_point():
        raise CheckpointError(f"{name!r} has dtype {tensor.dtype}, but {model} needs {original.dtype}")
    pairs = list(zip(tensor.shape, original.shape, strict=False))
    fits = tensor.dim() == original.dim() and all(
        1 <= a <= b if axis < len(roles) and roles[axis] else a == b for axis, (a, b) in enumerate(pairs)
    )
    if not fits:
        raise CheckpointError(f"{name!r} has shape {tuple(tensor.shape)}, but {model} has {tuple(original.shape)}")
