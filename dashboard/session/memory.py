"""Keep garbage collection fast. Streamlit collects garbage after each script run, and PyTorch alone has half a million
objects to scan: a quarter of a second for each click and each tick of a timer."""

import atexit
import gc
import time
from collections import Counter

INTERVAL = 120.0  # seconds
_page_starts: Counter[str] = Counter()
_last = float("-inf")


def freeze_long_lived(page: str) -> None:
    """Exclude all current objects from garbage collection: when a page's script starts for the first and the second
    time (then all its imports are loaded), and every two minutes. Before that, everything is scanned once, so that
    excluded objects that are no longer used, such as a closed session or a large network, are freed."""
    global _last
    if not _page_starts:
        atexit.register(gc.unfreeze)
    _page_starts[page] += 1
    if _page_starts[page] <= 2 or time.monotonic() - _last > INTERVAL:
        gc.unfreeze()
        gc.collect()
        gc.freeze()
        _last = time.monotonic()
