"""The entry point of the dashboard, and its effects on the process."""

import os
import sys
from importlib.machinery import PathFinder
from pathlib import Path

import pytest

from tests.dashboard.pages import APP, page


@pytest.mark.parametrize("name", ["profile", "queue"])
def test_the_page_folders_do_not_shadow_python_modules(no_runs, monkeypatch, name):
    """`streamlit run` puts the folder first on the path, and two pages have the names of modules of Python."""
    monkeypatch.syspath_prepend(Path(APP).parent)
    page("model")
    assert Path(PathFinder.find_spec(name).origin).parent == Path(os.__file__).parent


def test_a_session_does_not_disturb_the_imports_of_another(no_runs, monkeypatch):
    """An import goes through `sys.path` entry by entry. An entry that is removed meanwhile makes it skip the next one,
    so that it does not find, say, the standard library."""
    monkeypatch.syspath_prepend(Path(APP).parent)
    for _ in ("the first session of a server", "another one"):
        before = list(sys.path)
        entries = iter(sys.path)
        first = next(entries)
        page("model")
        assert [first, *entries] == before
