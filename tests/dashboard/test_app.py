"""The entry point of the dashboard, and its effects on the process."""

import os
from importlib.machinery import PathFinder
from pathlib import Path

from tests.dashboard.pages import APP, page


def test_the_page_folders_do_not_shadow_python_modules(no_runs, monkeypatch):
    """`streamlit run` puts the folder first on the path, and the page `profile` has the name of Python's profiler."""
    monkeypatch.syspath_prepend(Path(APP).parent)
    page("model")
    assert Path(PathFinder.find_spec("profile").origin).parent == Path(os.__file__).parent
