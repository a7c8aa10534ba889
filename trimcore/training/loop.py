"""The loop of Network Trimming (Hu et al. 2016, section 3.2): profile, prune, retrain from the kept weights, repeat.

`trim` is a generator: it computes and yields events, and writes nothing. The payload of each epoch and iteration event
contains a snapshot of the loop's state. Given as `resume`, it makes the loop continue as if it had never stopped.
"""

import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trimcore import __version__
from trimcore.compute import distributed
from trimcore.compute.device import describe
from trimcore.data.dataset import Data
from trimcore.data.own import OwnData, open_own
from trimcore.graph.summary import LITTLE, free_share, trimmable_text
from trimcore.runs.events import Event
from trimcore.spec import Spec
from trimcore.tasks import Task
from trimcore.training.objects import with_objects
from trimcore.training.phases.base import train_base
from trimcore.training.phases.control import train_control
from trimcore.training.phases.conversion import convert
from trimcore.training.phases.cut import cut
from trimcore.training.phases.retraining import retrain
from trimcore.training.prepare import prepare
from trimcore.training.run import Run

PHASES = {"base": train_base, "convert": convert, "cut": cut, "retrain": retrain, "control": train_control}


def trim(
    spec: Spec, *, runs: Path | None = None, model: nn.Module | None = None, data: Data | OwnData | None = None,
    task: Task | None = None, resume: dict[str, Any] | None = None,
) -> Iterator[Event]:  # fmt: skip
    """Run a spec and yield its events. See `runs.events` for their kinds. `jobs.foreground.run` also records them.

    `runs` is the folder in which a parent run is looked up. `model`, `data` and `task` are objects to use in place of
    what the spec names. The run starts from the weights of the model and trains them for `base.epochs`; the model
    itself is not changed. `resume` is a snapshot from an earlier event. If several processes share a run (see
    `compute.distributed`), all of them yield the same events at the same time. Raises TrimError (or a subclass) for
    anything the user can fix.
    """
    spec = with_objects(spec, model, data, task)
    loaded = open_own(spec.data, data) if isinstance(data, OwnData) else data
    run = Run(prepare(spec, runs, loaded, resume, task))
    yield _started(run)
    yield from _notes(run)
    while run.state.phase != "done":
        yield from PHASES[run.state.phase](run)
    yield Event("ended", {"reason": run.state.ended, "result": run.state.result})


def _started(run: Run) -> Event:
    spec, data, processes = run.spec, run.data, distributed.world()
    device = describe(run.device) + (f", {processes} processes" if processes > 1 else "")
    return Event("started", {
        "model": spec.model, "data": spec.data, "seed": spec.seed, "resumed": run.resumed,
        "classes": list(data.classes),
        "splits": {name: len(getattr(data, name)) for name in ("train", "validation", "test")},
        "image": list(data.example_shape),
        "task": spec.task, "metric": run.metric.recorded(), "found": list(data.notes), "device": device,
        "torch": torch.__version__, "python": platform.python_version(), "trimcore": __version__,
        "iterations": spec.iterations, "epochs": run.progress.epochs, "trimmable": trimmable_text(run.graph),
        **run.state.base,
    })  # fmt: skip


def _notes(run: Run) -> Iterator[Event]:
    if run.notes:
        yield Event("note", {"text": f"weights: {', '.join(run.notes)}"})
    for text in run.data.skipped[:1]:
        text = f"{len(run.data.skipped)} unreadable images are skipped, the first is {text}"
        yield Event("note", {"text": text, "level": "warning"})
    if free_share(run.graph) < LITTLE:
        yield Event("note", {"text": trimmable_text(run.graph), "level": "warning"})
    if distributed.has_local_batchnorm(run.state.network, run.device):
        text = "on the CPU, each process computes BatchNorm statistics over its own part of a batch"
        yield Event("note", {"text": text})
