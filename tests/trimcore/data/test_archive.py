"""Zip files of images: what is unpacked, and what is refused with nothing left behind."""

import io
import os
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from trimcore import data
from trimcore.data import archive
from trimcore.data.archive import unpack_images
from trimcore.errors import DataError


def picture(value: int = 0) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (value, 0, 0)).save(file, "PNG")
    return file.getvalue()


def packed(entries: dict[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED) -> io.BytesIO:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as content:
        for name, body in entries.items():
            content.writestr(name, body)
    file.seek(0)
    return file


def link(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.external_attr = 0o120777 << 16
    return entry


def files_in(folder: Path) -> list[str]:
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if not file.is_dir())


def test_an_archive_becomes_a_data_set(tmp_path):
    pets = {f"pets/{part}/{name}/{i}.PNG": picture(i) for part in ("train", "valid") for name in ("cat", "dog")
            for i in range(10)}  # fmt: skip
    extras = {"__MACOSX/pets/._0.png": b"", "pets/readme.txt": b"hi", "pets/run.sh": b"#!/bin/sh", "pets/empty/": b"",
              link("pets/train/cat/away.png"): b"/etc/passwd"}  # fmt: skip
    unpack_images(packed({**pets, **extras}), tmp_path / "new" / "folder")
    assert files_in(tmp_path) == sorted(f"new/folder/{name}" for name in pets)
    loaded = data.load(f"imagefolder:{tmp_path / 'new' / 'folder'}")
    assert [len(split) for split in (loaded.train, loaded.validation, loaded.test)] == [18, 2, 20]
    assert loaded.skipped == ()


def encrypted() -> io.BytesIO:
    file = packed({"a.png": picture()}, zipfile.ZIP_STORED)
    content = bytearray(file.getvalue())
    content[6] |= 1  # the flag in the local header ...
    content[content.index(b"PK\1\2") + 8] |= 1  # ... and in the directory
    return io.BytesIO(bytes(content))


def damaged() -> io.BytesIO:
    content = bytearray(packed({"a.png": picture() + os.urandom(500)}, zipfile.ZIP_STORED).getvalue())
    content[200] ^= 255
    return io.BytesIO(bytes(content))


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: io.BytesIO(b"no zip"), "cannot be unpacked: File is not a zip file"),
        (lambda: io.BytesIO(b""), "cannot be unpacked"),
        (lambda: io.BytesIO(packed({"a.png": picture()}).getvalue()[:-30]), "cannot be unpacked"),
        (damaged, "cannot be unpacked: Bad CRC-32"),
        (encrypted, "cannot be unpacked: .*password"),
        (lambda: packed({"notes.txt": b"hi"}), "contains no images"),
        (lambda: packed({"../a.png": picture()}), "leads out of its folder"),
        (lambda: packed({"a/../../a.png": picture()}), "leads out of its folder"),
        (lambda: packed({"/etc/a.png": picture()}), "leads out of its folder"),
        (lambda: packed({"..\\a.png": picture()}), "leads out of its folder"),
        (lambda: packed({"C:/a.png": picture()}), "leads out of its folder"),
        (lambda: packed({"x" * 300 + ".png": picture()}), "cannot be unpacked: .*too long"),
        (lambda: packed({f"{i}.png": b"" for i in range(12)}), "12 images; at most 10 are accepted"),
        (lambda: packed({"a.png": bytes(200_000)}), "more than the 100,000 bytes"),
        (lambda: packed({f"{i}.png": bytes(30_000) for i in range(4)}), "more than the 100,000 bytes"),
    ],
)
def test_a_bad_archive_is_refused_and_nothing_is_left(tmp_path, make, complaint):
    with pytest.raises(DataError, match=complaint) as error:
        unpack_images(make(), tmp_path / "new", max_bytes=100_000, max_files=10)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_sizes_in_the_directory_are_not_believed(tmp_path):
    content = bytearray(packed({"a.png": bytes(200_000)}).getvalue())
    place = content.index(b"PK\1\2") + 24
    content[place : place + 4] = (10).to_bytes(4, "little")
    with pytest.raises(DataError):
        unpack_images(io.BytesIO(bytes(content)), tmp_path / "new", max_bytes=100_000)
    assert list(tmp_path.iterdir()) == []


def test_two_images_of_one_name_are_refused(tmp_path):
    content = packed({"a.png": picture(1), "b.png": picture(2)}).getvalue()
    file = io.BytesIO(content.replace(b"b.png", b"a.png"))
    with pytest.raises(DataError, match="two files 'a.png'"):
        unpack_images(file, tmp_path / "new")


def test_the_disk_is_not_filled(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "RESERVE", 1 << 60)
    with pytest.raises(DataError, match="it may take unpacked"):
        unpack_images(packed({"a.png": picture()}), tmp_path / "new")
