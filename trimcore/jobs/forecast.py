"""When the runs of the queue are expected to start and to end. Pure functions. None means that it is unknown."""

from collections.abc import Sequence

from trimcore.jobs.queue import Entry
from trimcore.runs.place import time_in


def expected_end(entry: Entry, now: float) -> float | None:
    """When a working run ends at its present pace. The pace was measured at its last heartbeat. Unknown while it has no
    pace yet, and if it is stalled."""
    left, beat = (time_in(entry.status.values, name) for name in ("eta_seconds", "heartbeat"))
    return None if entry.waits or entry.status.stalled or left is None or beat is None else max(now, beat + left)


def expected_starts(entries: Sequence[Entry], now: float) -> dict[str, float | None]:
    """When each waiting run starts, in order. Known for those with only working runs ahead, if the end of these is
    known: how long a run takes that has not started is not. Held runs, and those whose parent is not ready, have no
    time, and hold up nobody."""
    free: dict[str, float | None] = {}  # device -> when it is
    for entry in entries:
        if not entry.waits:
            end = expected_end(entry, now)
            for device in entry.devices:
                before = free.get(device, now)
                free[device] = None if end is None or before is None else max(before, end)
    starts: dict[str, float | None] = {}
    for entry in entries:
        if entry.waits:
            times = [free.get(device, now) for device in entry.devices]
            known = [time for time in times if time is not None]
            starts[entry.run_id] = max(known) if len(known) == len(times) and not entry.is_passed else None
            if not entry.is_passed:
                free.update(dict.fromkeys(entry.devices))
    return starts
