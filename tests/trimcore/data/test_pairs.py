"""Verification pairs: equally many of both kinds, no repeats, and no image in two folds."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trimcore.data.faces import LEARNT, SIZE, UNSEEN, make_lfw
from trimcore import data as data_module
from trimcore.data import lfw
from trimcore.data import pairs as pairs_module
from trimcore.data.pairs import PairSet, load_pairs
from trimcore.data.splits import Folder, Resident, read_image, stratified_order
from trimcore.errors import DataError


def data_of(labels: list[int]) -> data_module.Data:
    """Data with these test labels. Image i is one pixel, with i encoded in two channels."""
    number = torch.arange(len(labels))
    pixels = torch.stack([number // 256, number % 256, torch.zeros_like(number)], 1).to(torch.uint8)
    split = Resident(pixels.view(-1, 3, 1, 1), torch.tensor(labels), 1, 3)
    classes = tuple(map(str, range(max(labels) + 1)))
    return data_module.Data("made", classes, split, split, split, (0.5,) * 3, (0.5,) * 3, 3, 1)


def numbers(pairs: PairSet) -> list[tuple[int, int]]:
    """The numbers of the `data_of` images in each pair."""
    images = pairs.images.pixels[:, :, 0, 0].long()
    images = images[:, 0] * 256 + images[:, 1]
    return list(zip(images[pairs.first].tolist(), images[pairs.second].tolist(), strict=True))


def check(pairs: PairSet, labels: list[int]) -> None:
    """Check what holds for the pairs of any test split."""
    shown = numbers(pairs)
    assert len({frozenset(pair) for pair in shown}) == len(shown) == len(pairs)
    assert all(one != other for one, other in shown)
    assert pairs.same.tolist() == [labels[one] == labels[other] for one, other in shown]
    fold_of = {}
    for pair, fold in zip(shown, pairs.fold.tolist(), strict=True):
        for image in pair:
            assert fold_of.setdefault(image, fold) == fold
    assert len(pairs.images) == len(fold_of)  # each image once, and only images in pairs
    for fold in range(10):
        kinds = pairs.same[pairs.fold == fold]
        assert 1 <= int(kinds.sum()) == int((~kinds).sum()) <= 300
    assert set(pairs.fold.tolist()) == set(range(10))


def test_ten_thousand_test_images_of_ten_classes_give_six_thousand_pairs():
    labels = np.random.default_rng(0).integers(0, 10, 10_000).tolist()
    pairs = load_pairs("test", data_of(labels))
    check(pairs, labels)
    assert torch.bincount(pairs.fold).tolist() == [600] * 10
    assert int(pairs.same.sum()) == 3000


@settings(deadline=None, max_examples=40)
@given(count=st.integers(10, 400), classes=st.integers(1, 12), seed=st.integers(0, 999))
def test_pairs_are_valid_for_any_classes_or_the_error_names_the_fold(count, classes, seed):
    labels = np.random.default_rng(seed).integers(0, classes, count).tolist()
    expected = []
    for tenth in stratified_order(torch.tensor(labels)).tensor_split(10):
        alike = [labels[one] == labels[other] for one, other in combinations(tenth.tolist(), 2)]
        expected.append(2 * min(300, sum(alike), len(alike) - sum(alike)))
    if not all(expected):
        with pytest.raises(DataError, match=f"fold {expected.index(0) + 1} of 10"):
            load_pairs("test", data_of(labels))
        return
    pairs = load_pairs("test", data_of(labels))
    check(pairs, labels)
    assert torch.bincount(pairs.fold).tolist() == expected


def test_the_rarer_kind_limits_the_number_of_pairs():
    pairs = load_pairs("test", data_of([0, 1, 2, 3] * 20))  # two of each class per fold: four same-class pairs
    assert torch.bincount(pairs.fold).tolist() == [8] * 10
    few = load_pairs("test", data_of([0] * 90 + [1] * 10))  # one of class 1 per fold: nine different-class pairs
    assert torch.bincount(few.fold).tolist() == [18] * 10


def test_classes_appear_in_proportion():
    labels = np.random.default_rng(1).permutation([0] * 5000 + [1] * 3000 + [2] * 2000)
    pairs = load_pairs("test", data_of(labels.tolist()))
    kind = labels[[one for one, _ in numbers(pairs)]]
    share = np.bincount(kind[pairs.same.numpy()]) / 3000  # of same-class pairs: 25, 9 and 4 parts
    np.testing.assert_allclose(share, np.array([25, 9, 4]) / 38, atol=0.04)
    shown = np.bincount(labels[[image for pair in numbers(pairs) for image in pair]])
    assert (shown > 500).all()


def test_a_large_fold_draws_from_a_subset_of_its_images(monkeypatch):
    labels = [0, 1] * 500
    monkeypatch.setattr(pairs_module, "FOLD_IMAGES", 20)
    pairs = load_pairs("test", data_of(labels))
    check(pairs, labels)
    assert torch.bincount(pairs.fold).tolist() == [180] * 10  # ten of each class: 90 pairs of each kind
    assert len(pairs.images) == 200


def test_the_pairs_of_mnist_5k_are_the_same_for_every_run():
    data = data_module.load("mnist-5k")
    pairs, again = load_pairs("test", data), load_pairs("test", data_module.load("mnist-5k", seed=9))
    assert torch.bincount(pairs.fold).tolist() == [200] * 10  # five of each class per fold: 100 same-class pairs
    for field in ("first", "second", "same", "fold"):
        assert torch.equal(getattr(pairs, field), getattr(again, field))
    assert torch.equal(pairs.images.pixels, again.images.pixels)
    assert torch.equal(pairs.same, pairs.images.labels[pairs.first] == pairs.images.labels[pairs.second])
    assert {image.numpy().tobytes() for image in pairs.images.pixels} <= {
        image.numpy().tobytes() for image in data.test.pixels
    }
    assert (int(pairs.first[::100].sum()), int(pairs.second[::100].sum())) == (4534, 4125)  # the same on every machine


@pytest.mark.parametrize("labels", [[0] * 100, list(range(100)), [0, 1] * 5, [0] * 99 + [1]])
def test_a_fold_without_pairs_of_both_kinds_is_refused(labels):
    with pytest.raises(DataError, match=r"fold \d+ of 10 has \d+ test images .* add test images") as error:
        load_pairs("test", data_of(labels))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["", "lfw", "lfw:", "train", "test:x"])
def test_unknown_pairs_are_refused_by_name(name):
    with pytest.raises(DataError, match=f"unknown pairs '{name}'"):
        load_pairs(name, data_of([0, 1]))


# ---- Labeled Faces in the Wild


@pytest.fixture(scope="module")
def faces(tmp_path_factory) -> Path:
    return make_lfw(tmp_path_factory.mktemp("faces"))


def small(channels: int = 3) -> data_module.Data:
    return data_module.load("mnist-5k", image_size=SIZE, channels=channels)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_official_pairs_match_the_list(faces, channels):
    pairs, listed = load_pairs(f"lfw:{faces}", small(channels)), lfw.pairs(faces, "pairs.txt")
    assert isinstance(pairs.images, Resident)
    assert pairs.fold.tolist() == [pair.fold for pair in listed]
    assert pairs.same.tolist() == [pair.same for pair in listed]
    for i, pair in enumerate(listed):
        for file, place in ((pair.first, pairs.first[i]), (pair.second, pairs.second[i])):
            assert torch.equal(pairs.images.image(int(place)), read_image(file, SIZE, channels))
    assert len(pairs.images) == len({file for pair in listed for file in (pair.first, pair.second)})


def test_images_that_need_too_much_memory_are_decoded_on_demand(faces, monkeypatch):
    decoded = load_pairs(f"lfw:{faces}", small())
    monkeypatch.setattr(pairs_module, "MEMORY_LIMIT", 1)
    pairs = load_pairs(f"lfw:{faces}", small())
    assert isinstance(pairs.images, Folder)
    assert torch.equal(pairs.first, decoded.first)
    assert torch.equal(pairs.second, decoded.second)
    assert all(torch.equal(pairs.images.image(i), decoded.images.image(i)) for i in range(len(pairs.images)))


def test_a_network_trained_on_faces_is_tested_on_unseen_people(faces, monkeypatch):
    data, shown = data_module.load(f"lfw:{faces}", image_size=SIZE), []
    monkeypatch.setattr(pairs_module, "_decoded", lambda name, path, files, data: shown.extend(files) or "images")
    pairs = load_pairs(f"lfw:{faces}", data)
    assert {file.parent.name for file in shown} <= set(UNSEEN)
    assert not set(data.classes) & set(UNSEEN)
    assert pairs.same.tolist() == [True] * 23 + [False] * 23
    assert pairs.fold.tolist() == [i % 10 for i in range(23)] * 2
    shown.clear()
    load_pairs(f"lfw:{faces}", small())
    assert {file.parent.name for file in shown} & set(LEARNT)  # the official folds contain them


def test_the_error_names_a_damaged_image(tmp_path):
    make_lfw(tmp_path)
    file = tmp_path / "lfw-py" / "lfw-deepfunneled" / "Eva_Other" / "Eva_Other_0002.jpg"
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(DataError, match=f"{file} is not a readable image") as error:
        load_pairs(f"lfw:{tmp_path}", small())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("path", ["/no/such/folder", "~nosuchuser/x", "/" + "x" * 300])
def test_a_missing_folder_is_refused_in_one_line(path):
    with pytest.raises(DataError, match="lfw") as error:
        load_pairs(f"lfw:{path}", data_of([0, 1]))
    assert path in str(error.value)
    assert "\n" not in str(error.value)
