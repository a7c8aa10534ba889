"""Knowledge distillation (Hinton et al. 2015, arXiv 1503.02531): a trimmed network learns from the network that the run
began with, whose scores say of each image how much it looks like the other classes too."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trimcore.compute.device import autocast
from trimcore.spec import Distill

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]  # of images (B, C, H, W), scores (B, classes) and labels (B,)


def cross_entropy(images: Tensor, scores: Tensor, labels: Tensor) -> Tensor:
    """Without a teacher: the mean over the batch."""
    return F.cross_entropy(scores, labels)


def learning_from(teacher: nn.Module, settings: Distill, device: torch.device) -> Loss:
    """(1 - weight) * cross-entropy + weight * T^2 * KL(teacher || student), both softened by the temperature T; T^2
    keeps the gradient as large whatever T is. The teacher is put into evaluation mode and learns nothing."""
    teacher.eval()

    def loss(images: Tensor, scores: Tensor, labels: Tensor) -> Tensor:
        with torch.inference_mode(), autocast(device):
            wanted = teacher(images).float()
        far = softened(scores, wanted.clone(), settings.temperature)  # a clone: gradients need an ordinary tensor
        return (1 - settings.weight) * cross_entropy(images, scores, labels) + settings.weight * far

    return loss


def softened(scores: Tensor, wanted: Tensor, temperature: float) -> Tensor:
    """T^2 * KL(softmax(wanted / T) || softmax(scores / T)), the mean over the batch. Both (B, classes)"""
    own, theirs = ((each / temperature).log_softmax(1) for each in (scores, wanted))
    return temperature**2 * F.kl_div(own, theirs, reduction="batchmean", log_target=True)
