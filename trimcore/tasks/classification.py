"""Classification: one class per image. Its loss is built by `training.losses`, and its accuracy is counted exactly."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trimcore.compute.inputs import call
from trimcore.compute.outputs import scores_of
from trimcore.errors import DataError
from trimcore.tables.metric import ACCURACY, Metric
from trimcore.tasks.task import Task


class Classification(Task):
    """One of `outputs` classes. Targets are class numbers (B,). Headline: accuracy."""

    name = "classification"

    @property
    def metric(self) -> Metric:
        return ACCURACY

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        return F.cross_entropy(scores_of(call(model, batch[0])), batch[1])

    def metrics(self) -> dict[str, Any]:
        from torchmetrics.classification import MulticlassAccuracy

        return {"accuracy": MulticlassAccuracy(self.outputs, average="micro")}

    def check(self, batch: Any) -> None:
        super().check(batch)
        check_classes(batch[1], self.outputs, dims=1)


def check_classes(targets: Any, classes: int, dims: int, ignored: int | None = None) -> None:
    """Raise DataError unless `targets` are class numbers from 0 to `classes` - 1, or `ignored`, with `dims`
    dimensions."""
    if not isinstance(targets, Tensor) or targets.is_floating_point() or targets.dtype == torch.bool:
        found = targets.dtype if isinstance(targets, Tensor) else type(targets).__name__
        raise DataError(f"targets must be a tensor of class numbers, not {found}")
    if targets.dim() != dims:
        raise DataError(f"targets must be class numbers of {dims} dimensions, not of shape {tuple(targets.shape)}")
    counted = targets if ignored is None else targets[targets != ignored]
    if len(counted) and not 0 <= int(counted.min()) <= int(counted.max()) < classes:
        found = f"{int(counted.min())} to {int(counted.max())}"
        raise DataError(f"labels range from {found}, but there are {classes} classes: 0 to {classes - 1}")
