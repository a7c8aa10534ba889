"""Opening a file that somebody named: an ordinary one. A pipe would be waited for, and a device may never end."""

import os
import stat
from pathlib import Path
from typing import IO, Any


def open_ordinary(path: str | Path, mode: str = "rb", **settings: Any) -> IO[Any]:
    """As `open`, for reading. Raises OSError for what is no ordinary file, like for one that is not there."""
    kind = os.stat(path).st_mode
    if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):  # of a folder `open` says what it is
        raise OSError(None, "it is no ordinary file", str(path))
    return open(path, mode, **settings)
