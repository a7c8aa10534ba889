"""Switch between training and evaluation mode and restore it: a frozen BatchNorm in a training network stays frozen."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def in_mode(model: nn.Module, training: bool) -> Iterator[nn.Module]:
    """Set every module to one mode inside the block, then restore each module's own mode."""
    before = {module: module.training for module in model.modules()}
    try:
        yield model.train(training)
    finally:
        for module, mode in before.items():
            module.training = mode
