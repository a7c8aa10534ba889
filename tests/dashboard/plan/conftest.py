"""Base networks to plan from."""

import shutil
from pathlib import Path

import pytest

from tests.dashboard.fakes import real_run


@pytest.fixture(scope="session")
def bases(tmp_path_factory, make_spec) -> dict[str, Path]:
    """Profiled runs of two networks on the tiny images with 20 validation images, created once."""
    folder = tmp_path_factory.mktemp("bases")
    base = {"step": [], "base": {"epochs": 4, "batch_size": 16}}
    asked = {"lenet5": {}, "lenet5-maxout": {"model": "lenet5-maxout", "options": {"width": 32}}}
    return {name: real_run(folder, make_spec(**base, **more)) for name, more in asked.items()}


@pytest.fixture
def copy_of(bases, runs_folder):
    """copy_of(name): a copy of that run in this test's runs folder."""
    return lambda name="lenet5": Path(shutil.copytree(bases[name], runs_folder / bases[name].name))
