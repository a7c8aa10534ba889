"""Time left and rate, with a manually set clock."""

import pytest

from trimcore.jobs import pace
from trimcore.jobs.pace import Pace
from trimcore.runs.events import Event
from trimcore.training.loop import trim


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    """A list whose only entry is the current time."""
    now = [1000.0]
    monkeypatch.setattr(pace.time, "monotonic", lambda: now[0])
    return now


def eta(seen: Pace, clock, seconds: float, **values) -> tuple:
    clock[0] += seconds
    seen.see({"fraction": 0.0, **values})
    left = seen.left()
    return left["eta_seconds"], left["iteration_eta_seconds"]


def test_time_left_is_estimated_from_this_process_only(clock):
    seen = Pace()
    assert eta(seen, clock, 0, fraction=0.5, iteration_end=0.75) == (None, None)  # resumed in the middle: no pace yet
    assert eta(seen, clock, 4, fraction=0.6, iteration_end=0.75) == pytest.approx((4 * 4, 6))  # a tenth takes 4 s
    assert eta(seen, clock, 6, fraction=0.75, iteration_end=0.75) == pytest.approx((10, 0))  # a quarter took 10 s
    assert eta(seen, clock, 0, fraction=0.75, iteration_end=None) == (pytest.approx(10), None)  # the control


def test_no_time_left_is_given_before_the_pace_is_known(clock):
    seen = Pace()
    assert seen.left() == {"eta_seconds": None, "iteration_eta_seconds": None, "images_per_second": None}
    eta(seen, clock, 0, iteration_end=0.5)
    assert eta(seen, clock, 60, iteration_end=0.5) == (None, None)  # no progress yet
    assert eta(Pace(), clock, 9, fraction=0.9, iteration_end=1.0) == (None, None)  # a first event has no pace
    seen = Pace()
    eta(seen, clock, 0)
    assert eta(seen, clock, 9, fraction=0.004) == (None, None)  # too little progress, too early
    assert eta(seen, clock, 2, fraction=0.004)[0] == pytest.approx(11 * 0.996 / 0.004)  # a long run


def rate(seen: Pace, clock, seconds: float, said: float | None, phase: str = "base", epoch: int | None = 1):
    clock[0] += seconds
    seen.see({"fraction": 0.0, "phase": phase, "epoch": epoch, "images_per_second": said})
    return seen.left()["images_per_second"]


def test_a_rate_is_smoothed_within_a_phase(clock):
    seen = Pace()
    assert rate(seen, clock, 0, 100.0) == 100
    assert rate(seen, clock, 1, 300.0) == 300  # weight 1: the whole phase so far
    assert rate(seen, clock, 1, 100.0) == 200  # weight 1/2: half of it
    assert rate(seen, clock, 2, 200.0) == 200
    assert rate(seen, clock, 0.3, 300.0) == pytest.approx(210)  # weight 1/10: 0.3 of the last 3 seconds
    assert rate(seen, clock, 60, 1.0, epoch=2) == pytest.approx(210)  # ignored: the first batch of a later epoch
    assert rate(seen, clock, 3, 110.0, epoch=2) == pytest.approx(110)


def test_each_phase_has_its_own_rate(clock):
    seen = Pace()
    rate(seen, clock, 0, 100.0)
    assert rate(seen, clock, 1, 9000.0, "profile", None) == 9000
    assert rate(seen, clock, 1, None, "retrain") is None
    assert rate(seen, clock, 1, 50.0, "retrain") == 50


def iteration_ends(spec) -> dict[tuple[int, str], set[float | None]]:
    found: dict = {}
    for event in trim(spec):
        if event.kind == "progress":
            found.setdefault((event.data["iteration"], event.data["phase"]), set()).add(event.data["iteration_end"])
    return found


def test_progress_events_say_where_the_iteration_ends(make_spec):
    """Two base epochs, one for each of two iterations, and as many again for the control: eight in total."""
    ends = iteration_ends(make_spec(
        base={"epochs": 2}, retrain={"epochs": 1}, control={"scratch": True},
        step=[{"layers": ["fc1"], "rule": "fraction", "value": 0.2, "iterations": 2}],
    ))  # fmt: skip
    assert ends == {
        (0, "base"): {0.25}, (0, "profile"): {0.25}, (1, "retrain"): {0.375}, (1, "profile"): {0.375},
        (2, "retrain"): {0.5}, (2, "profile"): {0.5}, (2, "control"): {None},
    }  # fmt: skip


def test_a_conversion_belongs_to_the_base(make_spec):
    """Two base epochs, two of conversion, and one iteration with one epoch: five in total."""
    ends = iteration_ends(make_spec(
        base={"epochs": 2}, convert={"to": "maxout", "k": 2, "layers": ["fc1"], "epochs": 2}, retrain={"epochs": 1},
        step=[{"layers": ["fc1"], "rule": "maxout", "iterations": 1}],
    ))  # fmt: skip
    assert {key: end for key, end in ends.items() if key[1] in ("base", "convert", "retrain")} == {
        (0, "base"): {0.8}, (0, "convert"): {0.8}, (1, "retrain"): {1.0},
    }  # fmt: skip


def test_every_progress_event_has_a_rate(tiny):
    seen = [event for event in trim(tiny) if isinstance(event, Event) and event.kind == "progress"]
    assert {event.data["phase"] for event in seen} == {"base", "retrain", "profile"}
    assert all(event.data["images_per_second"] > 0 for event in seen)
