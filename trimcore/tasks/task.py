"""A task: a loss to train with, and torchmetrics to judge a network by."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from trimcore.compute.inputs import call
from trimcore.compute.outputs import scores_of
from trimcore.errors import DataError, TrimError, first_line
from trimcore.tables.metric import Metric


class Task:
    """What a network learns. Subclass it for your own task: override `loss` and `metrics`, and the rest where needed.

    A batch is what the data loader yields, on the device: by default a pair (inputs, targets).

    >>> class Depth(Task):
    ...     name = "depth"
    ...     def loss(self, model, batch):
    ...         return torch.nn.functional.l1_loss(model(batch[0]), batch[1])
    ...     def metrics(self):
    ...         import torchmetrics
    ...         return {"RMSE": torchmetrics.MeanSquaredError(squared=False)}
    >>> Depth().metric
    Metric(name='RMSE', higher_is_better=False, percent=False)
    """

    name = "own"
    outputs = 1  # the number of outputs that the data ask of the network: classes, labels or values

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """The loss to minimise, a scalar: the mean over the batch. `model` is in training mode."""
        raise NotImplementedError(f"task {self.name!r} has no loss")

    def metrics(self) -> Mapping[str, Any]:
        """The torchmetrics by name. The first is the headline, whose direction is its `higher_is_better`."""
        raise NotImplementedError(f"task {self.name!r} has no metrics")

    def inputs(self, batch: Any) -> Any:
        """What the model is called with in evaluation: a tensor, or a tuple of positional inputs."""
        return batch[0]

    def predict(self, model: nn.Module, batch: Any) -> tuple[Any, Any]:
        """Predictions and targets, as the metrics take them. `model` is in evaluation mode."""
        return scores_of(call(model, self.inputs(batch))), batch[1]

    def values(self, computed: dict[str, Any]) -> dict[str, Any]:
        """The numbers to record, by name, from what each metric computed. The headline comes first."""
        return computed

    def check(self, batch: Any) -> None:
        """Raise DataError for a batch that the task cannot learn from. It is still on the CPU. By default, batches are
        pairs, unless `inputs` is overridden."""
        if type(self).inputs is not Task.inputs:
            return
        if not isinstance(batch, tuple | list) or len(batch) != 2:
            found = f"{len(batch)} values" if isinstance(batch, tuple | list) else type(batch).__name__
            needed = "needs batches of (inputs, targets), or its own inputs(batch)"
            raise DataError(f"task {self.name!r} {needed}, not {found}")

    @property
    def metric(self) -> Metric:
        """The headline metric. Bounded by 0 and 1, it is written in percent."""
        metrics = self.metrics()
        if not metrics:
            raise TrimError(f"task {self.name!r} has no metrics; the first one is the headline")
        name, first = next(iter(metrics.items()))
        higher = getattr(first, "higher_is_better", None)
        if higher is None:
            raise TrimError(f"task {self.name!r}: metric {name!r} does not say whether higher is better")
        bounds = getattr(first, "plot_lower_bound", None), getattr(first, "plot_upper_bound", None)
        return Metric(name, bool(higher), bounds == (0.0, 1.0))


class Tally:
    """Adds up a task's metrics over batches."""

    def __init__(self, task: Task, device: torch.device):
        self.task, self.metrics = task, task.metrics()
        for metric in self.metrics.values():
            metric.to(device)

    def add(self, predictions: Any, targets: Any) -> None:
        for name, metric in self.metrics.items():
            try:
                metric.update(predictions, targets)
            except (ValueError, RuntimeError, TypeError, IndexError, KeyError) as error:
                raise TrimError(
                    f"task {self.task.name!r}: metric {name!r} refuses a batch: {first_line(error)}"
                ) from error

    def values(self) -> dict[str, float]:
        """Each metric's value. Raises TrimError for a value that is not a finite number."""
        computed = {name: metric.compute() for name, metric in self.metrics.items()}
        return {name: self._number(name, found) for name, found in self.task.values(computed).items()}

    def _number(self, name: str, found: Any) -> float:
        try:
            number = float(found)
        except (TypeError, ValueError, RuntimeError):
            raise TrimError(f"task {self.task.name!r}: metric {name!r} gives {found!r}, not a number") from None
        if not math.isfinite(number):
            raise TrimError(f"task {self.task.name!r}: metric {name!r} is {number}")
        return number
