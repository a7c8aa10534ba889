"""Data sets are found by looking: what is found loads, and nothing else is opened."""

import json
import os

from tests.trimcore.data.test_layout import make
from trimcore.data import check_name, check_there
from trimcore.data.search import find_data


def test_every_kind_is_found_the_least_deep_first(tmp_path):
    make(tmp_path, {
        "a/pets/cat": 2, "a/pets/dog": 2,
        "b/outer/digits/train/0": 2, "b/outer/digits/train/1": 2, "b/outer/digits/val/0": 1,
        "c/one class": 3, "c/empty": 0, "d": 5, ".hidden/x": 1, ".hidden/y": 1, "node_modules/x": 1,
        "node_modules/y": 1, "saved/train": 0,
    })  # fmt: skip
    (tmp_path / "saved" / "dataset_dict.json").write_text(json.dumps({"splits": ["train"]}))
    (tmp_path / "list.csv").write_text("Path,Label\nx.png,1\n")
    (tmp_path / "other.csv").write_text("epoch,loss\n1,2\n")
    (tmp_path / "d" / "list.tsv").write_text("file\tclass\tsplit\n")
    (tmp_path / "broken.csv").write_bytes(b"\xff\xfe\x00")
    found = find_data([tmp_path])
    assert found == [
        f"images:{tmp_path}/list.csv", f"images:{tmp_path}/d/list.tsv", f"hf:{tmp_path}/saved",
        f"imagefolder:{tmp_path}/a/pets", f"imagefolder:{tmp_path}/b/outer/digits",
    ]  # fmt: skip
    for name in found:
        check_name(name)
        check_there(name)


def test_the_folder_itself_can_be_the_data_set(tmp_path):
    make(tmp_path, {"cat": 1, "dog": 1})
    assert find_data([tmp_path, tmp_path / "cat", tmp_path / "none"]) == [f"imagefolder:{tmp_path}"]


def test_the_search_ends(tmp_path):
    make(tmp_path, {"a/b/c/d/e/f/g/cat": 1, "a/b/c/d/e/f/g/dog": 1})
    (tmp_path / "a" / "again").symlink_to(tmp_path, target_is_directory=True)
    os.mkfifo(tmp_path / "pipe.csv")
    assert find_data([tmp_path]) == []
    assert find_data([tmp_path / "a" / "b"]) == [f"imagefolder:{tmp_path}/a/b/c/d/e/f/g"]
    assert find_data([tmp_path / "a" / "b"], seconds=0) == []


def test_a_data_set_among_many_folders_is_found(tmp_path):
    make(tmp_path, {f"run {number}": 0 for number in range(400)})
    make(tmp_path, {"pets/cat": 1, "pets/dog": 1})
    assert find_data([tmp_path]) == [f"imagefolder:{tmp_path}/pets"]
