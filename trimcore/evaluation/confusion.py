"""Which classes a network confuses, and which confusions trimming made worse."""

from collections.abc import Generator, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from trimcore.compute.modes import in_mode
from trimcore.compute.outputs import scores_of
from trimcore.errors import DataError


def confusion(predicted: Tensor, labels: Tensor, classes: int) -> Tensor:
    """The confusion matrix: int64 (classes, classes), rows are true classes, columns are predictions.

    `predicted` is scores (N, classes), where ties go to the first class, or class numbers (N,); `labels` is (N,).
    Raises DataError for class numbers outside 0 to classes - 1.
    """
    predicted = predicted.argmax(1) if predicted.dim() > 1 else predicted
    for name, numbers in (("labels", labels), ("predictions", predicted)):
        if len(numbers) and (int(numbers.min()) < 0 or int(numbers.max()) >= classes):
            found = f"{int(numbers.min())} to {int(numbers.max())}"
            raise DataError(f"{name} range from {found}, but the classes are 0 to {classes - 1}")
    pairs = labels.cpu().long() * classes + predicted.cpu().long()
    return torch.bincount(pairs, minlength=classes * classes).view(classes, classes)


def confusing(model: nn.Module, loader: Iterable[Any], classes: int) -> Generator[int, None, Tensor]:
    """Compute the `confusion` of a network over a loader of (examples, class numbers), in evaluation mode. Yields the
    number of examples so far and returns the matrix. Raises DataError for an empty loader."""
    device, found, done = _device(model), torch.zeros(classes, classes, dtype=torch.int64), 0
    for x, labels in loader:
        with in_mode(model, training=False), torch.inference_mode():
            scores = model(x.to(device, non_blocking=True))
        found += confusion(scores_of(scores), labels, classes)
        done += len(x)
        yield done
    if not done:
        raise DataError("cannot compute a confusion matrix: the loader is empty")
    return found


def per_class_accuracy(matrix: Tensor) -> Tensor:
    """The accuracy of each class, float64 (classes,); NaN for a class without examples."""
    return matrix.diagonal().double() / matrix.sum(1)


def broken(before: Tensor, after: Tensor, most: int = 10) -> list[tuple[int, int, float, float]]:
    """The confusions that got worse: (true class, predicted class, share before, share after), as shares of the true
    class, the largest growth first, at most `most`. Confusions that did not grow and classes without examples are left
    out. Ties go to the first classes. Raises DataError if the matrices have different numbers of classes."""
    if before.shape != after.shape:
        raise DataError(f"cannot compare confusion matrices of {len(before)} and {len(after)} classes")
    was, now = (matrix.double() / matrix.sum(1, keepdim=True) for matrix in (before, after))
    pairs = ((now - was > 0) & ~torch.eye(len(was), dtype=torch.bool)).nonzero().tolist()
    pairs.sort(key=lambda pair: float(was[*pair] - now[*pair]))
    return [(true, wrong, float(was[true, wrong]), float(now[true, wrong])) for true, wrong in pairs[:most]]


def _device(model: nn.Module) -> torch.device:
    return next((p.device for p in model.parameters()), torch.device("cpu"))
