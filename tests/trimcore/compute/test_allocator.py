"""The C library's settings: both or none."""

import ctypes
from types import SimpleNamespace

import pytest

from trimcore.compute import allocator
from trimcore.compute.allocator import KEPT_BYTES, LARGE_BYTES, MMAP_THRESHOLD, OLD_LARGE_BYTES, TRIM_THRESHOLD


@pytest.fixture
def told(monkeypatch):
    """What the C library is told. It accepts blocks up to `most`."""
    calls, limit = [], [1 << 40]

    def mallopt(name: int, value: int) -> int:
        calls.append((name, value))
        return int(name != MMAP_THRESHOLD or value <= limit[0])

    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace(mallopt=mallopt))
    monkeypatch.setattr(allocator.sys, "platform", "linux")
    return calls, limit


def keep() -> bool:
    return allocator.keep_freed_memory.__wrapped__()


def test_both_settings_are_made(told):
    calls, _ = told
    assert keep()
    assert calls == [(MMAP_THRESHOLD, LARGE_BYTES), (TRIM_THRESHOLD, KEPT_BYTES)]


def test_older_libraries_get_a_smaller_limit(told):
    calls, limit = told
    limit[0] = OLD_LARGE_BYTES
    assert keep()
    assert calls[-2:] == [(MMAP_THRESHOLD, OLD_LARGE_BYTES), (TRIM_THRESHOLD, KEPT_BYTES)]


def test_one_setting_alone_would_do_harm(told):
    """Without a higher threshold for single blocks, every large one would go back to the system."""
    calls, limit = told
    limit[0] = 0
    assert not keep()
    assert TRIM_THRESHOLD not in [name for name, _ in calls]


def test_other_systems_are_left_alone(told, monkeypatch):
    monkeypatch.setattr(allocator.sys, "platform", "darwin")
    assert not keep()
    assert not told[0]
