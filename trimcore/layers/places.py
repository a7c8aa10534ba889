"""Layers whose channels keep their places in a wider activation.

Some forward functions fix the width of an activation: they reshape it to a written number of heads, or slice it at a
written channel. A layer can still lose neurons there. It computes only the ones that are left, and the places of the
others are filled with zeros, so that the forward function sees the width that it expects. A layer that reads such an
activation takes only the channels that may be nonzero.

The places are two buffers of the layer, which its hooks apply: `input_places` (inputs,) has the channel that each input
reads; `output_places` (width,) has the output that each channel shows, or the number of outputs for a zero.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

INPUTS, OUTPUTS = "input_places", "output_places"


def is_placed(module: nn.Module) -> bool:
    return INPUTS in module._buffers or OUTPUTS in module._buffers


def channel_axis_of(module: nn.Module) -> int:
    """The axis of a layer's channels in its input and output."""
    return -1 if isinstance(module, nn.Linear) else 1


def set_places(module: nn.Module, inputs: Tensor | None, outputs: Tensor | None) -> None:
    """Set the places of a layer, int64 as described above; None for all channels in order. Changes the module."""
    for name, places in ((INPUTS, inputs), (OUTPUTS, outputs)):
        if places is not None:
            module.register_buffer(name, places)
        elif name in module._buffers:
            del module._buffers[name]
    before = _read_inputs in module._forward_pre_hooks.values()
    if INPUTS in module._buffers and not before:
        module.register_forward_pre_hook(_read_inputs)
    if OUTPUTS in module._buffers and _write_outputs not in module._forward_hooks.values():
        module.register_forward_hook(_write_outputs)


def read_inputs(module: nn.Module, x: Tensor) -> Tensor:
    """The channels of x that the layer reads."""
    places = module._buffers.get(INPUTS)
    return x if places is None else x.index_select(channel_axis_of(module), places)


def write_outputs(module: nn.Module, y: Tensor) -> Tensor:
    """The layer's outputs y in their places, with zeros elsewhere."""
    places = module._buffers.get(OUTPUTS)
    if places is None:
        return y
    axis = channel_axis_of(module)
    return torch.cat([y, torch.zeros_like(y.narrow(axis, 0, 1))], axis).index_select(axis, places)


def split_places(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, dict[str, Tensor]]]:
    """A state dict without the places, and the places of each layer by the name of their buffer."""
    rest, places = {}, dict[str, dict[str, Tensor]]()
    for name, tensor in state.items():
        layer, _, buffer = name.rpartition(".")
        if buffer in (INPUTS, OUTPUTS):
            places.setdefault(layer, {})[buffer] = tensor
        else:
            rest[name] = tensor
    return rest, places


def has_foreign_hooks(module: nn.Module) -> bool:
    """Whether the module has forward pre-hooks other than the one that applies places."""
    return any(hook is not _read_inputs for hook in module._forward_pre_hooks.values())


def _read_inputs(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    return (read_inputs(module, args[0]), *args[1:]) if INPUTS in module._buffers else args


def _write_outputs(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
    return write_outputs(module, output)
