"""When runs are expected to start and to end: worked out by hand."""

import pytest

from trimcore import runs
from trimcore.jobs.forecast import expected_end, expected_starts
from trimcore.jobs.queue import Entry

NOW = 1000.0


def works(name: str, *devices: str, stalled: bool = False, **values) -> Entry:
    return Entry(runs.Status(name, "running", values, "", stalled), devices, False, runs.Place(0.0))


def waits(name: str, *devices: str, held: bool = False) -> Entry:
    return Entry(runs.Status(name, "queued", {}), devices, True, runs.Place(0.0, held))


@pytest.mark.parametrize(
    ("entry", "end"),
    [
        (works("a", "cpu", eta_seconds=100.0, heartbeat=990.0), 1090.0),
        (works("a", "cpu", eta_seconds=5, heartbeat=990), NOW),  # overdue: it may end at any moment
        (works("a", "cpu", eta_seconds=None, heartbeat=990.0), None),
        (works("a", "cpu", eta_seconds="soon", heartbeat=990.0), None),
        (works("a", "cpu", eta_seconds=100.0), None),
        (works("a", "cpu", eta_seconds=100.0, heartbeat=900.0, stalled=True), None),
        (waits("a", "cpu"), None),
    ],
)
def test_a_working_run_ends_at_its_pace(entry, end):
    assert expected_end(entry, NOW) == end


def test_waiting_runs_start_when_all_their_devices_are_free():
    found = [
        works("a", "cpu", eta_seconds=60.0, heartbeat=NOW), works("b", "cuda:0", eta_seconds=20.0, heartbeat=NOW),
        works("c", "cuda:1"),
        waits("held", "cpu", held=True), waits("both", "cpu", "cuda:0"), waits("behind", "cuda:0"),
        waits("unknown", "cuda:1"), waits("at once", "cuda:2"), waits("after it", "cuda:2", "cpu"),
    ]  # fmt: skip
    assert expected_starts(found, NOW) == {
        "held": None,  # nobody knows when it is released
        "both": NOW + 60, "behind": None, "unknown": None, "at once": NOW, "after it": None,
    }  # fmt: skip
