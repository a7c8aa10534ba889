"""Read regular files only, and write files atomically."""

import json
import os
import stat
import threading
from pathlib import Path
from typing import IO, Any


def open_regular(path: str | Path, mode: str = "rb", **settings: Any) -> IO[Any]:
    """Like `open`, for reading a path that a user gave. A pipe would block, and a device may never end.

    Raises OSError unless the path is a regular file.
    """
    kind = os.stat(path).st_mode
    if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):  # `open` itself refuses a folder
        raise OSError(None, "it is not a regular file", str(path))
    return open(path, mode, **settings)


def write_atomic(path: Path, text: str) -> None:
    """Replace a file atomically: readers see either the old or the new text. Raises OSError."""
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
    """Read the JSON object in a file; {} if it is missing or unreadable."""
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
