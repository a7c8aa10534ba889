"""Semantic segmentation: a class for each pixel."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from trimcore.compute.inputs import call
from trimcore.compute.outputs import scores_of
from trimcore.tasks.classification import check_classes
from trimcore.tasks.task import Task

IGNORED = 255  # pixels with this target count neither in the loss nor in the metrics


class Segmentation(Task):
    """Targets are class numbers (B, H, W), 255 for pixels to ignore. The network returns scores (B, outputs, H, W); of
    another size, they are resized bilinearly. Loss: cross-entropy. Headline: the mean over classes of intersection over
    union; also the share of right pixels."""

    name = "segmentation"

    def _scores(self, model: nn.Module, batch: Any) -> Tensor:
        scores: Tensor = scores_of(call(model, batch[0])).float()
        if scores.shape[-2:] != batch[1].shape[-2:]:
            scores = F.interpolate(scores, batch[1].shape[-2:], mode="bilinear")
        return scores

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        return F.cross_entropy(self._scores(model, batch), batch[1].long(), ignore_index=IGNORED)

    def metrics(self) -> dict[str, Any]:
        from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

        return {
            "mIoU": MulticlassJaccardIndex(self.outputs, ignore_index=IGNORED),
            "pixel accuracy": MulticlassAccuracy(self.outputs, average="micro", ignore_index=IGNORED),
        }

    def predict(self, model: nn.Module, batch: Any) -> tuple[Any, Any]:
        return self._scores(model, batch).argmax(1), batch[1].long()

    def check(self, batch: Any) -> None:
        super().check(batch)
        check_classes(batch[1], self.outputs, dims=3, ignored=IGNORED)
