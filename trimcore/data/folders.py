"""Image folders with one folder per class, with or without official splits, and Labeled Faces in the Wild."""

from pathlib import Path

import torch

from trimcore.data import lfw
from trimcore.data.division import Parts, divide
from trimcore.data.layout import find_layout, images_by_class
from trimcore.data.splits import Folder
from trimcore.errors import DataError


def image_folder(path: Path) -> Parts:
    """Images with one folder per class, or in splits with one folder per class in each (see `data.layout`). Splits that
    are missing are made (see `data.division`). Raises DataError for any other layout."""
    layout = find_layout(path)
    found = {part: images_by_class(folder) for part, folder in layout.classes_in.items()}
    classes, where = tuple(found["train"]), layout.classes_in["train"]
    if len(classes) < 2:
        have = f"only the class {classes[0]!r}" if classes else "no images"
        raise DataError(f"{where} contains {have}: it needs two or more folders with images, one per class")
    notes = list(layout.notes)
    for part, by_class in found.items():
        if unknown := [name for name in by_class if name not in classes]:
            raise DataError(
                f"{layout.classes_in[part]} has images of {', '.join(unknown)}, but {where} only of the classes "
                f"{', '.join(classes)}: the names must be the same"
            )
        if missing := [name for name in classes if name not in by_class]:
            notes.append(f"{layout.name(part)} has no images of {', '.join(missing)}")
    names = {part: layout.name(part) if layout.official else f"{where.name}/" for part in found}
    splits, sizes = divide({part: _folder(path, by_class, classes) for part, by_class in found.items()}, names)
    return Parts(classes, splits, (f"{len(classes)} classes; {sizes}", *notes))


def faces(path: Path) -> Parts:
    """The people in Labeled Faces in the Wild with enough images to learn from. Raises DataError."""
    people = lfw.people_with_enough_images(path)
    splits, _ = divide({"train": _folder(path, people, tuple(people))}, {"train": "peopleDevTrain.txt"})
    return Parts(tuple(people), splits)


def _folder(root: Path, by_class: dict[str, list[Path]], classes: tuple[str, ...]) -> Folder:
    files = [(file, classes.index(name)) for name, files in by_class.items() for file in files]
    return Folder(root, tuple(file for file, _ in files), torch.tensor([label for _, label in files]))
