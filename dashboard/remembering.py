"""What was read from a file is kept until the file changes: a thousand runs are read once, and then only looked at."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")
MOST = 10_000  # files whose content is kept


class Remembered(Generic[T]):
    """`read(path)`, called again only when the file is another one than before: by its inode, size and times.

    What is found is shared by all who look, so nobody may change it. Raises what `read` raises, and FileNotFoundError.
    """

    def __init__(self, read: Callable[[Path], T], most: int = MOST):
        self.read, self.most = read, most
        self.known: dict[str, tuple[tuple, T]] = {}

    def __call__(self, path: Path) -> T:
        name, now = str(path), mark(path)
        before, found = self.known.get(name, (None, None))
        if before != now:
            found = self.read(path)
            self.known.pop(name, None)
            self.known[name] = (now, found)  # the file that changed last stands last
            while len(self.known) > self.most:
                self.known.pop(next(iter(self.known)), None)
        return found


def mark(path: Path) -> tuple[int, int, int, int]:
    """Tells a file from itself after a change. It is taken before the file is read: what comes in between is read
    again."""
    found = os.stat(path)
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
