"""A branch may be launched before its parent has the iteration that it starts from. It then waits for it.

`prepare_run` writes `awaits` into such a run's status.json. Imports no torch.
"""

from pathlib import Path
from typing import Any

from trimcore import runs
from trimcore.errors import RunError
from trimcore.system.files import read_json


def entry(parent: str, iteration: int) -> dict[str, Any]:
    """What status.json says of a run that waits for this iteration of its parent."""
    return {"awaits": {"run": parent, "iteration": iteration}}


def waits(runs_folder: Path, values: dict[str, Any]) -> str:
    """The run whose iteration a run still waits for, from its status.json; "" if it can start."""
    awaited = values.get("awaits")
    if not isinstance(awaited, dict) or not isinstance(awaited.get("run"), str):
        return ""
    iteration = awaited.get("iteration", 0)
    if type(iteration) is not int or iteration < 0:
        return ""
    path = runs.checkpoint_path(runs_folder / awaited["run"], iteration)
    return "" if path.is_file() else str(awaited["run"])


def in_vain(folder: Path) -> str:
    """Why the iteration that a run waits for will not come; "" while it can, or if it is there. A paused parent can be
    resumed, so the run goes on waiting."""
    parent = waits(folder.parent, read_json(folder / "status.json"))
    if not parent:
        return ""
    try:
        status = runs.state_of(runs.open_run(folder.parent, parent))
    except RunError as error:
        return str(error)
    if status.active or status.state == "paused" or not waits(folder.parent, read_json(folder / "status.json")):
        return ""
    return f"run {parent}, whose network it starts from, is {status.state}: resume that run first, and then this one"
