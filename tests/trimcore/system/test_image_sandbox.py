"""Images that people drop in: decoded as data loading does, or refused in one line."""

import io
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.hostile.images import BAD, ODD, ihdr, png
from trimcore.data.decoding import read_image
from trimcore.errors import DataError
from trimcore.system import image_sandbox
from trimcore.system.image_sandbox import MAX_BYTES, decode_untrusted


def file_of(image: Image.Image, kind: str, **settings) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()


def sixteen_bit_bomb() -> bytes:
    """A PNG of 160 kB whose pixels take gigabytes as floating point numbers."""
    side = 9000
    rows = zlib.compress(bytes((1 + 2 * side) * side))
    return png(ihdr(side, side, 16, 0), (b"IDAT", rows), (b"IEND", b""))


NOISE = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
PHOTO = Image.fromarray(NOISE)
TURNED = Image.Exif()
TURNED[0x0112] = 6  # the camera was held on its side


@pytest.mark.parametrize("name", ["cut off", "text", "a billion pixels", "an EPS that would be carried out"])
def test_a_hostile_file_is_refused_in_one_line(name):
    with pytest.raises(DataError, match=r"^'a.png' is not a readable image \(.+\)$"):
        decode_untrusted(BAD[name][1](), "a.png", 28, 1)


def test_an_image_that_needs_gigabytes_is_refused():
    content = sixteen_bit_bomb()
    assert len(content) < 200_000
    with pytest.raises(DataError, match="more than 1,024 MB"):
        decode_untrusted(content, "bomb.png", 28, 1)


def test_a_large_file_is_refused_before_it_is_read(monkeypatch):
    monkeypatch.setattr(image_sandbox.subprocess, "run", None)
    with pytest.raises(DataError, match="more than 20 MB"):
        decode_untrusted(bytes(MAX_BYTES + 1), "a.png", 28, 1)


def test_a_decoder_that_crashes_or_never_ends_is_one_line(monkeypatch):
    monkeypatch.setattr(image_sandbox, "__name__", "trimcore.no_such_module")
    with pytest.raises(DataError, match="is not a readable image") as refused:
        decode_untrusted(b"", "a\nb.png" * 100, 28, 1)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 400
    monkeypatch.undo()
    monkeypatch.setattr(image_sandbox, "SECONDS", -59.99)
    monkeypatch.setattr(image_sandbox.sys, "executable", sys.executable)
    with pytest.raises(DataError, match="decoding it takes more than"):
        decode_untrusted(b"", "a.png", 28, 1)


@pytest.mark.parametrize(
    "content",
    [
        file_of(PHOTO, "PNG"), file_of(PHOTO, "JPEG", exif=TURNED), file_of(PHOTO.convert("CMYK"), "JPEG"),
        ODD["sixteen bits"][1](),
        file_of(PHOTO, "GIF", save_all=True, append_images=[Image.new("RGB", (40, 30), "red")]),
    ],
    ids=["colour", "turned", "CMYK", "sixteen bits", "an animation"],
)  # fmt: skip
def test_other_images_are_decoded_as_data_loading_does(content, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    for channels, resize in ((3, "crop"), (1, "pad")):
        wanted = read_image(path, 16, channels, resize).permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(decode_untrusted(content, "a.png", 16, channels, resize), wanted)


def test_the_first_frame_of_an_animation_and_the_orientation_count():
    """The left half is black; turned by 90 degrees, it is the upper half."""
    halves = Image.new("RGB", (20, 20), "white")
    halves.paste("black", (0, 0, 10, 20))
    content = file_of(halves, "PNG", exif=TURNED)
    upper, lower = (decode_untrusted(content, "a.png", 20, 1) > 127).reshape(2, -1)
    assert not upper.any()
    assert lower.all()
    moving = file_of(halves, "GIF", save_all=True, append_images=[Image.new("RGB", (20, 20), "red")])
    assert (decode_untrusted(moving, "a.gif", 20, 1)[:, :, 0] > 127)[3].tolist() == [False] * 10 + [True] * 10
