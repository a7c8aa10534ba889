"""The cached content of a file is never older than the file."""

import os

import pytest

from dashboard.session.file_cache import FileCache
from trimcore.system.files import write_atomic


def test_a_file_is_read_again_only_after_a_change(tmp_path):
    path, reads = tmp_path / "one", []
    read = FileCache(lambda path: reads.append(path) or path.read_text())
    path.write_text("a")
    assert [read(path), read(path)] == ["a", "a"]
    assert len(reads) == 1
    before = path.stat()
    write_atomic(path, "b")  # the same size and times, but another inode
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert [read(path), read(path)] == ["b", "b"]
    assert len(reads) == 2
    path.unlink()
    with pytest.raises(FileNotFoundError):
        read(path)


def test_a_failed_read_is_repeated(tmp_path):
    path, read = tmp_path / "one", FileCache(lambda path: int(path.read_text()))
    path.write_text("no")
    for _ in range(2):
        with pytest.raises(ValueError, match="invalid literal"):
            read(path)


def test_the_oldest_entry_is_dropped(tmp_path):
    reads = []
    read = FileCache(lambda path: reads.append(path.name), max_files=2)
    for name in "abcabc":
        (tmp_path / name).touch()
    for name in "abc":
        read(tmp_path / name)
    read(tmp_path / "c")
    read(tmp_path / "a")
    assert reads == ["a", "b", "c", "a"]
