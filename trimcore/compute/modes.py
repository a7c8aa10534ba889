"""Training and evaluation mode, put back as they were: a frozen BatchNorm inside a training network stays frozen."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def in_mode(model: nn.Module, training: bool) -> Iterator[nn.Module]:
    """The whole model in one mode inside the block; every module in its own mode again after it."""
    before = {module: module.training for module in model.modules()}
    try:
        yield model.train(training)
    finally:
        for module, mode in before.items():
            module.training = mode
