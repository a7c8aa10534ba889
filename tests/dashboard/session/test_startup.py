"""What the person who starts the server asks for: a command for the end of runs."""

import os
import sys

import pytest

from dashboard.session import startup
from trimcore.jobs import on_end


@pytest.fixture
def started_with(monkeypatch):
    """started_with(option, ...): as if the server had been started with them."""
    monkeypatch.setenv(on_end.ON_END, "")

    def start(*options: str) -> None:
        monkeypatch.setattr(sys, "argv", ["app.py", *options])
        startup._options.cache_clear()
        startup.use_on_end.cache_clear()

    yield start
    start()
    startup.use_on_end()


def test_the_command_reaches_the_runs_that_the_server_starts(started_with):
    started_with("--on-end", "https://example.org/hook", "--use", "x.py")
    assert startup.use_on_end() == ""
    assert os.environ[on_end.ON_END] == "https://example.org/hook"


def test_without_the_option_the_environment_counts(started_with, monkeypatch):
    monkeypatch.setenv(on_end.ON_END, "https://example.org/other")
    started_with()
    assert startup.use_on_end() == ""
    assert os.environ[on_end.ON_END] == "https://example.org/other"


def test_a_mistake_is_one_line(started_with):
    started_with("--on-end", "no-such-program --token secret")
    problem = startup.use_on_end()
    assert "no program 'no-such-program'" in problem
    assert "secret" not in problem
