"""The log of a run: lines with a time and a level, written to log.txt or the terminal. Does not import torch.

TRIMCORE_LOG sets the minimum level: debug, info (the default), warning or error.
"""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

LOG = logging.getLogger("trimcore.run")
LARGEST, KEPT = 64 * 1024**2, 1024**2  # bytes of a log, and what is kept of one that has become larger
LINE = logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S")


class _Output(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to the current sys.stdout, which may have been redirected since."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:
        return sys.stdout


@contextmanager
def logging_to(path: Path | None) -> Iterator[None]:
    """Append LOG's lines to a file inside the block, or to standard output if `path` is None."""
    handler = _Output() if path is None else logging.FileHandler(path, encoding="utf-8", delay=True)
    handler.setFormatter(LINE)
    LOG.setLevel(level())
    LOG.propagate = False
    LOG.addHandler(handler)
    try:
        yield
    finally:
        LOG.removeHandler(handler)
        handler.close()


def shorten(path: Path) -> None:
    """Keep only the end of a log that has become too large, because code of the user's prints without end. Those who
    write to it append, so they go on at the new end. Raises OSError."""
    if path.stat().st_size <= LARGEST:
        return
    with open(path, "r+b") as log:
        log.seek(-KEPT, os.SEEK_END)
        end = log.read()
        log.truncate(0)
        log.seek(0)
        log.write(f"the log had more than {LARGEST:,} bytes: this is the end of it\n".encode() + end)


def level() -> int:
    """The level in TRIMCORE_LOG. An unknown level means info: it should not stop a run, and `doctor` reports it."""
    found = level_number(os.environ.get("TRIMCORE_LOG", "info"))
    return logging.INFO if found is None else found


def level_number(name: str) -> int | None:
    """The number of a log level, or None for an unknown name."""
    return logging.getLevelNamesMapping().get(name.upper())
