"""The head of a network: the tensors whose sizes follow from the number of classes."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from trimcore.surgery.reconstruction import architecture


def head_names(model: str, arguments: Mapping[str, int]) -> list[str]:
    """The names of the tensors that are of another shape for another number of classes."""
    more = {**arguments, "num_classes": arguments["num_classes"] + 1}
    now, then = (architecture(model, dict(values)).state_dict() for values in (arguments, more))
    return [name for name, tensor in now.items() if name not in then or tensor.shape != then[name].shape]


def with_new_head(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], names: Iterable[str]) -> dict[str, Tensor]:
    """The weights with new tensors under these names, of the lengths in `wanted`. Inputs that were cut from the old
    tensor are missing in the new one. The numbers are the same in every run."""
    numbers, fitted = torch.Generator().manual_seed(0), dict(state)
    for name in names:
        shape = list(wanted[name].shape)
        if name in state and state[name].dim() == len(shape):
            shape[1:] = state[name].shape[1:]
        fitted[name] = torch.randn(shape, generator=numbers) * 0.01 if len(shape) > 1 else torch.zeros(shape)
    return fitted
