"""Images that are damaged, huge, odd or none. In a folder, one is left out by name, or read; dropped in alone, it is
refused or answered."""

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

from tests.hostile.case import Case
from trimcore.data import load
from trimcore.data.batches import Batches
from trimcore.system.image_sandbox import MAX_BYTES, decode_untrusted

SIDE, HEALTHY = 16, 15  # pixels; whole images of each class


def picture(mode: str = "RGB", size=(SIDE, SIDE), kind: str = "PNG", **settings) -> bytes:
    file = io.BytesIO()
    Image.new(mode, size).save(file, kind, **settings)
    return file.getvalue()


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    def packed(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    return b"\x89PNG\r\n\x1a\n" + b"".join(packed(*chunk) for chunk in chunks)


def ihdr(width: int, height: int, depth: int = 8, colour: int = 2) -> tuple[bytes, bytes]:
    return b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)


def sixteen_bits(kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.arange(256, dtype=np.uint16).reshape(16, 16) * 257).save(file, kind)
    return file.getvalue()


def with_texts() -> bytes:
    """A PNG whose text becomes 64 MB when it is unpacked."""
    texts = PngImagePlugin.PngInfo()
    texts.add_text("a", "x" * (64 << 20), zip=True)
    return picture(pnginfo=texts)


def sides(length: int) -> bytes:
    return struct.pack(">HH", length, length)


def bitmap(width: int, height: int) -> bytes:
    return b"BM" + struct.pack("<IIIIiiHHIIIIII", 54, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)


WHOLE = picture()
JPEG = picture(kind="JPEG", size=(64, 64))
BAD: dict[str, tuple[str, Callable[[], bytes]]] = {
    "cut off": ("a.png", lambda: WHOLE[: len(WHOLE) // 2]), "empty": ("a.png", lambda: b""),
    "text": ("a.png", lambda: b"I am a picture, really"), "HTML": ("a.jpg", lambda: b"<html><script>alert(1)</script>"),
    "a script": ("a.png", lambda: b"#!/bin/sh\ntouch /tmp/x\n"), "an SVG": ("a.png", lambda: b"<svg xmlns='x'></svg>"),
    "a pickle": ("a.png", lambda: b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R."),
    "zeros": ("a.png", lambda: bytes(5000)),
    "a billion pixels": ("a.png", lambda: png(ihdr(40_000, 40_000), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))),
    "four billion pixels a row": ("a.png", lambda: png(ihdr(2**31 - 1, 1), (b"IDAT", b""), (b"IEND", b""))),
    "no width": ("a.png", lambda: png(ihdr(0, 16), (b"IEND", b""))),
    "no data": ("a.png", lambda: png(ihdr(16, 16), (b"IEND", b""))),
    "a wrong checksum": ("a.png", lambda: WHOLE[:30] + b"\0" + WHOLE[31:]),
    "an unknown depth": ("a.png", lambda: png(ihdr(16, 16, 77), (b"IEND", b""))),
    "a JPEG cut off": ("a.jpg", lambda: JPEG[: len(JPEG) // 2]),
    "a JPEG of markers": ("a.jpg", lambda: b"\xff\xd8" + b"\xff\xe1\xff\xff" * 50),
    "a JPEG of 65,000 x 65,000": ("a.jpg", lambda: JPEG.replace(sides(64), sides(65_000))),
    "a TIFF that points at itself": (
        "a.tif", lambda: b"II*\0\x08\0\0\0" + struct.pack("<HHHIII", 1, 256, 4, 1, 16, 8)),
    "a BMP with a negative size": ("a.bmp", lambda: bitmap(-5, -5)),
    "a WebP of nothing": ("a.webp", lambda: b"RIFF\x04\0\0\0WEBP"),
    "half a megabyte of noise": ("a.png", lambda: os.urandom(1 << 19)),
    "64 MB of text in it": ("a.png", with_texts),
    "an EPS that would be carried out": ("a.png", lambda: b"%!PS-Adobe-3.0\n%%BoundingBox: 0 0 9 9\n(x) run\n"),
}  # fmt: skip
ODD: dict[str, tuple[str, Callable[[], bytes]]] = {
    "sixteen bits": ("a.png", lambda: sixteen_bits("PNG")),
    "a TIFF of sixteen bits": ("a.tiff", lambda: sixteen_bits("TIFF")),
    "CMYK": ("a.jpg", lambda: picture("CMYK", kind="JPEG")), "one bit": ("a.png", lambda: picture("1")),
    "a palette": ("a.png", lambda: picture("P")),
    "a palette with transparency": ("a.png", lambda: picture("P", transparency=0)),
    "grey with transparency": ("a.png", lambda: picture("LA")), "transparency": ("a.png", lambda: picture("RGBA")),
    "a GIF without frames": ("a.gif", lambda: b"GIF89a\xff\xff\xff\xff\0\0\0;"),
    "a GIF": ("a.gif", lambda: picture("P", kind="GIF")), "a WebP": ("a.webp", lambda: picture(kind="WEBP")),
    "a BMP": ("a.bmp", lambda: picture(kind="BMP")), "floating point": ("a.tiff", lambda: picture("F", kind="TIFF")),
    "one pixel": ("a.png", lambda: picture(size=(1, 1))), "one row": ("a.png", lambda: picture(size=(500, 1))),
    "a PNG called JPEG": ("a.jpg", lambda: WHOLE), "an ending in capitals": ("A.PNG", lambda: WHOLE),
    "something behind its end": ("a.png", lambda: WHOLE + b"MZ" * 1000),
    "a name with a line break": ("a\nb.png", lambda: WHOLE), "a name in markup": ("<b>a.png", lambda: WHOLE),
    "a name of other letters": ("пример-图像-🙂.png", lambda: WHOLE),
    "a name of 200 letters": ("x" * 200 + ".png", lambda: WHOLE),
    "a name that begins as an option": ("--help.png", lambda: WHOLE), "a hidden file": (".a.png", lambda: WHOLE),
}  # fmt: skip


def loaded(folder: Path, skipped: int | None = None) -> str:
    """The folder as data, each image decoded: what was left out is named, the rest is there."""
    data = load(f"imagefolder:{folder}", image_size=SIDE, channels=3)
    seen = sum(len(y) for split in (data.train, data.validation, data.test) for _, y in Batches(split, data, 7, "cpu"))
    assert seen >= 2 * HEALTHY, "an image that is whole was lost"
    assert skipped is None or len(data.skipped) == skipped, f"{len(data.skipped)} left out: {data.skipped}"
    return ""


def with_one_more(name: str, make: Callable[[], bytes], skipped: int | None):
    def act(inside: Path, marker: Path) -> str:
        folder = healthy(inside)
        (folder / "a" / name).write_bytes(make())
        return loaded(folder, skipped)

    return act


def healthy(inside: Path) -> Path:
    folder = inside / "images"
    for label in "ab":
        (folder / label).mkdir(parents=True)
        for number in range(HEALTHY):
            (folder / label / f"{number}.png").write_bytes(WHOLE)
    return folder


def _to_itself(inside: Path, marker: Path) -> str:
    folder = healthy(inside)
    (folder / "a" / "again").symlink_to(folder, target_is_directory=True)
    return loaded(folder)


def _pipe(inside: Path, marker: Path) -> str:
    folder = healthy(inside)
    os.mkfifo(folder / "a" / "pipe.png")
    return loaded(folder)


def _folder_called_png(inside: Path, marker: Path) -> str:
    folder = healthy(inside)
    (folder / "a" / "folder.png").mkdir()
    return loaded(folder)


def _link_to_nowhere(inside: Path, marker: Path) -> str:
    folder = healthy(inside)
    (folder / "a" / "x.png").symlink_to("/no/such/file.png")
    return loaded(folder)


def _link_to_a_device(inside: Path, marker: Path) -> str:
    folder = healthy(inside)
    (folder / "a" / "x.png").symlink_to("/dev/zero")
    return loaded(folder)


def _empty(inside: Path, marker: Path) -> str:
    (inside / "images" / "a").mkdir(parents=True)
    return loaded(inside / "images")


# ---- an image of one's own


def compared(name: str, make: Callable[[], bytes]):
    def act(inside: Path, marker: Path) -> str:
        found = decode_untrusted(make(), name, 28, 1)
        assert found.shape == (28, 28, 1)
        assert found.dtype == np.uint8
        return ""

    return act


def frames(count: int) -> bytes:
    file = io.BytesIO()
    pictures = [Image.new("L", (8, 8), number % 256) for number in range(count)]
    pictures[0].save(file, "GIF", save_all=True, append_images=pictures[1:])
    return file.getvalue()


MORE = {
    "a file that is too large": ("a.png", lambda: bytes(MAX_BYTES + 1)),
    "an icon": ("a.ico", lambda: picture(kind="ICO")), "a PDF": ("a.pdf", lambda: picture(kind="PDF")),
    "a zip file": ("a.png", lambda: b"PK\3\4" + bytes(100)), "a program": ("a.png", lambda: b"\x7fELF" + bytes(100)),
    "a name of a megabyte": ("x" * 10**6, lambda: b"x"), "a name of many lines": ("a\nb\r\nc", lambda: b"x"),
    "a name that is a formula": ("=HYPERLINK(1)", lambda: b"x"),
}  # fmt: skip
FINE = {"2,000 frames": ("a.gif", lambda: frames(2000)), "a large image": ("a.png", lambda: picture(size=(5000, 5000)))}

CASES = [
    *(Case("image", name, with_one_more(*made, 1), must_refuse=False) for name, made in BAD.items()),
    *(Case("image", name, with_one_more(*made, 0), must_refuse=False) for name, made in ODD.items()),
    *(Case("image", name, act, must_refuse=False) for name, act in {
        "a folder that leads to itself": _to_itself, "a pipe": _pipe, "a folder called .png": _folder_called_png,
        "a link to nowhere": _link_to_nowhere, "a link to a device": _link_to_a_device,
    }.items()),
    Case("image", "a folder without images", _empty),
    *(Case("own image", name, compared(*made)) for name, made in BAD.items()),
    *(Case("own image", name, compared(*made), must_refuse=False)
      for name, made in {**ODD, **FINE}.items()),
    *(Case("own image", name, compared(*made)) for name, made in MORE.items()),
]  # fmt: skip
