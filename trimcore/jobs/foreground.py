"""Carry out a spec in this process, recorded like any other run. For Python programs that pass objects."""

from pathlib import Path

from torch import nn

from trimcore import runs as folders
from trimcore import spec as specs
from trimcore.data.dataset import Data
from trimcore.data.own import OwnData
from trimcore.errors import RunError
from trimcore.jobs import control, on_end, worker
from trimcore.spec import Spec
from trimcore.system import logs
from trimcore.tasks import Task
from trimcore.training.objects import with_objects


def run(
    spec: Spec | None = None, *, runs: str | Path | None = None, model: nn.Module | None = None,
    data: Data | OwnData | None = None, task: Task | None = None, resume: str = "",
) -> Path:  # fmt: skip
    """Run a spec to its end and return its run folder. The dashboard shows it while it runs.

    `model`, `data` and `task` are objects to use in place of what the spec names, see `training.loop.trim`. `runs` is
    the folder of all runs. `resume` is the id of a run to continue, with the same objects and no spec.

    Raises RunError if the run fails, and TrimError (or a subclass) if it cannot be started.
    """
    root = folders.runs_folder(runs)
    if resume:
        folder = folders.open_run(root, resume)
        with_objects(specs.load(folder / "spec.toml"), model, data, task)
        control.reopen(folder)
    elif spec is None:
        raise RunError("give a spec, or the run to resume")
    else:
        folder = control.prepare_run(with_objects(spec, model, data, task), root)
    folders.update_status(folder, in_program=True)  # a request to stop must not end the program itself
    outcome = worker.carry_out(folder, log=folder / "log.txt", model=model, data=data, task=task)
    with logs.logging_to(folder / "log.txt"):
        on_end.end(folder, **outcome, code=int(outcome["state"] == "failed"))
    if outcome["state"] == "failed":
        raise RunError(f"run {folder.name} failed: {outcome['reason']}")
    return folder
