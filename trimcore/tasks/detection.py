"""Object detection, by torchvision's conventions: the model itself computes its losses in training mode."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from trimcore.errors import DataError, SpecError
from trimcore.tasks.task import Task


class Detection(Task):
    """A batch is (images, targets): images (C, H, W) of one size, and a dict per image with `boxes` (N, 4) as x1, y1,
    x2, y2 in pixels and `labels` (N,) from 0 to outputs - 1. In training mode, `model(images, targets)` returns a dict
    of losses, which are added. In evaluation mode, `model(images)` returns a dict per image with `boxes`, `labels` and
    `scores`. Headline: mean average precision as COCO defines it (box mAP at IoU 0.5 to 0.95); also at 0.5."""

    name = "detection"

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        losses = model(self.inputs(batch), batch[1])
        if not isinstance(losses, dict) or not losses:
            raise SpecError(f"in training mode, a detector returns a dict of losses, not {type(losses).__name__}")
        return torch.stack([loss.float().sum() for loss in losses.values()]).sum()

    def metrics(self) -> dict[str, Any]:
        try:
            from torchmetrics.detection import MeanAveragePrecision

            return {"mAP": MeanAveragePrecision()}
        except ImportError:
            raise SpecError("task 'detection' needs pycocotools: pip install pycocotools") from None

    def values(self, computed: dict[str, Any]) -> dict[str, Any]:
        return {"mAP": computed["mAP"]["map"], "mAP50": computed["mAP"]["map_50"]}

    def inputs(self, batch: Any) -> Tensor:
        images = batch[0]
        return images if isinstance(images, Tensor) else torch.stack(list(images))

    def predict(self, model: nn.Module, batch: Any) -> tuple[Any, Any]:
        return model(self.inputs(batch)), list(batch[1])

    def check(self, batch: Any) -> None:
        super().check(batch)
        images, targets = batch
        if len({tuple(image.shape) for image in images}) > 1:
            raise DataError("the images of a batch have different sizes; resize them to one size")
        if not isinstance(targets, Sequence) or len(targets) != len(images):
            raise DataError("targets must be a list with one dict per image")
        for target in targets:
            boxes = target.get("boxes") if isinstance(target, dict) else None
            if boxes is None or "labels" not in target or boxes.dim() != 2 or boxes.shape[1] != 4:
                raise DataError("each target must be a dict with boxes (N, 4) and labels (N,)")
            labels = target["labels"]
            if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < self.outputs:
                found = f"{int(labels.min())} to {int(labels.max())}"
                raise DataError(f"labels range from {found}, but there are {self.outputs} classes")
