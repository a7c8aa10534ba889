"""Medians of turns, with a clock that the passes advance themselves."""

import pytest

from trimcore.timing import turns
from trimcore.timing.turns import medians


class Clock:
    now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(turns, "time", found)
    return found


def taking(clock: Clock, order: list[str], name: str, *seconds: float):
    """A pass that takes these seconds, one after another, the last again and again."""
    left = list(seconds)

    def run() -> None:
        order.append(name)
        clock.now += left.pop(0) if len(left) > 1 else left[0]

    return run


def test_medians_of_turns_after_the_warm_up(clock):
    """Warm-up passes of 9 s do not count. The median of 1, 5, 2, 2, 30 is 2; that of 1, 1, 1, 4, 4 is 1."""
    order = []
    a, b = taking(clock, order, "a", 9, 9, 1, 5, 2, 2, 30), taking(clock, order, "b", 9, 9, 1, 1, 1, 4, 4)
    assert medians([a, b], rounds=5, limit_seconds=1000) == [2000.0, 1000.0]
    assert order == ["a", "b"] * 7


def test_one_turn_beyond_the_limit_is_all_there_is(clock):
    order = []
    assert medians([taking(clock, order, "a", 3.0), taking(clock, order, "b", 0.5)]) == [3000.0, 500.0]
    assert order == ["a", "b"]
