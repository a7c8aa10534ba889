"""Time several programs in turns, so that other load on the machine slows all of them equally."""

import statistics
import time
from collections.abc import Callable, Sequence

from trimcore.compute.allocator import keep_freed_memory

WARM_UP = 2  # turns that are not counted


def medians(passes: Sequence[Callable[[], object]], rounds: int = 20, limit_seconds: float = 2.0) -> list[float]:
    """Median milliseconds of each pass, which waits for its device, after a warm-up. It takes `rounds` turns or about
    `limit_seconds`, whichever ends first, but at least one turn."""
    keep_freed_memory()
    turns: list[list[float]] = []  # seconds, one list per turn
    start = time.perf_counter()
    while len(turns) < WARM_UP + rounds and (not turns or time.perf_counter() - start < limit_seconds):
        turns.append([_seconds(each) for each in passes])
    counted = turns[WARM_UP:] or turns[-1:]
    return [statistics.median(times) * 1000 for times in zip(*counted, strict=True)]


def _seconds(run: Callable[[], object]) -> float:
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin
