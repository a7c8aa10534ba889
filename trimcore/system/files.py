"""Reading and writing the files of this machine: regular files only, and never half a file."""

import json
import os
import stat
import threading
from pathlib import Path
from typing import IO, Any


def open_regular(path: str | Path, mode: str = "rb", **settings: Any) -> IO[Any]:
    """Like `open`, for reading a file that somebody named. A pipe would block, and a device may never end.

    Raises OSError for anything but a regular file, as `open` does for a missing one.
    """
    kind = os.stat(path).st_mode
    if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):  # `open` itself reports a folder
        raise OSError(None, "it is not a regular file", str(path))
    return open(path, mode, **settings)


def write_atomic(path: Path, text: str) -> None:
    """Replace a file in one step: readers see either the old text or the new text. Raises OSError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}")
    try:
        with open(temporary, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file, or {} if there is none that can be read."""
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
