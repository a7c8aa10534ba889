"""Streamlit looks through all objects of the process for garbage after each run of a script, and PyTorch alone brings
half a million of them: a quarter of a second, at each click and each tick of a timer."""

import atexit
import gc
import time
from collections import Counter

OFTEN = 120.0  # seconds
_begun: Counter[str] = Counter()
_last = float("-inf")


def spare_what_stays(page: str) -> None:
    """Take what is there now out of that search: when the script of a page begins for the first time and for the
    second, by when all that it imports has come, and every two minutes. Then everything is looked through, so that what
    was spared and is needed no more (the session of a page that was closed, a large network) goes too."""
    global _last
    if not _begun:
        atexit.register(gc.unfreeze)
    _begun[page] += 1
    if _begun[page] <= 2 or time.monotonic() - _last > OFTEN:
        gc.unfreeze()
        gc.collect()
        gc.freeze()
        _last = time.monotonic()
