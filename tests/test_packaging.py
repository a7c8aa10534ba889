"""What is installed: the two lists of requirements agree, so do the two files of settings, and there is one version."""

import subprocess
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

import trimcore

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def requirements() -> set[str]:
    lines = (ROOT / "requirements.txt").read_text("utf-8").splitlines()
    return {str(Requirement(text)) for line in lines if (text := line.partition("#")[0].strip())}


def test_requirements_are_the_projects_with_its_extras_and_pytest():
    extras = [text for texts in PROJECT["optional-dependencies"].values() for text in texts]
    projects = {str(Requirement(text)) for text in [*PROJECT["dependencies"], *extras]}
    (rest,) = requirements() - projects
    assert rest.startswith("pytest")
    assert projects <= requirements()


def test_a_user_of_the_library_needs_no_page():
    needed = {Requirement(text).name for text in PROJECT["dependencies"]}
    assert needed.isdisjoint({"streamlit", "plotly", "pytest", "onnxruntime"})


def test_the_page_has_the_same_settings_from_any_folder():
    """Streamlit reads the settings of the folder it is started in, and those beside the script."""
    ours = [ROOT / ".streamlit" / "config.toml", ROOT / "dashboard" / ".streamlit" / "config.toml"]
    assert not any(path.is_symlink() for path in ours)  # not every system and copy keeps links
    assert ours[0].read_text("utf-8") == ours[1].read_text("utf-8")


def test_one_version_for_all(capfd):
    command = [sys.executable, "-m", "trimcore", "--version"]
    assert subprocess.run(command, capture_output=True, text=True).stdout == f"trimcore {trimcore.__version__}\n"
    assert PROJECT["dynamic"] == ["version"]
    changes = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert f"## {trimcore.__version__}" in changes
