"""Re-estimate the statistics of BatchNorm after a cut: the inputs of its layers have lost neurons."""

import torch
from torch import nn
from torch.optim.swa_utils import update_bn

from trimcore.compute.modes import in_mode
from trimcore.data.batches import Batches


def has_batchnorm(network: nn.Module) -> bool:
    """Whether a layer of the network keeps running statistics."""
    return any(isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats for m in network.modules())


def reestimate(network: nn.Module, batches: Batches) -> None:
    """Replace the running statistics of all BatchNorm layers by those of these batches. Nothing else changes."""
    with in_mode(network, training=True), torch.random.fork_rng(devices=()):
        torch.manual_seed(0)  # dropout before a BatchNorm
        # BatchNorm needs more than one value per channel, and a map may have a single position.
        update_bn((images for images, _ in batches if len(images) > 1), network)
