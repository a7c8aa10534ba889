"""The queue as the pages show it. All viewers share one reading, because it looks at every active run."""

import threading
import time
from dataclasses import dataclass
from pathlib import Path

from dashboard.session import run_reader
from trimcore.jobs import forecast, queue, restoring
from trimcore.jobs.queue import Entry

FRESH = 0.5  # seconds for which a reading is used again
_lock = threading.Lock()
_last: "Reading | None" = None


@dataclass(frozen=True)
class Reading:
    """The queue at one moment. entries: as in `queue.entries`. restorable: lost runs that waited, in their order.
    starts: waiting run -> when it is expected to start, if known. Times are in seconds since the epoch."""

    folder: Path
    at: float
    entries: list[Entry]
    restorable: list[str]
    starts: dict[str, float | None]


def read() -> Reading:
    """The queue now, or as it was a moment ago."""
    global _last
    folder, now = run_reader.folder(), time.time()
    with _lock:
        if _last is None or _last.folder != folder or not 0 <= now - _last.at < FRESH:
            entries = queue.entries(folder, run_reader.json_file)
            starts = forecast.expected_starts(entries, now)
            _last = Reading(folder, now, entries, restoring.restorable(folder, run_reader.json_file), starts)
        return _last


def forget() -> None:
    """Read again next time, because this session has changed something."""
    global _last
    _last = None
