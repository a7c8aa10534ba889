"""Mix each training image with another of its batch, by torchvision's MixUp and CutMix."""

from collections.abc import Callable

from torch import Tensor
from torchvision.transforms import v2

from trimcore.spec import Training

Mix = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def mixer(settings: Training, classes: int) -> Mix | None:
    """The function that mixes a batch: images (B, C, H, W) and labels (B,) -> images and shares of the classes (B,
    classes). None if the spec mixes nothing. With both, each batch is mixed in one of the two ways.

    MixUp (Zhang et al. 2018) blends two images, CutMix (Yun et al. 2019) pastes a rectangle of one into the other. The
    share of the second image is drawn from Beta(alpha, alpha), with PyTorch's global random numbers.
    """
    ways = [
        way(alpha=alpha, num_classes=classes)
        for way, alpha in ((v2.MixUp, settings.mixup), (v2.CutMix, settings.cutmix))
        if alpha
    ]
    return v2.RandomChoice(ways) if len(ways) > 1 else ways[0] if ways else None
