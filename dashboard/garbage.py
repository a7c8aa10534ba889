"""Streamlit looks through all objects of the process for garbage after each run of a script, and PyTorch alone brings
half a million of them: a quarter of a second, at each click and each tick of a timer."""

import atexit
import functools
import gc


@functools.cache
def spare_what_was_imported() -> None:
    """Take what is there now out of that search, once: modules are no garbage. What comes later is still looked
    through, since a network that nobody looks at any more may be large."""
    gc.collect()
    gc.freeze()
    atexit.register(gc.unfreeze)
