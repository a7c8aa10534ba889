"""Labeled Faces in the Wild: the same result as torchvision, and one line with the position of any damage."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.datasets import LFWPairs, LFWPeople

from tests.trimcore.data.faces import LEARNT, SIZE, make_faces, make_lfw
from trimcore.data import lfw
from trimcore.data.splits import read_image
from trimcore.errors import DataError


@pytest.fixture(scope="module")
def faces(tmp_path_factory) -> Path:
    return make_lfw(tmp_path_factory.mktemp("faces"))


@pytest.fixture
def damaged(tmp_path) -> Path:
    """A folder that the test may damage."""
    return make_lfw(tmp_path, folds=2, count=2, held_out=3)


@pytest.fixture
def without_archives(monkeypatch):
    """torchvision checks the archives' checksums; here there are only extracted files."""
    for source in (LFWPairs, LFWPeople):
        monkeypatch.setattr(source, "_check_integrity", lambda self: True)


@pytest.mark.parametrize(("split", "file"), [("10fold", "pairs.txt"), ("test", "pairsDevTest.txt")])
def test_pairs_and_images_match_torchvision(faces, without_archives, split, file):
    official = LFWPairs(str(faces), split, "deepfunneled")
    ours = lfw.pairs(faces, file)
    assert [(str(pair.first), str(pair.second)) for pair in ours] == official.data
    assert [int(pair.same) for pair in ours] == official.targets
    assert {True, False} == {pair.same for pair in ours}
    for pair, (first, second, same) in zip(ours, official, strict=True):
        assert pair.same == same
        for image, expected in ((pair.first, first), (pair.second, second)):
            assert torch.equal(read_image(image, SIZE, 3), torch.from_numpy(np.array(expected)).permute(2, 0, 1))


def test_people_match_torchvision(faces, without_archives):
    official = LFWPeople(str(faces), "train", "deepfunneled")
    people = lfw.people(faces, "peopleDevTrain.txt")
    assert list(people) == sorted(LEARNT)
    assert sorted(str(image) for images in people.values() for image in images) == sorted(official.data)
    names = {number: name for name, number in official.class_to_idx.items()}
    for image, target in zip(official.data, official.targets, strict=True):
        assert Path(image) in people[names[target]]


def test_ten_folds_have_equally_many_pairs_of_each_kind(faces):
    found = lfw.pairs(faces, "pairs.txt")
    assert [(pair.fold, pair.same) for pair in found] == [
        (fold, same) for fold in range(10) for same in (True, True, True, False, False, False)
    ]
    assert {pair.fold for pair in lfw.pairs(faces, "pairsDevTest.txt")} == {0}
    for pair in found:
        assert (pair.first.parent == pair.second.parent) == pair.same


def test_a_handwritten_list_is_read(damaged):
    (damaged / "lfw-py" / "pairs.txt").write_text("1\t1\r\nEva_Other\t1\t4\r\nGus_Other\t1\tFay_Other\t3\r\n\n")
    images = damaged / "lfw-py" / "lfw-deepfunneled"
    eva, gus, fay = images / "Eva_Other", images / "Gus_Other", images / "Fay_Other"
    assert lfw.pairs(damaged, "pairs.txt") == [
        lfw.FacePair(eva / "Eva_Other_0001.jpg", eva / "Eva_Other_0004.jpg", True, 0),
        lfw.FacePair(gus / "Gus_Other_0001.jpg", fay / "Fay_Other_0003.jpg", False, 0),
    ]


def test_the_path_may_be_the_lfw_py_folder(faces):
    assert lfw.pairs(faces / "lfw-py", "pairs.txt") == lfw.pairs(faces, "pairs.txt")


def test_the_best_aligned_images_are_used(tmp_path):
    make_lfw(tmp_path, "lfw")
    for better in ("lfw", "lfw_funneled", "lfw-deepfunneled"):
        if better != "lfw":
            make_faces(tmp_path / "lfw-py" / better)
        pair = lfw.pairs(tmp_path, "pairs.txt")[0]
        assert pair.first.parent.parent == pair.second.parent.parent == tmp_path / "lfw-py" / better


def test_people_with_ten_images_are_learnt(faces):
    found = lfw.people_with_enough_images(faces)
    assert {name: len(images) for name, images in found.items()} == {"Ann_Often": 10, "Bea_Often": 12}
    assert list(found) == ["Ann_Often", "Bea_Often"]
    assert found["Bea_Often"][9].name == "Bea_Often_0010.jpg"


def test_too_few_people_with_enough_images_are_refused(damaged):
    (damaged / "lfw-py" / "peopleDevTrain.txt").write_text("2\nCas_Nearly\t9\nDot_Once\t1\n")
    complaint = "at least two people with at least 10 images.* not 0; nobody has more than 9"
    with pytest.raises(DataError, match=complaint) as error:
        lfw.people_with_enough_images(damaged)
    assert "\n" not in str(error.value)


# pairs.txt has two folds with two pairs of each kind, so nine lines. Line 4 is the first pair of two people.
@pytest.mark.parametrize(
    ("line", "text", "complaint"),
    [
        (1, "", "line 1: the column count should be 1 or 2, not 0"),
        (1, "2\t2\t2", "line 1: the column count should be 1 or 2, not 3"),
        (1, "two\t2", "line 1: expected a positive integer, not 'two'"),
        (1, "2\t0", "line 1: expected a positive integer, not '0'"),
        (1, "2\t-2", "line 1: expected a positive integer, not '-2'"),
        (1, "3\t2", "line 10: the first line implies 13 lines, but the file has 9"),
        (1, "1\t2", "line 6: the first line implies 5 lines, but the file has 9"),
        (2, "Eva_Other\t1", "line 2: the column count should be 3, not 2"),
        (2, "Eva_Other\t1\tFay_Other\t1", "line 2: the column count should be 3, not 4"),
        (2, "Eva_Other\tone\t2", "line 2: expected a positive integer, not 'one'"),
        (3, "Eva_Other\t1\t5", "line 3: missing image .*/Eva_Other/Eva_Other_0005.jpg"),
        (4, "Eva_Other\t1\t2", "line 4: the column count should be 4, not 3"),
        (5, "Eva_Other\t1\tEva_Nobody\t1", "line 5: missing image .*/Eva_Nobody/Eva_Nobody_0001.jpg"),
        (8, "", "line 8: the column count should be 4, not 0"),
        (9, "", "line 9: the first line implies 9 lines, but the file has 8"),
    ],
)
def test_the_error_for_a_damaged_list_of_pairs_names_file_and_line(damaged, line, text, complaint):
    file = damaged / "lfw-py" / "pairs.txt"
    lines = file.read_text().splitlines()
    assert len(lines) == 9
    lines[line - 1] = text
    file.write_text("\n".join(lines))
    with pytest.raises(DataError, match=f"pairs.txt, {complaint}") as error:
        lfw.pairs(damaged, "pairs.txt")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("1\t1\nEva_Other\t4", "line 1: the column count should be 1, not 2"),
        ("2\nEva_Other\t4", "line 3: the first line implies 3 lines, but the file has 2"),
        ("1\nEva_Other\t4\t4", "line 2: the column count should be 2, not 3"),
        ("1\nEva_Other\t5", "line 2: missing image .*Eva_Other_0005.jpg"),
    ],
)
def test_the_error_for_a_damaged_list_of_people_names_file_and_line(damaged, text, complaint):
    (damaged / "lfw-py" / "peopleDevTrain.txt").write_text(text)
    with pytest.raises(DataError, match=f"peopleDevTrain.txt, {complaint}"):
        lfw.people(damaged, "peopleDevTrain.txt")


def test_missing_and_unreadable_files_are_named(tmp_path, damaged):
    (damaged / "lfw-py" / "pairs.txt").unlink()
    with pytest.raises(DataError, match=r"lfw-py/pairs.txt is missing"):
        lfw.pairs(damaged, "pairs.txt")
    (damaged / "lfw-py" / "pairs.txt").write_bytes(b"1\t1\n\xff\xfe")
    with pytest.raises(DataError, match=r"lfw-py/pairs.txt cannot be read: .*0xff"):
        lfw.pairs(damaged, "pairs.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty does not contain Labeled Faces in the Wild: .*lfw-py/lfw-deepfunneled"):
        lfw.pairs(tmp_path / "empty", "pairs.txt")
