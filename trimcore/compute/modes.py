"""Switch between training and evaluation mode and restore it: a frozen BatchNorm in a training network stays frozen.
And refuse networks that change their weights in evaluation mode.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from trimcore.errors import TrimError


@contextmanager
def in_mode(model: nn.Module, training: bool) -> Iterator[nn.Module]:
    """Set every module to one mode inside the block, then restore each module's own mode."""
    before = {module: module.training for module in model.modules()}
    try:
        yield model.train(training)
    finally:
        for module, mode in before.items():
            module.training = mode


@contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """Measure a network inside the block. Raises TrimError if its weights change meanwhile: what was measured would
    belong to weights that nobody has any more. Their sums are compared, which costs little."""
    before = _sums(model)
    yield
    if any(not torch.equal(old, new) for old, new in zip(before, _sums(model), strict=True)):
        raise TrimError("the network changed its own weights while it was measured: its forward must not do that")


def _sums(model: nn.Module) -> list[torch.Tensor]:
    """The sums of the parameters, one tensor for each device."""
    found: dict[torch.device, list[torch.Tensor]] = {}
    with torch.no_grad():
        for parameter in model.parameters():
            found.setdefault(parameter.device, []).append(parameter.sum().float())
    return [torch.stack(sums).nan_to_num() for sums in found.values()]
