"""Streamlit looks through all objects of the process for garbage after each run of a script, and PyTorch alone brings
half a million of them: a quarter of a second, at each click and each tick of a timer."""

import atexit
import gc
from collections import Counter

_begun: Counter[str] = Counter()


def spare_what_stays(page: str) -> None:
    """Take what is there now out of that search, when the script of a page begins for the first time and for the
    second: then all that it imports and keeps has come. Modules are no garbage. What comes later is still looked
    through, since a network that nobody looks at any more may be large."""
    if not _begun:
        atexit.register(gc.unfreeze)
    _begun[page] += 1
    if _begun[page] <= 2:
        gc.collect()
        gc.freeze()
