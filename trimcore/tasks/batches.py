"""The inputs in the batches of a task, for passes that only need to run the network."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from trimcore.tasks.task import Task


@dataclass(frozen=True)
class InputBatches:
    """Iterates over batches as pairs (inputs, targets), with the inputs as the network is called with them."""

    batches: Iterable[Any]
    task: Task

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        for batch in self.batches:
            targets = batch[1] if isinstance(batch, tuple | list) and len(batch) > 1 else None
            yield self.task.inputs(batch), targets
