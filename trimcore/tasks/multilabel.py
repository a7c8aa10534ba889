"""Multi-label classification: any number of labels per example."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from trimcore.compute.inputs import call
from trimcore.compute.outputs import scores_of
from trimcore.errors import DataError
from trimcore.tasks.task import Task


class MultiLabel(Task):
    """Targets are 0 or 1 for each label, (B, outputs). The network returns one score per label: the logit of its
    probability. Loss: binary cross-entropy. Headline: the F1 score over all decisions; also the share of right ones."""

    name = "multi-label"

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        scores = scores_of(call(model, batch[0]))
        return F.binary_cross_entropy_with_logits(scores.float(), batch[1].float())

    def metrics(self) -> dict[str, Any]:
        from torchmetrics.classification import MultilabelAccuracy, MultilabelF1Score

        return {
            "F1": MultilabelF1Score(self.outputs, average="micro"),
            "label accuracy": MultilabelAccuracy(self.outputs, average="micro"),
        }

    def predict(self, model: nn.Module, batch: Any) -> tuple[Any, Any]:
        scores, targets = super().predict(model, batch)
        return scores.sigmoid(), targets.long()

    def check(self, batch: Any) -> None:
        super().check(batch)
        targets = batch[1]
        if not isinstance(targets, Tensor) or targets.dim() != 2 or targets.shape[1] != self.outputs:
            found = tuple(targets.shape) if isinstance(targets, Tensor) else type(targets).__name__
            raise DataError(f"targets must be 0 or 1 for each of {self.outputs} labels, not of shape {found}")
        if not ((targets == 0) | (targets == 1)).all():
            raise DataError(f"targets must be 0 or 1 for each label, but range from {targets.min()} to {targets.max()}")
