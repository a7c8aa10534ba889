"""Knowledge distillation (Hinton et al. 2015, arXiv 1503.02531): the trimmed network learns from the network that the
run started from, whose scores also say how similar an image is to the other classes."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trimcore.compute.device import autocast
from trimcore.spec import Distill
from trimcore.training.losses import Loss, cross_entropy


def distillation_loss(
    teacher: nn.Module, settings: Distill, device: torch.device, labelled: Loss = cross_entropy
) -> Loss:
    """(1 - weight) * labelled + weight * T^2 * KL(teacher || student), both softened by the temperature T. The
    factor T^2 keeps the gradient magnitude independent of T. The teacher is put into evaluation mode and not trained.
    `labelled` is the loss with the labels.
    """
    teacher.eval()

    def loss(images: Tensor, scores: Tensor, labels: Tensor) -> Tensor:
        with torch.inference_mode(), autocast(device):
            targets = teacher(images).float()
        # Autograd cannot save inference tensors for the backward pass, hence the clone.
        divergence = soft_divergence(scores, targets.clone(), settings.temperature)
        return (1 - settings.weight) * labelled(images, scores, labels) + settings.weight * divergence

    return loss


def soft_divergence(scores: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """T^2 * KL(softmax(targets / T) || softmax(scores / T)), averaged over the batch. Both (B, classes)"""
    student, teacher = ((each / temperature).log_softmax(1) for each in (scores, targets))
    return temperature**2 * F.kl_div(student, teacher, reduction="batchmean", log_target=True)
