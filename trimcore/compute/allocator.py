"""Let glibc keep the memory that a pass frees for the next pass.

By default, glibc returns large blocks to the system as soon as they are freed. Each pass then gets its activations as
fresh pages, which the system clears one by one. For small networks, this takes longer than the arithmetic: one epoch of
LeNet-5 on a CPU takes 1.4 times as long, and the same pass can take 3 or 7 ms, depending on what ran before it.
"""

import ctypes
import sys
from functools import cache

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of malloc.h
KEPT_BYTES = 256 << 20  # free memory at the end of the heap up to this size is kept
LARGE_BYTES = 128 << 20  # blocks from this size on are still returned at once
OLD_LARGE_BYTES = 32 << 20  # the most that older versions of glibc accept


@cache
def keep_freed_memory() -> bool:
    """Apply to the whole process, once. Returns False where the C library has no such setting."""
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    if not (mallopt(MMAP_THRESHOLD, LARGE_BYTES) or mallopt(MMAP_THRESHOLD, OLD_LARGE_BYTES)):
        return False  # without it, the other setting would do harm
    return bool(mallopt(TRIM_THRESHOLD, KEPT_BYTES))
