"""Tasks by name: the built-in ones, registered ones, and the user's own as `package.module:Class`."""

import inspect
from collections.abc import Callable
from typing import Any

from trimcore.errors import SpecError
from trimcore.system import own_code
from trimcore.tasks.agreement import Agreement
from trimcore.tasks.classification import Classification
from trimcore.tasks.detection import Detection
from trimcore.tasks.multilabel import MultiLabel
from trimcore.tasks.regression import Regression
from trimcore.tasks.segmentation import Segmentation
from trimcore.tasks.task import Task

BUILT_IN: dict[str, type[Task]] = {
    task.name: task for task in (Classification, MultiLabel, Regression, Segmentation, Detection, Agreement)
}
REGISTERED: dict[str, Callable[[], Task]] = dict(BUILT_IN)


def register(name: str) -> Callable[[type[Task]], type[Task]]:
    """Register a subclass of `Task` under a name. Raises SpecError for the name of a built-in task."""
    if name in BUILT_IN:
        raise SpecError(f"{name!r} is the name of a built-in task: register yours under another name")
    own_code.note_registered("task", name)

    def add(task: type[Task]) -> type[Task]:
        REGISTERED[name] = task
        return task

    return add


def listed() -> dict[str, str]:
    """The known tasks: name -> one-line description. Loads nothing but the modules in use."""
    own_code.load_used()
    named = {name: task for name, task in REGISTERED.items() if not name.startswith(own_code.OBJECT)}
    return {name: (inspect.getdoc(task) or name).partition(". ")[0].splitlines()[0] for name, task in named.items()}


def check_name(name: str) -> None:
    """Raise SpecError for a name that `task_for` does not know. Imports nothing but the modules in use."""
    own_code.load_used()
    if name in REGISTERED:
        return
    if ":" not in name:
        raise SpecError(f"unknown task {name!r}; expected {', '.join(REGISTERED)}, or package.module:Class")
    own_code.check_form("task", name)


def task_for(name: str) -> Task:
    """The task of a name, with one output. Raises SpecError for an unknown name, broken code, or a class that is no
    Task."""
    check_name(name)
    made: Any = REGISTERED[name] if name in REGISTERED else own_code.find("task", name)
    try:
        task = made() if callable(made) else made
    except Exception as error:  # a user's class may raise anything
        raise SpecError(f"task {name!r}: it raised {own_code.describe(error)}") from error
    if not isinstance(task, Task):
        raise SpecError(f"task {name!r} is a {type(task).__name__}, not a subclass of trimcore.Task")
    return task
