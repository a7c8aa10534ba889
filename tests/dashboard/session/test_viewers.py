"""Viewers of a run, and how often each of them asks."""

import pytest
import streamlit as st

from dashboard.session import viewers


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(viewers.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(viewers, "_seen", {})
    return now


def looking(monkeypatch, name: str) -> float:
    """What a session of that name is told."""
    monkeypatch.setattr(st, "session_state", {"viewer": name})
    return viewers.interval()


def test_many_viewers_ask_less_often(monkeypatch, clock):
    told = [looking(monkeypatch, f"session {number}") for number in range(5)]
    assert told == [1.0, 1.0, 1.0, 2.0, 2.0]
    assert looking(monkeypatch, "session 0") == 2.0, "the first as well, when its page is drawn again"


def test_viewers_that_left_do_not_count(monkeypatch, clock):
    for number in range(9):
        looking(monkeypatch, f"session {number}")
    clock[0] += viewers.RECENT + 0.1
    assert looking(monkeypatch, "session 0") == 1.0


def test_a_session_counts_once(monkeypatch, clock):
    assert [looking(monkeypatch, "the same") for _ in range(9)] == [1.0] * 9


def test_sessions_have_names_of_their_own(monkeypatch, clock):
    for _ in range(4):
        monkeypatch.setattr(st, "session_state", {})
        told = viewers.interval()
    assert told == 2.0
