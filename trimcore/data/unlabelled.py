"""Images without labels, anywhere below a folder."""

from pathlib import Path

import torch

from trimcore.data.division import Parts, divide
from trimcore.data.layout import images_below
from trimcore.data.splits import Folder
from trimcore.errors import DataError


def unlabelled_images(path: Path) -> Parts:
    """All images below a folder, in three parts. Their labels are 0 until a network gives them its own, see
    `training.agreement`. Raises DataError if there are too few."""
    files = images_below(path)
    if not files:
        raise DataError(f"{path} contains no images")
    splits, sizes = divide({"train": Folder(path, tuple(files), torch.zeros(len(files), dtype=torch.int64))},
                           {"train": f"{path.name}/"})  # fmt: skip
    return Parts(("unlabelled",), splits, (f"{len(files):,} images without labels; {sizes}",))
