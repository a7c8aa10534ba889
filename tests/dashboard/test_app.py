"""The entry point of the dashboard, and its effects on the process."""

import os
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
