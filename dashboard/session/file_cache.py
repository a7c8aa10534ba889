"""Cache what was read from a file until the file changes, so that a thousand runs are read only once."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

T = TypeVar("T")
MAX_FILES = 10_000  # in the cache


class FileCache(Generic[T]):
    """Calls `read(path)` again only if the file has changed, judged by its inode, size and times.

    All callers share the result and must not modify it. Raises what `read` raises, and FileNotFoundError.
    """

    def __init__(self, read: Callable[[Path], T], max_files: int = MAX_FILES):
        self.read, self.max_files = read, max_files
        self.entries: dict[str, tuple[tuple[Any, ...], T]] = {}

    def __call__(self, path: Path) -> T:
        name, now = str(path), fingerprint(path)
        known = self.entries.get(name)
        if known and known[0] == now:
            return known[1]
        content = self.read(path)
        self.entries.pop(name, None)
        self.entries[name] = (now, content)  # ordered by the time of reading
        while len(self.entries) > self.max_files:
            self.entries.pop(next(iter(self.entries)), None)
        return content


def fingerprint(path: Path) -> tuple[int, int, int, int]:
    """Identifies the state of a file. Take it before reading, so that a change in between triggers a reread."""
    found = os.stat(path)
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
