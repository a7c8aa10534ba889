"""What training minimises: cross-entropy with labels, smoothed and weighted by class if the spec asks for it."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from trimcore.data import Data
from trimcore.spec import Training

# Images (B, C, H, W), scores (B, classes), and labels (B,) or shares of the classes (B, classes) -> scalar
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def cross_entropy(images: Tensor, scores: Tensor, labels: Tensor) -> Tensor:
    """The plain loss, averaged over the batch."""
    return F.cross_entropy(scores, labels)


def supervised_loss(settings: Training, data: Data, device: torch.device) -> Loss:
    """Cross-entropy with label smoothing (Szegedy et al. 2016, section 7) and weights of the classes."""
    if not settings.label_smoothing and settings.class_weights == "none":
        return cross_entropy
    weight = balanced(data).to(device) if settings.class_weights == "balanced" else None

    def loss(images: Tensor, scores: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(scores, labels, weight, label_smoothing=settings.label_smoothing)

    return loss


def balanced(data: Data) -> Tensor:
    """(classes,) weights with which all classes of the train split count alike: N / (classes * examples of the class).
    0 for a class without examples."""
    counts = torch.bincount(data.train.labels, minlength=data.num_classes).double()
    weights = counts.sum() / (data.num_classes * counts)
    return torch.where(counts > 0, weights, 0.0).float()
