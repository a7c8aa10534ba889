"""Requests to a running run: stop, pause or finish. The run's processes poll request.json."""

import json
import time
from pathlib import Path

from trimcore.system.files import read_json, write_atomic

REQUESTS = ("stop", "pause", "finish")
INTERRUPTED = "interrupted from the keyboard"  # the reason after Ctrl-C


def request(folder: Path, action: str) -> None:
    """Ask a run to stop now, to pause after this epoch, or to finish after this iteration."""
    write_atomic(folder / "request.json", json.dumps({"action": action, "time": time.time()}))


def requested(folder: Path) -> str:
    """The latest request, or ""."""
    action = read_json(folder / "request.json").get("action", "")
    return action if action in REQUESTS else ""
