"""The metrics of a network on a split."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from trimcore.compute import distributed
from trimcore.compute.inputs import call, count
from trimcore.compute.layout import is_channels_last
from trimcore.compute.modes import in_mode, unchanged
from trimcore.compute.outputs import scores_of
from trimcore.data.batches import Batches
from trimcore.data.dataset import Data, Split
from trimcore.errors import DataError
from trimcore.tasks.classification import Classification
from trimcore.tasks.task import Tally, Task

EVALUATION_BATCH = 500  # examples
OWN_BATCH = 32  # examples of the user's own data, which may be large


@dataclass(frozen=True)
class Measure:
    """A network's metrics on a split, measured in float32.

    `value` is the headline metric: for classification, accuracy (0..1). `loss` is the mean cross-entropy, None for
    other tasks. `by_class` is the number of correct predictions per class, `class_examples` the number of examples.
    Both are empty if classes were not counted. `metrics` are all metrics of other tasks, by name.
    """

    value: float
    loss: float | None
    examples: int
    by_class: tuple[int, ...] = ()
    class_examples: tuple[int, ...] = ()
    metrics: dict[str, float] = field(default_factory=dict)

    @property
    def accuracy(self) -> float:
        """The accuracy of a classification."""
        return self.value

    @property
    def class_accuracy(self) -> list[float | None]:
        """The accuracy of each class, 0..1, rounded to 6 places; None for a class without examples."""
        pairs = zip(self.by_class, self.class_examples, strict=True)
        return [round(right / count, 6) if count else None for right, count in pairs]


def evaluate(model: nn.Module, split: Split, data: Data, device: torch.device, task: Task | None = None) -> Measure:
    """The metrics over all of `split`, in evaluation mode and float32. The mode is restored. `task` defaults to
    classification, whose accuracy is also counted per class. Raises TrimError if the network changes its weights."""
    size = evaluation_batch(data) * distributed.world()
    batches = Batches(split, data, size, device, channels_last=is_channels_last(model), shared=True)
    if task is not None and not isinstance(task, Classification):
        return measured(model, batches, task, device)
    loss, outcomes = torch.zeros((), device=device), []
    with unchanged(model), in_mode(model, training=False), torch.inference_mode():
        for x, labels in batches:
            y = labels.long()
            output = scores_of(call(model, x))
            loss += F.cross_entropy(output, y, reduction="sum")
            outcomes.append(2 * y + (output.argmax(1) == y))  # class and correctness, in one number
    counts = torch.bincount(torch.cat(outcomes), minlength=2 * data.num_classes)  # only now, since it synchronises
    distributed.sum_(loss, counts)
    wrong, right = counts.view(-1, 2).T.tolist()
    examples = tuple(map(sum, zip(wrong, right, strict=True)))
    seen = sum(examples)
    return Measure(sum(right) / seen, float(loss) / seen, seen, tuple(right), examples)


def evaluation_batch(data: Data) -> int:
    """The number of examples to evaluate at once."""
    return OWN_BATCH if data.is_own else EVALUATION_BATCH


def measured(model: nn.Module, batches: Iterable[Any], task: Task, device: torch.device) -> Measure:
    """The metrics of a task over batches on the device, in evaluation mode. Raises DataError if there are none."""
    tally, seen = Tally(task, device), 0
    with unchanged(model), in_mode(model, training=False), torch.inference_mode():
        for batch in batches:
            tally.add(*task.predict(model, batch))
            seen += count(task.inputs(batch))
    if not seen:
        raise DataError("cannot measure the network: the loader is empty")
    values = tally.values()
    (seen,) = distributed.totals([seen])
    return Measure(next(iter(values.values())), None, seen, metrics=values)
