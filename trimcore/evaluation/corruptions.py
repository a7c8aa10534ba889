"""Accuracy and calibration on corrupted images, before and after trimming.

The idea is from Hendrycks and Dietterich: Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations, 2019 (https://arxiv.org/abs/1903.12261). Noise and contrast have the strengths of severities 1, 3 and 5
of their ImageNet-C. Blur is relative to the image's side, so that it means the same for small and large images.
"""

import math
from collections.abc import Generator
from itertools import product

import pandas as pd
import torch
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as F

from trimcore.compute.generators import finished
from trimcore.compute.seeds import derive_seed
from trimcore.data.dataset import Data, Split
from trimcore.evaluation.answers import images_of, probabilities
from trimcore.evaluation.calibration import CalibrationTally

NONE, NOISE, BLUR, CONTRAST = "none", "gaussian noise", "blur", "contrast"
STRENGTHS = {NONE: (0.0,), NOISE: (0.08, 0.18, 0.38), BLUR: (0.01, 0.02, 0.04), CONTRAST: (0.6, 0.8, 0.95)}
VARIANTS = [(name, strength) for name, strengths in STRENGTHS.items() for strength in strengths]
MEASURES = ["accuracy", "confidence", "calibration_error"]  # of a Calibration
COLUMNS = [
    "corruption",
    "strength",
    "examples",
    *(f"{when}_{name}" for name in MEASURES for when in ("base", "trimmed")),
]


def corrupted(pixels: Tensor, name: str, strength: float, seed: int = 0) -> Tensor:
    """Images (B, C, H, W) uint8 with a corruption, as uint8. With strength 0, they are unchanged.

    "gaussian noise": strength is its standard deviation, as a share of the range of values. "blur": a Gaussian, whose
    standard deviation is this share of the side. "contrast": the share of the contrast that is lost, 0..1.
    """
    if not strength or name == NONE:
        return pixels
    x = pixels.float() / 255
    if name == NOISE:  # torchvision's own draws from the global random numbers, which other threads use, too
        x = x + strength * torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))
    elif name == BLUR:
        side, sigma = pixels.shape[-1], strength * pixels.shape[-1]
        reach = min(math.ceil(3 * sigma), side - 1)  # its border is a reflection, which cannot be longer than the image
        x = F.gaussian_blur(x, [2 * reach + 1] * 2, [sigma] * 2)
    elif name == CONTRAST:
        x = F.adjust_contrast(x, 1 - strength)
    else:
        raise ValueError(f"unknown corruption {name!r}; expected one of {', '.join(STRENGTHS)}")
    return (255 * x).round().clamp(0, 255).to(torch.uint8)


def measure(
    base: nn.Module, trimmed: nn.Module, split: Split, data: Data, device: torch.device | str, seed: int = 0
) -> pd.DataFrame:
    """The accuracy and calibration of two networks under each corruption. See `measuring`."""
    return finished(measuring(base, trimmed, split, data, device, seed))


def measuring(
    base: nn.Module, trimmed: nn.Module, split: Split, data: Data, device: torch.device | str, seed: int = 0
) -> Generator[int, None, pd.DataFrame]:
    """`measure` as a generator that yields the number of images so far. An image is read once; both networks see it
    with the same corruption, which depends only on `seed` and its place.

    One row for each of VARIANTS, with COLUMNS: accuracies, mean confidences and expected calibration errors are 0..1.
    The first row is without a corruption. Raises what `images_of` and `probabilities` raise.
    """
    networks, done = (base, trimmed), 0
    tallies = {(variant, which): CalibrationTally(data.num_classes) for variant, which in product(VARIANTS, (0, 1))}
    for pixels, places in images_of(split):
        labels = split.labels[places]
        for name, strength in VARIANTS:
            images = corrupted(pixels, name, strength, derive_seed(seed, name, done))
            for which, network in enumerate(networks):
                tallies[(name, strength), which].add(probabilities(network, images, data, device), labels)
        done += len(places)
        yield done
    rows = []
    for variant in VARIANTS:
        found = [tallies[variant, which].result() for which in (0, 1)]
        values = [round(getattr(each, name), 6) for name in MEASURES for each in found]
        rows.append([*variant, found[0].examples, *values])
    return pd.DataFrame(rows, columns=COLUMNS)
