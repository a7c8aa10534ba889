"""Data sets that Hugging Face's package `datasets` wrote."""

import sys
from pathlib import Path

import numpy as np
import pytest

from trimcore import data
from trimcore.errors import DataError

datasets = pytest.importorskip("datasets")
FEATURES = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["dark", "light"])})


def table(count: int, features=FEATURES, **columns):
    """Images of 8 x 6 pixels: dark ones are 10, light ones 200."""
    labels = [i % 2 for i in range(count)]
    images = [np.full((6, 8, 3), 200 if label else 10, np.uint8) for label in labels]
    return datasets.Dataset.from_dict({"image": images, "label": labels, **columns}, features=features)


def save(what, folder: Path) -> str:
    what.save_to_disk(str(folder))
    return f"hf:{folder}"


@pytest.mark.parametrize("limit", [1, 1 << 30])
def test_splits_and_classes(tmp_path, limit):
    splits = {"train": table(20), "validation": table(6), "test": table(4), "unsupervised": table(2)}
    loaded = data.load(save(datasets.DatasetDict(splits), tmp_path / "d"), image_size=8, memory_limit=limit)
    assert loaded.classes == ("dark", "light")
    assert [len(split) for split in (loaded.train, loaded.validation, loaded.test)] == [20, 6, 4]
    for split in (loaded.train, loaded.validation, loaded.test):
        seen = [int(split.image(i).float().mean()) for i in range(len(split))]
        assert seen == [200 if label else 10 for label in split.labels]
    assert loaded.notes[0].startswith("2 classes; 20 to train, 6 from the split validation for validation, 4 from")


def test_a_table_without_splits_and_one_with_only_two(tmp_path):
    loaded = data.load(save(table(30), tmp_path / "one"))
    assert [len(split) for split in (loaded.train, loaded.validation, loaded.test)] == [24, 3, 3]
    loaded = data.load(save(datasets.DatasetDict({"train": table(20), "valid": table(6)}), tmp_path / "two"))
    assert [len(split) for split in (loaded.train, loaded.validation, loaded.test)] == [18, 2, 6]


def test_damaged_and_missing_images_are_left_out_by_name(tmp_path):
    raw = table(20).cast_column("image", datasets.Image(decode=False))
    rows = [row["image"] for row in raw]
    rows[3], rows[7] = {"bytes": b"no image", "path": None}, None
    broken = datasets.Dataset.from_dict({"image": rows, "label": raw["label"][:]}, features=FEATURES)
    loaded = data.load(save(broken, tmp_path / "d"))
    assert loaded.skipped == ("row 3 of d", "row 7 of d")


def test_other_data_are_refused_in_one_line(tmp_path):
    with pytest.raises(DataError, match="not a data set that save_to_disk wrote") as error:
        data.load(f"hf:{tmp_path}")
    assert "\n" not in str(error.value)
    plain = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    with pytest.raises(DataError, match=r"needs one column of the type ClassLabel, not 0; it has image \(Image\), "):
        data.load(save(table(9, plain), tmp_path / "plain"))
    with pytest.raises(DataError, match="the splits test, later, but none to train on"):
        data.load(save(datasets.DatasetDict({"test": table(9), "later": table(9)}), tmp_path / "untrained"))


def test_without_the_package_the_way_to_get_it_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match="pip install datasets"):
        data.load(f"hf:{tmp_path}")
