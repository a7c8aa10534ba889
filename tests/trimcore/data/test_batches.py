"""Iterating over a split and reading image files, checked against numpy or by counting."""

import multiprocessing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from trimcore.data import batches as batches_module
from trimcore.data.batches import Batches
from trimcore.data.splits import Folder, Resident, read_image
from trimcore.errors import DataError


@dataclass
class Statistics:
    """The part of Data that Batches needs."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


GREY = Statistics((0.13,), (0.31,))
COLOUR = Statistics((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


def resident(count: int, channels: int = 1, size: int = 28) -> Resident:
    """Random images; each label is the index of its image."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(1, 256, (count, channels, size, size), generator=generator, dtype=torch.uint8)
    return Resident(pixels, torch.arange(count), size, channels)


def epoch(source) -> tuple[torch.Tensor, torch.Tensor]:
    x, y = zip(*source, strict=True)
    return torch.cat(x), torch.cat(y)


def to_bytes(x: torch.Tensor, data: Statistics) -> torch.Tensor:
    """Normalised images back to uint8."""
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (data.mean, data.std))
    return ((x * std + mean) * 255).round().to(torch.uint8)


def test_pixels_are_normalised():
    split = resident(50, channels=3, size=9)
    x, y = epoch(Batches(split, COLOUR, 16, "cpu"))
    mean, std = (np.array(values).reshape(1, 3, 1, 1) for values in (COLOUR.mean, COLOUR.std))
    expected = (split.pixels.numpy().astype(np.float64) / 255 - mean) / std
    assert x.dtype == torch.float32
    assert y.dtype == torch.int64
    np.testing.assert_allclose(x.numpy(), expected, atol=1e-6)
    assert y.tolist() == list(range(50))  # without a seed, in order


@given(
    count=st.integers(1, 40),
    size=st.integers(1, 45),
    augment=st.sampled_from(["none", "shift"]),
)
def test_an_epoch_visits_each_example_once(count, size, augment):
    source = Batches(resident(count, size=3), GREY, size, "cpu", seed=count, augment=augment)
    labels = [y.tolist() for _, y in source]
    visited = sum(labels, [])
    assert len(labels) == len(source)
    assert len(set(visited)) == len(visited) == count
    assert all(len(batch) == size for batch in labels[:-1])


@pytest.mark.parametrize("chunk_bytes", [1, 3000, 1 << 23])
def test_images_stay_with_their_labels_for_any_chunk_size(monkeypatch, chunk_bytes):
    monkeypatch.setattr(batches_module, "CHUNK_BYTES", chunk_bytes)
    split = resident(40)
    x, y = epoch(Batches(split, GREY, 7, "cpu", seed=1))
    assert torch.equal(to_bytes(x, GREY), split.pixels[y])
    assert y.tolist() == torch.randperm(40, generator=torch.Generator().manual_seed(1)).tolist()


@pytest.mark.parametrize("augment", batches_module.AUGMENTATIONS)
def test_the_seed_determines_order_and_augmentation(augment):
    split = resident(64, channels=3)
    before, random_state = split.pixels.clone(), torch.get_rng_state()

    def run(seed):
        return epoch(Batches(split, COLOUR, 10, "cpu", seed=seed, augment=augment))

    first, again, other = run(3), run(3), run(4)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[1], other[1])
    assert not torch.equal(first[0], other[0])
    assert torch.equal(split.pixels, before)
    assert torch.equal(torch.get_rng_state(), random_state)  # dropout must not depend on data loading


def shifted(image: np.ndarray, down: int, right: int, reach: int) -> bytes:
    padded = np.pad(image, ((0, 0), (reach, reach), (reach, reach)))
    height, width = image.shape[1:]
    return padded[:, reach - down : reach - down + height, reach - right : reach - right + width].tobytes()


@pytest.mark.parametrize(("size", "reach", "augment"), [
    (28, 2, "shift"), (39, 3, "shift"), (3, 0, "shift"), (28, 2, "shift+flip"), (39, 3, "shift+flip"),
    (28, 1, "nudge"), (64, 2, "nudge"), (13, 0, "nudge"),
])  # fmt: skip
def test_shifts_stay_within_reach_and_fill_with_black(size, reach, augment):
    split, flip = resident(300, channels=3, size=size), augment == "shift+flip"
    x, y = epoch(Batches(split, COLOUR, 64, "cpu", seed=0, augment=augment))
    seen = []
    for image, label in zip(to_bytes(x, COLOUR).numpy(), y.tolist(), strict=True):
        original = split.pixels[label].numpy()
        steps = range(-reach, reach + 1)
        options = {shifted(original, d, r, reach): (False, d, r) for d in steps for r in steps}
        if flip:
            mirror = {
                np.ascontiguousarray(np.frombuffer(key, np.uint8).reshape(image.shape)[:, :, ::-1]).tobytes(): key
                for key in options
            }
            options |= {mirrored: (True, *options[key][1:]) for mirrored, key in mirror.items()}
        seen.append(options[image.tobytes()])  # a KeyError: not a shift of the original
    mirrored, down, right = map(np.array, zip(*seen, strict=True))
    for steps in (down, right):
        counts = np.bincount(steps + reach, minlength=2 * reach + 1)
        assert counts.min() > 0.5 * 300 / len(counts)
    assert 0.4 < mirrored.mean() < 0.6 if flip else not mirrored.any()
    assert reach == 0 or abs(np.corrcoef(down, right)[0, 1]) < 0.2


def test_channels_last_changes_only_the_layout():
    split = resident(20, channels=3)
    plain, last = (next(iter(Batches(split, COLOUR, 20, "cpu", channels_last=which))) for which in (False, True))
    assert plain[0].is_contiguous()
    assert last[0].is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(plain[0], last[0])


def test_small_images_are_resized_per_batch():
    split = replace(resident(10), image_size=40, channels=3)
    x, _ = epoch(Batches(split, COLOUR, 4, "cpu"))
    assert x.shape == (10, 3, 40, 40)
    assert torch.equal(to_bytes(x, COLOUR)[7], split.image(7))


def test_pixels_are_copied_to_a_device_once():
    split = resident(10)
    source = Batches(split, GREY, 4, "meta", augment="shift+flip")
    assert [(x.device.type, tuple(x.shape)) for x, _ in source] == [("meta", (n, 1, 28, 28)) for n in (4, 4, 2)]
    (moved,) = split.moved.values()
    list(source)
    assert next(iter(split.moved.values())) is moved
    assert split.subset(5).moved == {}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("free", [0, 1 << 30])
def test_cuda_batches_match_cpu_batches(monkeypatch, free):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 1 << 30))
    split = resident(100)
    here, there = (epoch(Batches(split, GREY, 16, device, seed=2, augment="shift+flip")) for device in ("cpu", "cuda"))
    assert bool(split.moved) == bool(free)
    assert torch.equal(here[1], there[1].cpu())
    torch.testing.assert_close(here[0], there[0].cpu())


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [({"augment": "twist"}, "'twist'; expected one of none, nudge, shift"),
     ({"batch_size": 0}, "must be at least 1, not 0")],
)  # fmt: skip
def test_invalid_settings_are_refused(wrong, complaint):
    with pytest.raises(DataError, match=complaint):
        Batches(**{"split": resident(3), "data": GREY, "batch_size": 2, "device": "cpu"} | wrong)


# ---- image files


def test_unusual_image_modes_are_read(tmp_path):
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    sixteen = Image.fromarray(grey.astype(np.uint16) * 257)
    cmyk = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    palette = Image.new("RGB", (16, 16), (10, 200, 30)).convert("P", palette=Image.Palette.ADAPTIVE)
    for name, image in {"16.png": sixteen, "cmyk.jpg": cmyk, "palette.png": palette}.items():
        image.save(tmp_path / name)
    assert torch.equal(read_image(tmp_path / "16.png", 16, 1)[0], torch.from_numpy(grey))
    red = read_image(tmp_path / "cmyk.jpg", 16, 3).float().mean((1, 2))
    assert red[0] > 200
    assert red[1:].max() < 60
    assert read_image(tmp_path / "palette.png", 16, 3)[:, 5, 5].tolist() == [10, 200, 30]


@pytest.mark.parametrize("turned", [False, True])
def test_images_are_cropped_at_the_centre(tmp_path, turned):
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, 10:30, 2] = 200  # a blue centre, as wide as the image is high
    Image.fromarray(pixels.swapaxes(0, 1) if turned else pixels).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png", 10, 3)
    assert image[2].min() > 150
    assert image[:2].max() == 0
    assert image[2, 2:-2, 2:-2].min() == 200


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_the_error_names_an_unreadable_file(tmp_path, monkeypatch):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    noise.save(tmp_path / "cut.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:1500])
    (tmp_path / "text.png").write_text("not an image")
    noise.save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 64 * 64 - 1)
    for name in ("cut.jpg", "text.png", "bomb.png", "missing.png"):
        with pytest.raises(DataError, match=name):
            read_image(tmp_path / name, 16, 3)


@pytest.fixture
def folder(tmp_path) -> Folder:
    """Twelve files, three of them damaged (3, 4 and 5). The brightness of each image encodes its label."""
    for i in range(12):
        Image.new("L", (8, 8), i * 20).save(tmp_path / f"{i:02}.png")
    for i in (3, 4, 5):
        (tmp_path / f"{i:02}.png").write_bytes(b"damaged")
    files = tuple(sorted(Path(tmp_path).iterdir()))
    return Folder(tmp_path, files, torch.arange(12), image_size=8, channels=1)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("seed", [None, 5])
def test_damaged_files_are_skipped_and_recorded(folder, seed):
    random_state = torch.get_rng_state()
    sizes = [len(y) for _, y in Batches(folder, GREY, 3, "cpu", seed=seed)]
    x, y = epoch(Batches(folder, GREY, 3, "cpu", seed=seed))
    assert sorted(y.tolist()) == [0, 1, 2, 6, 7, 8, 9, 10, 11]
    assert to_bytes(x, GREY)[:, 0, 4, 4].tolist() == [i * 20 for i in y.tolist()]
    assert folder.skipped == {"03.png", "04.png", "05.png"}
    assert seed is not None or sizes == [3, 3, 3]  # in order: the second batch is empty and is skipped
    assert torch.equal(torch.get_rng_state(), random_state)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_leaving_an_epoch_early_stops_the_workers(folder):
    for _ in Batches(folder.subset(9), GREY, 1, "cpu"):
        assert multiprocessing.active_children()
        break
    assert not multiprocessing.active_children()
