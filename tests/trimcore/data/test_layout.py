"""Folders of images as people have them: which folders are splits, which are classes, and what is said about it."""

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from trimcore import data
from trimcore.data.folders import image_folder
from trimcore.data.layout import find_layout
from trimcore.errors import DataError

PETS = ("cat", "dog", "fox")
ROLES = {"train": "train", "training": "train", "val": "validation", "valid": "validation", "dev": "validation",
         "test": "test", "testing": "test", "eval": "evaluation"}  # fmt: skip


def make(root: Path, tree: dict[str, int]) -> Path:
    """Folder -> number of images in it. Their content does not matter here."""
    root.mkdir(exist_ok=True)
    for folder, count in tree.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            (root / folder / f"{i}.png").touch()
    return root


def pets(**parts: int) -> dict[str, int]:
    return {f"{part.replace('__', '/')}/{name}": count for part, count in parts.items() for name in PETS}


def sizes(root: Path) -> tuple[int, ...]:
    return tuple(map(len, image_folder(root).splits))


@pytest.mark.parametrize(
    ("tree", "expected", "found"),
    [
        (pets(train=20, val=8), (54, 6, 24), "54 to train, 6 held out of train/, 24 from val/ as the test"),
        (pets(train=20, valid=8, test=8), (60, 24, 24), "24 from valid/ for validation, 24 from test/ as the test"),
        (pets(TRAIN=20, Testing=8), (54, 6, 24), "6 held out of TRAIN/, 24 from Testing/ as the test"),
        (pets(train=20, dev=8, test=4), (60, 24, 12), "24 from dev/ for validation"),
        (pets(train=20, eval=8), (54, 6, 24), "24 from eval/ as the test"),
        (pets(train=20, eval=8, test=4), (60, 24, 12), "24 from eval/ for validation"),
        (pets(train=20, val=8, evaluation=4), (60, 24, 12), "12 from evaluation/ as the test"),
        (pets(seg_train=20, seg_test=8), (54, 6, 24), "6 held out of seg_train/"),
        (pets(training_set__training_set=20, test_set__test_set=8), (54, 6, 24), "from test_set/test_set/"),
        (pets(train2017=20, val2017=8), (54, 6, 24), "24 from val2017/ as the test"),
        (pets(archive__data__train=20, archive__data__test=8), (54, 6, 24), "held out of archive/data/train/"),
        (pets(train=20), (48, 6, 6), "6 for validation and 6 as the test, both held out of"),
        (pets(images=20), (48, 6, 6), "both held out of"),
        (dict.fromkeys(PETS, 20), (48, 6, 6), "both held out of"),
    ],
    ids=lambda value: ", ".join(value)[:40] if isinstance(value, dict) else None,
)  # fmt: skip
def test_splits_under_their_usual_names(tmp_path, tree, expected, found):
    classes, splits, notes = image_folder(make(tmp_path, tree))
    assert classes == PETS
    assert tuple(map(len, splits)) == expected
    assert notes[0].startswith("3 classes; ")
    assert found in notes[0]


@pytest.mark.parametrize(
    ("tree", "classes"),
    [
        ({"bus": 9, "car": 9, "test": 9, "train": 9}, ("bus", "car", "test", "train")),
        ({"bus/old": 9, "car/old": 9, "train/old": 9}, ("bus", "car", "train")),
        ({"train_station": 9, "test_tube": 9}, ("test_tube", "train_station")),
        ({"train": 9, "valid": 9}, ("train", "valid")),  # images lie in them: there is nothing else to learn
        ({"straining": 9, "contest": 9}, ("contest", "straining")),
    ],
)
def test_classes_that_are_called_like_splits(tmp_path, tree, classes):
    assert image_folder(make(tmp_path, tree)).classes == classes


def test_what_is_left_out_is_said(tmp_path):
    tree = {**pets(train=20, val=8, extras=5), "test": 7, "docs": 0, "dev": 0, "__MACOSX/train": 5}
    notes = image_folder(make(tmp_path, tree)).notes
    assert notes[1:] == (
        "dev/ is left out: it has no images",
        "extras/ is left out: the splits are train/ and val/",
        "test/ is left out: its images are in no class",
    )  # fmt: skip
    tree = {f"pets/{folder}": count for folder, count in pets(train=20, test=8).items()}
    notes = image_folder(make(tmp_path / "outer", tree)).notes
    assert notes[1:] == ("looked in pets/, the only folder with images",)


def test_of_two_folders_for_one_split_the_usual_name_is_taken(tmp_path):
    notes = image_folder(make(tmp_path, pets(train=20, val=8, validation=3, test=4))).notes
    assert "24 from val/ for validation" in notes[0]
    assert notes[1] == "validation/ is left out: the splits are test/ and train/ and val/"


def test_a_class_that_is_missing_in_a_part_is_named(tmp_path):
    tree = pets(train=20, test=8)
    del tree["test/fox"]
    assert image_folder(make(tmp_path, tree)).notes[1:] == ("test/ has no images of fox",)
    with pytest.raises(DataError, match="test has images of cow, but .*train only of the classes cat, dog, fox"):
        image_folder(make(tmp_path, {"test/cow": 2}))


@pytest.mark.parametrize(
    ("tree", "complaint"),
    [
        (pets(val=20, test=8), "has test/ and val/, but nothing to train on: add train/"),
        (pets(train=20, val=8, test=8, eval=8), "four splits"),
        ({"cat": 20}, "only the class 'cat'"),
        ({"train/cat": 20, "test/cat": 20}, "train contains only the class 'cat'"),
        ({"train/cat": 1, "train/dog": 1, "test/cat": 20}, "only 2 images"),
        ({}, "no images"),
        ({".": 20}, "no images"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_folder_that_cannot_be_learned_from_is_refused(tmp_path, tree, complaint):
    with pytest.raises(DataError, match=complaint):
        image_folder(make(tmp_path, tree))


def test_single_images_beside_the_classes_of_a_split_do_not_count(tmp_path):
    tree = {**pets(train=20, test=8), "train": 1, ".": 2}
    assert sizes(make(tmp_path, tree)) == (54, 6, 24)


def test_a_folder_that_leads_to_itself_ends(tmp_path):
    make(tmp_path, {"pets/cat": 20, "pets/dog": 20})
    (tmp_path / "again").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "pets" / "again").symlink_to(tmp_path / "pets", target_is_directory=True)
    with pytest.raises(DataError, match="only the class"):
        image_folder(make(tmp_path / "pets" / "dog" / "x", {"y/z": 3}))
    find_layout(tmp_path)


@settings(max_examples=40, deadline=None)
@given(
    st.permutations(["train", "Training", "val", "Valid", "dev", "test", "TESTING", "eval"]),
    st.integers(1, 4), st.integers(0, 2), st.booleans(),
)  # fmt: skip
def test_parts_never_become_classes_and_no_image_is_lost(tmp_path_factory, names, count, depth, beside):
    """Whatever the names: every image of a chosen split is in exactly one part, and its label is its folder."""
    outer = "a/b/"[: 2 * depth]
    root = tmp_path_factory.mktemp("data")
    tree = {f"{outer}{name}/{pet}": random.Random(name).randint(4, 9) for name in names[:count] for pet in PETS}
    make(root, {**tree, **({f"{outer}notes": 0} if beside else {})})
    used = {ROLES[name.lower()] for name in names[:count]}
    if used == set(ROLES.values()) or ("train" not in used and count > 1):
        with pytest.raises(DataError, match="four splits|nothing to train on"):
            image_folder(root)
        return
    classes, splits, _ = image_folder(root)
    assert classes == PETS
    files = [file for split in splits for file in split.files]
    assert len(files) == len(set(files))
    assert all(classes[int(label)] == file.parent.name for split in splits
               for file, label in zip(split.files, split.labels, strict=True))  # fmt: skip
    for folder in {file.parent for file in files}:
        assert len(list(folder.iterdir())) == sum(file.parent == folder for file in files)


# ---- from pixels


def photograph(path: Path, orientation: int = 1, size=(64, 32), kind: str = "JPEG", exif: bytes = b"") -> Path:
    """White on its left third, grey in its middle, black on its right."""
    image = Image.new("L", size, 128)
    image.paste(255, (0, 0, size[0] // 3, size[1]))
    image.paste(0, (size[0] - size[0] // 3, 0, *size))
    tags = image.getexif()
    tags[274] = orientation
    image.save(path, kind, exif=exif or tags, quality=95)
    return path


def pixels(path: Path, resize: str = "crop"):
    from trimcore.data.decoding import read_image

    return read_image(path, 32, 1, resize)[0].float()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    ("orientation", "white"), [(1, "left"), (2, "right"), (3, "right"), (4, "left"), (5, "top"), (6, "top"),
                               (7, "bottom"), (8, "bottom")],
)  # fmt: skip
def test_images_are_turned_as_exif_says(tmp_path, orientation, white, kind):
    image = pixels(photograph(tmp_path / "a", orientation, kind=kind), "stretch")
    sides = {"left": image[:, :8], "right": image[:, -8:], "top": image[:8], "bottom": image[-8:]}
    opposite = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}[white]
    assert sides[white].mean() > 240
    assert sides[opposite].mean() < 15


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("exif", [b"garbage", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff"])
def test_an_image_with_damaged_exif_is_read_as_it_lies(tmp_path, exif):
    image = pixels(photograph(tmp_path / "a", exif=b"Exif\0\0" + exif), "stretch")
    assert image[:, :8].mean() > 240 > 15 > image[:, -8:].mean()


def test_resize_policies(tmp_path):
    path = photograph(tmp_path / "a", size=(96, 32), kind="PNG")
    assert pixels(path, "crop").eq(128).all()  # the middle third
    stretched, padded = pixels(path, "stretch"), pixels(path, "pad")
    assert stretched[:, :9].eq(255).all()
    assert stretched[:, -9:].eq(0).all()
    assert padded[:10].eq(0).all()
    assert padded[-10:].eq(0).all()
    assert padded[12:20, :9].eq(255).all()
    with pytest.raises(DataError, match="unknown resize 'squash'; expected one of crop, stretch, pad"):
        data.load("mnist-5k", resize="squash")


@pytest.mark.parametrize("limit", [1, 1 << 30])
def test_the_policy_reaches_every_split(tmp_path, limit):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(10):
            photograph(tmp_path / name / f"{i}.png", size=(96, 32), kind="PNG")
    loaded = data.load(f"imagefolder:{tmp_path}", image_size=32, resize="pad", memory_limit=limit)
    assert loaded.resize == "pad"
    for split in (loaded.train, loaded.validation, loaded.test):
        assert split.image(0)[0, :10].eq(0).all()
