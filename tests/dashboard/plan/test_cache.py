"""Results that several sessions ask for at the same time are computed once."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from dashboard.plan import measurement


@pytest.fixture(autouse=True)
def empty(monkeypatch):
    found: dict = {}
    monkeypatch.setattr(measurement, "cache", lambda: found)
    return found


def test_sessions_share_one_computation():
    made, together = [], threading.Barrier(8)

    def make() -> int:
        made.append(1)
        return 7

    def ask(_) -> int:
        together.wait(10)
        return measurement.cached("key", make)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(8))) == [7] * 8
    assert len(made) == 1


def test_an_error_is_not_kept():
    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        measurement.cached("key", fail)
    assert measurement.cached("key", lambda: 3) == 3


def test_the_results_used_last_stay(empty):
    for number in range(measurement.MAX_CACHED):
        measurement.cached(number, lambda: None)
    measurement.cached(0, lambda: None)
    measurement.cached("one more", lambda: None)
    assert 0 in empty
    assert 1 not in empty
