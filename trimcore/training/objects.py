"""Objects in place of names: a network, data or a task that a Python program passes to a run."""

import copy
import itertools
from collections.abc import Container
from dataclasses import replace
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from trimcore import models
from trimcore.data import own
from trimcore.data.dataset import Data
from trimcore.errors import SpecError
from trimcore.spec import Spec, parse
from trimcore.system.own_code import OBJECT
from trimcore.tasks import Task
from trimcore.tasks import registry as tasks


def with_objects(spec: Spec, model: nn.Module | None, data: Any, task: Task | None) -> Spec:
    """The spec with names for these objects, checked again as a whole. They are registered in this process,
    so that the run's iterations can be opened here.

    Raises SpecError for objects that the spec cannot be combined with.
    """
    named: dict[str, str] = {}
    if spec.devices.count > 1 and any(given is not None for given in (model, data, task)):
        raise SpecError("several processes cannot share objects: name the model, the data and the task in the spec")
    if model is not None:
        if not isinstance(model, nn.Module):
            raise SpecError(f"model is a {type(model).__name__}, not a torch.nn.Module")
        if spec.control.scratch:
            raise SpecError("control.scratch needs new weights, which a network passed as an object cannot give")
        named["model"] = _register(model, spec.model)
    if data is not None and not hasattr(data, "mean"):
        named["data"] = _name("data", spec.data, own.REGISTERED)
        own.REGISTERED[named["data"]] = lambda: data
    if task is not None:
        if not isinstance(task, Task):
            raise SpecError(f"task is a {type(task).__name__}, not a trimcore.Task")
        named["task"] = _name_of(task, spec.task)
    return parse({**spec.model_dump(exclude_unset=True), **named}) if named else spec


def with_inputs_of(entry: models.Architecture, data: Data) -> models.Architecture:
    """The entry of a network whose inputs are like the example of the user's own data.

    Its checkpoints are opened with an example, so it must be known without the data. Raises SpecError if it is not.
    """
    if not data.is_own or entry.example is not None:
        return entry
    example = data.example
    if isinstance(example, Tensor) and example.shape[1:] == (data.channels, data.image_size, data.image_size):
        return entry
    if entry.name.startswith(OBJECT):
        models.REGISTRY[entry.name] = replace(entry, example=lambda: example)
        return models.REGISTRY[entry.name]
    shapes = " and ".join(str(tuple(each.shape)) for each in tree_leaves(example) if isinstance(each, Tensor))
    raise SpecError(
        f"model {entry.name!r} takes inputs of shape {shapes}, not square images: register it with "
        "example=lambda: ..., a function that returns such a batch of one"
    )


def _name(kind: str, named: str, taken: Container[str]) -> str:
    """The name of an object: that of the run it resumes, or a new one, since runs of a process must not share one."""
    if named.startswith(OBJECT):
        return named
    numbers = ("" if number == 1 else f"_{number}" for number in itertools.count(1))
    return next(name for number in numbers if (name := f"{OBJECT}{kind}{number}") not in taken)


def _name_of(task: Task, named: str) -> str:
    known = tasks.REGISTERED.get(task.name)
    if known is type(task):
        return task.name
    name = _name(type(task).__name__, named, tasks.REGISTERED)
    tasks.REGISTERED[name] = lambda: task
    return name


def _register(model: nn.Module, named: str) -> str:
    name = _name(type(model).__name__, named, models.REGISTRY)
    kept = copy.deepcopy(model).cpu()  # as it is now, whatever becomes of it
    models.REGISTRY[name] = models.Architecture(name, "a network passed as an object", _Builder(kept))
    return name


class _Builder:
    """Returns copies of a network, in training mode."""

    def __init__(self, network: nn.Module):
        self.network = network

    def __call__(self, **arguments: int) -> nn.Module:
        return copy.deepcopy(self.network).train()
