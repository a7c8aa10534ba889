"""Runs with code of one's own, `tests/faults/mine.py`, and the switch that lets it do harm."""

import os
from pathlib import Path

from tests.faults import mine
from tests.faults.scene import Scene
from trimcore.system import own_code

PLAIN = {"base": {"epochs": 2, "batch_size": 16}, "retrain": {"epochs": 1, "keep_momentum": True, "batch_size": 16}}
OWN_DATA = {**PLAIN, "data": "mine-digits"}
OWN_NETWORK = {**OWN_DATA, "model": "mine"}


def launch_own(scene: Scene, **asked) -> Path:
    """Launch a run that uses it. The reference is then what an undisturbed run of the same comes to."""
    use(scene)
    scene.compare_with(str(asked), lambda other: other.launch(**asked))
    return scene.launch(**asked)


def use(scene: Scene, file: str = mine.__file__) -> None:
    """Use this code until the round is over, and let it do no harm yet."""
    os.environ[own_code.USED] = file
    os.environ[mine.HARM] = str(scene.folder.parent / "harm")
    switch(scene)


def switch(scene: Scene, harm: str = "", at: int = 0) -> None:
    """From now on do this harm; without one, none."""
    path = scene.folder.parent / "harm"
    path.with_suffix(".new").write_text(f"{harm} {at}" if harm else "", "utf-8")
    path.with_suffix(".new").replace(path)
