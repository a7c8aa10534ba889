"""The user's own data: torch data sets or loaders of anything, by a registered name or `package.module:function`."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import Subset

from trimcore.compute.inputs import first_example
from trimcore.data.dataset import Data
from trimcore.data.items import Items
from trimcore.errors import DataError
from trimcore.system import own_code

TIMEOUT = 60.0  # seconds that a worker may take for one item
HELD_OUT = 0.1  # share of the train split that becomes the validation split if there is none
REGISTERED: dict[str, Callable[..., Any]] = {}
DESCRIPTIONS: dict[str, str] = {}
TASKS: dict[str, str] = {}  # what each of them is for


@dataclass(frozen=True, eq=False)
class OwnData:
    """Three splits, each a torch Dataset with a length, or a loader that yields batches.

    Items of a Dataset are pairs (input, target), or whatever the task takes. `collate` makes a batch of a list of them,
    by default as torch does. A loader decides about batches and order itself. Without `validation`, a tenth of `train`
    is held out. `classes` are the names of the classes or labels, or the number of outputs of a regression. `timeout`
    is the number of seconds that one item may take. `workers` is the number of processes that load items (default: as
    many as there are cores, at most 8).
    """

    train: Any
    test: Any
    validation: Any = None
    classes: Sequence[str] | int = 1
    collate: Callable[[list[Any]], Any] | None = None
    timeout: float = TIMEOUT
    workers: int | None = None


def register_data(
    name: str, description: str = "", task: str = "classification"
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function that returns `OwnData` under a name. `task` is what the data are for, unless a spec says
    otherwise. Raises DataError for a name with a colon."""
    if ":" in name:
        raise DataError(f"{name!r} is no name for data: leave out the colon")
    own_code.note_registered("data", name)

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        REGISTERED[name], TASKS[name] = function, task
        DESCRIPTIONS[name] = description or (inspect.getdoc(function) or "data of your own").splitlines()[0]
        return function

    return add


def load_own(name: str, **arguments: Any) -> Data:
    """Call the function of a name and open what it returns. The function receives those of image_size, channels and
    seed that its signature accepts. Raises DataError, and SpecError for code that cannot be imported."""
    function = REGISTERED[name] if name in REGISTERED else own_code.find("data", name)
    if not callable(function):
        return open_own(name, function)
    accepted = inspect.signature(function).parameters
    try:
        found = function(**{key: value for key, value in arguments.items() if key in accepted and value is not None})
    except DataError:
        raise
    except Exception as error:  # a user's function may raise anything
        raise DataError(f"data {name!r}: {function.__name__}() raised {own_code.describe(error)}") from error
    return open_own(name, found)


def open_own(name: str, found: Any) -> Data:
    """The data of an OwnData, or of a mapping with its fields. Raises DataError for anything else, and for an empty
    split.
    """
    if isinstance(found, Data):
        return found
    if isinstance(found, Mapping):
        try:
            found = OwnData(**found)
        except TypeError as error:
            raise DataError(f"data {name!r}: {error}; expected train, validation and test") from None
    if not isinstance(found, OwnData):
        raise DataError(f"data {name!r} is a {type(found).__name__}, not a trimcore.OwnData or a dict of splits")
    parts = {"train": found.train, "validation": found.validation, "test": found.test}
    notes: tuple[str, ...] = ()
    if found.validation is None:
        parts["train"], parts["validation"] = _held_out(name, found.train)
        notes = (f"{len(parts['validation'])} examples of the train split are held out for validation",)
    splits = {
        part: Items(source, name, part, found.collate, found.timeout, found.workers) for part, source in parts.items()
    }
    for part, split in splits.items():
        if not len(split):
            raise DataError(f"data {name!r}: its {part} split is empty")
    classes = found.classes
    names = tuple(map(str, range(classes))) if isinstance(classes, int) else tuple(map(str, classes))
    if not names:
        raise DataError(f"data {name!r} has no classes; give their names, or the number of outputs")
    return Data(name, names, splits["train"], splits["validation"], splits["test"], (), (), 0, 0, notes=notes)


def _held_out(name: str, train: Any) -> tuple[Any, Any]:
    """The train split without a tenth, and that tenth: the same in every run."""
    if not hasattr(train, "__getitem__") or not hasattr(train, "__len__"):
        raise DataError(f"data {name!r}: give a validation split; none can be held out of a loader")
    order = np.random.RandomState(0).permutation(len(train)).tolist()
    count = max(1, round(len(order) * HELD_OUT))
    return Subset(train, sorted(order[count:])), Subset(train, sorted(order[:count]))


def checked(data: Data, check: Callable[[Any], None]) -> Data:
    """The data with every batch of its splits given to `check`, which raises DataError for a batch to refuse."""
    train, validation, test = (
        replace(split, check=check) if isinstance(split, Items) else split
        for split in (data.train, data.validation, data.test)
    )
    return replace(data, train=train, validation=validation, test=test)


def with_example(data: Data, inputs: Callable[[Any], Any]) -> Data:
    """The data with the shape of one example's inputs. `inputs` takes them out of a batch. Raises DataError."""
    if not isinstance(data.train, Items):
        return data
    batch = next(iter(data.train.batches(2, "cpu")), None)
    if batch is None:
        raise DataError(f"data {data.name!r}: its train split yields no batches")
    try:
        example = first_example(inputs(batch))
    except (TypeError, IndexError, KeyError, AttributeError, RuntimeError) as error:
        raise DataError(f"data {data.name!r}: the task cannot take the inputs out of a batch: {error}") from error
    shape = tuple(example.shape[1:]) if isinstance(example, Tensor) else ()
    image = len(shape) == 3
    return replace(data, example=example, channels=shape[0] if image else 1, image_size=max(shape[1:]) if image else 1)
