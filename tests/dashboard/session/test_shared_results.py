"""Results that several sessions ask for at the same time are computed once."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from dashboard.session.shared_results import SharedResults


@pytest.fixture
def shared() -> SharedResults:
    return SharedResults(4)


def test_sessions_share_one_computation(shared):
    made, together = [], threading.Barrier(8)

    def make() -> int:
        made.append(1)
        return 7

    def ask(_) -> int:
        together.wait(10)
        return shared.get("key", make)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(8))) == [7] * 8
    assert len(made) == 1


def test_an_error_is_not_kept(shared):
    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        shared.get("key", fail)
    assert shared.get("key", lambda: 3) == 3


def test_the_results_used_last_stay(shared):
    for number in range(4):
        shared.get(number, lambda: None)
    shared.get(0, lambda: None)
    shared.get("one more", lambda: None)
    assert 0 in shared.found
    assert 1 not in shared.found
