"""The log of a run: lines with a time and a level, into log.txt or onto the terminal. Imports no torch.

TRIMCORE_LOG says from which level on: debug, info (the default), warning or error.
"""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

LOG = logging.getLogger("trimcore.run")
LINE = logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S")


class _Output(logging.StreamHandler):  # type: ignore[type-arg]
    """Onto what is the standard output at that moment."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:
        return sys.stdout


@contextmanager
def logging_into(path: Path | None) -> Iterator[None]:
    """Lines of LOG go to the end of a file inside the block, or to the standard output where there is none."""
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


def level() -> int:
    """The level that TRIMCORE_LOG names; info where it names none: no run should end for that, and `doctor` tells."""
    found = named(os.environ.get("TRIMCORE_LOG", "info"))
    return logging.INFO if found is None else found


def named(word: str) -> int | None:
    """The number of a level, None where there is none of that name."""
    return logging.getLevelNamesMapping().get(word.upper())
