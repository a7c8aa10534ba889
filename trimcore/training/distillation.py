"""Knowledge distillation (Hinton et al. 2015, arXiv 1503.02531): the trimmed network learns from the network that the
run started from, whose scores also say how similar an image is to the other classes."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trimcore.compute.device import autocast
from trimcore.spec import Distill

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]  # images (B, C, H, W), scores (B, classes), labels (B,) -> scalar


def cross_entropy(images: Tensor, scores: Tensor, labels: Tensor) -> Tensor:
    """The loss without a teacher, averaged over the batch."""
    return F.cross_entropy(scores, labels)


def distillation_loss(teacher: nn.Module, settings: Distill, device: torch.device) -> Loss:
    """(1 - weight) * cross-entropy + weight * T^2 * KL(teacher || student), both softened by the temperature T. The
    factor T^2 keeps the gradient magnitude independent of T. The teacher is put into evaluation mode and not trained.
    """
    teacher.eval()

    def loss(images: Tensor, scores: Tensor, labels: Tensor) -> Tensor:
        with torch.inference_mode(), autocast(device):
            targets = teacher(images).float()
        # Autograd cannot save inference tensors for the backward pass, hence the clone.
        divergence = soft_divergence(scores, targets.clone(), settings.temperature)
        return (1 - settings.weight) * cross_entropy(images, scores, labels) + settings.weight * divergence

    return loss


def soft_divergence(scores: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """T^2 * KL(softmax(targets / T) || softmax(scores / T)), averaged over the batch. Both (B, classes)"""
    student, teacher = ((each / temperature).log_softmax(1) for each in (scores, targets))
    return temperature**2 * F.kl_div(student, teacher, reduction="batchmean", log_target=True)
