"""Labeled Faces in the Wild as torchvision reads it, and every damage as one line that says where."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.datasets import LFWPairs, LFWPeople

from tests.trimcore.faces import LEARNT, SIZE, make_faces, make_lfw
from trimcore.data import lfw
from trimcore.data.splits import read_image
from trimcore.errors import DataError


@pytest.fixture(scope="module")
def faces(tmp_path_factory) -> Path:
    return make_lfw(tmp_path_factory.mktemp("faces"))


@pytest.fixture
def damaged(tmp_path) -> Path:
    """A folder of the test's own, to be damaged."""
    return make_lfw(tmp_path, folds=2, count=2, held_out=3)


@pytest.fixture
def without_archives(monkeypatch):
    """Torchvision looks for the archives and their checksums; here there are only the files."""
    for source in (LFWPairs, LFWPeople):
        monkeypatch.setattr(source, "_check_integrity", lambda self: True)


@pytest.mark.parametrize(("split", "file"), [("10fold", "pairs.txt"), ("test", "pairsDevTest.txt")])
def test_torchvision_gives_the_same_pairs_and_images(faces, without_archives, split, file):
    official = LFWPairs(str(faces), split, "deepfunneled")
    ours = lfw.pairs(faces, file)
    assert [(str(pair.first), str(pair.second)) for pair in ours] == official.data
    assert [int(pair.same) for pair in ours] == official.targets
    assert {True, False} == {pair.same for pair in ours}
    for pair, (first, second, same) in zip(ours, official, strict=True):
        assert pair.same == same
        for image, expected in ((pair.first, first), (pair.second, second)):
            assert torch.equal(read_image(image, SIZE, 3), torch.from_numpy(np.array(expected)).permute(2, 0, 1))


def test_torchvision_gives_the_same_people(faces, without_archives):
    official = LFWPeople(str(faces), "train", "deepfunneled")
    people = lfw.people(faces, "peopleDevTrain.txt")
    assert list(people) == sorted(LEARNT)
    assert sorted(str(image) for images in people.values() for image in images) == sorted(official.data)
    names = {number: name for name, number in official.class_to_idx.items()}
    for image, target in zip(official.data, official.targets, strict=True):
        assert Path(image) in people[names[target]]


def test_ten_folds_with_half_of_each_kind(faces):
    found = lfw.pairs(faces, "pairs.txt")
    assert [(pair.fold, pair.same) for pair in found] == [
        (fold, same) for fold in range(10) for same in (True, True, True, False, False, False)
    ]
    assert {pair.fold for pair in lfw.pairs(faces, "pairsDevTest.txt")} == {0}
    for pair in found:
        assert (pair.first.parent == pair.second.parent) == pair.same


def test_a_list_by_hand(damaged):
    (damaged / "lfw-py" / "pairs.txt").write_text("1\t1\r\nEva_Other\t1\t4\r\nGus_Other\t1\tFay_Other\t3\r\n\n")
    images = damaged / "lfw-py" / "lfw-deepfunneled"
    eva, gus, fay = images / "Eva_Other", images / "Gus_Other", images / "Fay_Other"
    assert lfw.pairs(damaged, "pairs.txt") == [
        lfw.FacePair(eva / "Eva_Other_0001.jpg", eva / "Eva_Other_0004.jpg", True, 0),
        lfw.FacePair(gus / "Gus_Other_0001.jpg", fay / "Fay_Other_0003.jpg", False, 0),
    ]


def test_the_folder_lfw_py_itself_will_do(faces):
    assert lfw.pairs(faces / "lfw-py", "pairs.txt") == lfw.pairs(faces, "pairs.txt")


def test_the_best_aligned_images_are_taken(tmp_path):
    make_lfw(tmp_path, "lfw")
    for better in ("lfw", "lfw_funneled", "lfw-deepfunneled"):
        if better != "lfw":
            make_faces(tmp_path / "lfw-py" / better)
        pair = lfw.pairs(tmp_path, "pairs.txt")[0]
        assert pair.first.parent.parent == pair.second.parent.parent == tmp_path / "lfw-py" / better


def test_those_with_ten_images_can_be_learnt_by_name(faces):
    often = lfw.often_photographed(faces)
    assert {name: len(images) for name, images in often.items()} == {"Ann_Often": 10, "Bea_Often": 12}
    assert list(often) == ["Ann_Often", "Bea_Often"]
    assert often["Bea_Often"][9].name == "Bea_Often_0010.jpg"


def test_too_few_such_people(damaged):
    (damaged / "lfw-py" / "peopleDevTrain.txt").write_text("2\nCas_Nearly\t9\nDot_Once\t1\n")
    with pytest.raises(DataError, match="two or more people with 10 or more images.* not 0; at most 9") as error:
        lfw.often_photographed(damaged)
    assert "\n" not in str(error.value)


# In pairs.txt two folds with two pairs of each kind, so nine lines; line 4 is the first pair of two people.
@pytest.mark.parametrize(
    ("line", "text", "complaint"),
    [
        (1, "", "line 1: the number of columns should be 1 or 2, not 0"),
        (1, "2\t2\t2", "line 1: the number of columns should be 1 or 2, not 3"),
        (1, "two\t2", "line 1: 'two' should be a number from 1 on"),
        (1, "2\t0", "line 1: '0' should be a number from 1 on"),
        (1, "2\t-2", "line 1: '-2' should be a number"),
        (1, "3\t2", "line 10: the first line promises 13 lines, but there are 9"),
        (1, "1\t2", "line 6: the first line promises 5 lines, but there are 9"),
        (2, "Eva_Other\t1", "line 2: the number of columns should be 3, not 2"),
        (2, "Eva_Other\t1\tFay_Other\t1", "line 2: the number of columns should be 3, not 4"),
        (2, "Eva_Other\tone\t2", "line 2: 'one' should be a number"),
        (3, "Eva_Other\t1\t5", "line 3: there is no image .*/Eva_Other/Eva_Other_0005.jpg"),
        (4, "Eva_Other\t1\t2", "line 4: the number of columns should be 4, not 3"),
        (5, "Eva_Other\t1\tEva_Nobody\t1", "line 5: there is no image .*/Eva_Nobody/Eva_Nobody_0001.jpg"),
        (8, "", "line 8: the number of columns should be 4, not 0"),
        (9, "", "line 9: the first line promises 9 lines, but there are 8"),
    ],
)
def test_a_damaged_list_of_pairs_is_one_line_with_file_and_line(damaged, line, text, complaint):
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
        ("1\t1\nEva_Other\t4", "line 1: the number of columns should be 1, not 2"),
        ("2\nEva_Other\t4", "line 3: the first line promises 3 lines, but there are 2"),
        ("1\nEva_Other\t4\t4", "line 2: the number of columns should be 2, not 3"),
        ("1\nEva_Other\t5", "line 2: there is no image .*Eva_Other_0005.jpg"),
    ],
)
def test_a_damaged_list_of_people_is_one_line_with_file_and_line(damaged, text, complaint):
    (damaged / "lfw-py" / "peopleDevTrain.txt").write_text(text)
    with pytest.raises(DataError, match=f"peopleDevTrain.txt, {complaint}"):
        lfw.people(damaged, "peopleDevTrain.txt")


def test_what_is_not_there_is_named(tmp_path, damaged):
    (damaged / "lfw-py" / "pairs.txt").unlink()
    with pytest.raises(DataError, match=r"lfw-py/pairs.txt is not there"):
        lfw.pairs(damaged, "pairs.txt")
    (damaged / "lfw-py" / "pairs.txt").write_bytes(b"1\t1\n\xff\xfe")
    with pytest.raises(DataError, match=r"lfw-py/pairs.txt cannot be read: .*0xff"):
        lfw.pairs(damaged, "pairs.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty holds no Labeled Faces in the Wild: .*lfw-py/lfw-deepfunneled"):
        lfw.pairs(tmp_path / "empty", "pairs.txt")
