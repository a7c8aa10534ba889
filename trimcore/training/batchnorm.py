"""Re-estimate the statistics of BatchNorm after a cut: the inputs of its layers have lost neurons."""

from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import update_bn

from trimcore.compute.inputs import examples
from trimcore.compute.modes import in_mode


def has_batchnorm(network: nn.Module) -> bool:
    """Whether a layer of the network keeps running statistics."""
    return any(isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats for m in network.modules())


def reestimate(
    network: nn.Module, batches: Iterable[Any], run: Callable[[nn.Module, Any], object] | None = None
) -> None:
    """Replace the running statistics of all BatchNorm layers by those of these batches. Nothing else changes. Without a
    batch of several examples, they stay.

    `run(network, batch)` runs the network in training mode; by default, it gives it the first part of the batch.
    """
    several = (batch for batch in batches if examples(batch) > 1)
    first = next(several, None)
    if first is None:
        return  # a variance needs more than one example
    with in_mode(network, training=True), torch.random.fork_rng(devices=()):
        torch.manual_seed(0)  # dropout before a BatchNorm
        # BatchNorm needs more than one value per channel, and a map may have a single position. A list around each
        # batch keeps `update_bn` from taking it apart.
        update_bn(([batch] for batch in chain([first], several)), _Running(network, run or _first_part))


class _Running(nn.Module):
    """Runs a network on a whole batch."""

    def __init__(self, network: nn.Module, run: Callable[[nn.Module, Any], object]):
        super().__init__()
        self.network, self.run = network, run

    def forward(self, batch: Any) -> object:
        return self.run(self.network, batch)


def _first_part(network: nn.Module, batch: Any) -> object:
    return network(batch[0])
