"""Mistakes that a user can make. Each message is one line: what is wrong, and what would be right."""

from collections.abc import Iterable
from typing import Any


class TrimError(ValueError):
    """A mistake that is reported in one line, without a traceback."""


class SpecError(TrimError):
    """A spec with an unknown key, an unknown name or a value out of range."""


class DataError(TrimError):
    """Data that is missing, empty, damaged or unknown."""


class CheckpointError(TrimError):
    """A checkpoint that cannot be read or belongs to another architecture.

    `mismatches` are the tensors that do not fit, if that is the reason (see `files.mismatch`).
    """

    def __init__(self, message: str, mismatches: Iterable[Any] = ()):
        super().__init__(message)
        self.mismatches = tuple(mismatches)


class NotTrimmable(TrimError):
    """A layer or a network that cannot be cut without changing what it computes."""


class RunError(TrimError):
    """A run that does not exist, is in the wrong state, or whose folder cannot be used."""


def first_line(error: BaseException) -> str:
    """What another library's error says, short enough for one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def shortened(text: str, most: int = 500) -> str:
    """A line that may quote what somebody wrote, however long that is: its middle is left out."""
    return text if len(text) <= most else f"{text[: most // 2]} … {text[-most // 3 :]}"
