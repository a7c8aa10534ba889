"""Errors that a user can cause. Each message is one line: what is wrong and what would be right."""

from collections.abc import Iterable
from typing import Any


class TrimError(ValueError):
    """A user error, reported in one line without a traceback."""


class SpecError(TrimError):
    """A spec with an unknown key, an unknown name or a value out of range."""


class DataError(TrimError):
    """Missing, empty, damaged or unknown data."""


class CheckpointError(TrimError):
    """A checkpoint that cannot be read or belongs to another architecture.

    `mismatches` lists the tensors that do not fit, if that is the reason (see `files.mismatch`).
    """

    def __init__(self, message: str, mismatches: Iterable[Any] = ()):
        super().__init__(message)
        self.mismatches = tuple(mismatches)


class NotTrimmable(TrimError):
    """A layer or network that cannot be cut without changing what it computes."""


class RunError(TrimError):
    """A run that does not exist, is in the wrong state, or has an unusable folder."""


def first_line(error: BaseException) -> str:
    """The first line of another library's error message, at most 200 characters."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def shortened(text: str, most: int = 500) -> str:
    """Cut the middle out of a line that quotes user input of any length."""
    return text if len(text) <= most else f"{text[: most // 2]} … {text[-most // 3 :]}"
