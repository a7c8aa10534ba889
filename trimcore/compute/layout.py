"""The memory layout of images: channels_last is faster in bfloat16, but not every forward function accepts it."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from trimcore.compute.device import has_fast_bf16
from trimcore.compute.inputs import call, moved, repeated
from trimcore.compute.modes import in_mode


def place(model: nn.Module, device: torch.device, example: Any) -> nn.Module:
    """Move a network to the device, as channels_last if bf16 is fast there and the network accepts it. Changes `model`.

    example: a batch of its inputs. The network runs on it once, in evaluation mode.
    """
    model.to(device)
    if has_fast_bf16(device):
        model.to(memory_format=torch.channels_last)
        if not _accepts(model, moved(repeated(example, 2), device), device):
            model.to(memory_format=torch.contiguous_format)
    return model


def is_channels_last(network: Any) -> bool:
    """Whether the network's weights, and so its inputs, are in channels_last. Anything but a module's are not."""
    weights = network.parameters() if isinstance(network, nn.Module) else ()
    return any(
        weight.dim() == 4 and weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()
        for weight in weights
    )


def _accepts(model: nn.Module, inputs: Any, device: torch.device) -> bool:
    """Whether the forward function works on channels_last inputs: `x.view(len(x), -1)`, for example, does not."""

    def last(leaf: Any) -> Any:
        is_image = isinstance(leaf, Tensor) and leaf.dim() == 4
        return leaf.to(memory_format=torch.channels_last) if is_image else leaf

    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices), in_mode(model, training=False), torch.inference_mode():
        try:
            call(model, tree_map(last, inputs))
        except Exception:  # noqa: BLE001 (whatever is wrong with the network, those who run it next say it)
            return False
    return True
