"""Accuracy and loss of a network on a split."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from trimcore.compute import distributed
from trimcore.compute.device import has_fast_bf16
from trimcore.compute.modes import in_mode
from trimcore.compute.outputs import scores_of
from trimcore.data.batches import Batches
from trimcore.data.dataset import Data
from trimcore.data.splits import Split

EVALUATION_BATCH = 500  # examples


@dataclass(frozen=True)
class Measure:
    """Accuracy (0..1) and mean cross-entropy over a split, measured in float32.

    `by_class` is the number of correct predictions per class, `class_examples` the number of examples. Both are empty
    if classes were not counted.
    """

    accuracy: float
    loss: float
    examples: int
    by_class: tuple[int, ...] = ()
    class_examples: tuple[int, ...] = ()

    @property
    def class_accuracy(self) -> list[float | None]:
        """The accuracy of each class, 0..1, rounded to 6 places; None for a class without examples."""
        pairs = zip(self.by_class, self.class_examples, strict=True)
        return [round(right / count, 6) if count else None for right, count in pairs]


def evaluate(model: nn.Module, split: Split, data: Data, device: torch.device) -> Measure:
    """Top-1 accuracy, overall and per class, and loss over all of `split`, in evaluation mode and float32. The mode is
    restored."""
    loss, outcomes = torch.zeros((), device=device), []
    with in_mode(model, training=False), torch.inference_mode():
        size, layout = EVALUATION_BATCH * distributed.world(), has_fast_bf16(device)
        for x, y in Batches(split, data, size, device, channels_last=layout, shared=True):
            output = scores_of(model(x))
            loss += F.cross_entropy(output, y, reduction="sum")
            outcomes.append(2 * y + (output.argmax(1) == y))  # class and correctness, in one number
    counts = torch.bincount(torch.cat(outcomes), minlength=2 * data.num_classes)  # only now, since it synchronises
    distributed.sum_(loss, counts)
    wrong, right = counts.view(-1, 2).T.tolist()
    examples = tuple(map(sum, zip(wrong, right, strict=True)))
    seen = sum(examples)
    return Measure(sum(right) / seen, float(loss) / seen, seen, tuple(right), examples)
