"""Regression: one or more real values per example."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from trimcore.compute.inputs import call
from trimcore.compute.outputs import scores_of
from trimcore.errors import DataError
from trimcore.tasks.task import Task


class Regression(Task):
    """Targets are finite values, (B, outputs), or (B,) for one value. Loss: mean squared error. Headline: mean
    absolute error; also the root mean squared error."""

    name = "regression"

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        found = scores_of(call(model, batch[0])).float()
        return F.mse_loss(found, batch[1].float().view_as(found))

    def metrics(self) -> dict[str, Any]:
        import torchmetrics

        return {"MAE": torchmetrics.MeanAbsoluteError(), "RMSE": torchmetrics.MeanSquaredError(squared=False)}

    def predict(self, model: nn.Module, batch: Any) -> tuple[Any, Any]:
        found, targets = super().predict(model, batch)
        return found.float().flatten(), targets.float().flatten()

    def check(self, batch: Any) -> None:
        super().check(batch)
        targets = batch[1]
        shape = tuple(targets.shape) if isinstance(targets, Tensor) else type(targets).__name__
        if not isinstance(targets, Tensor) or targets[0].numel() != self.outputs:
            raise DataError(f"targets must be {self.outputs} value(s) per example, not of shape {shape}")
        if not targets.double().isfinite().all():
            raise DataError("targets must be finite, but some are NaN or infinite")
