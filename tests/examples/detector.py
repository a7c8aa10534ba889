"""Trim a detector of torchvision in a training loop of one's own, and watch it on the page Run.

    python -m tests.examples.detector
"""

import torch
from torch.utils.data import DataLoader, Subset
from torchmetrics.detection import MeanAveragePrecision
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead

import trimcore as tc
from tests.examples.digits import SIZE, Canvases, as_lists


def faster_rcnn() -> FasterRCNN:
    """A Faster R-CNN with a ResNet-18, for small images with ten classes and the background."""
    backbone = resnet_fpn_backbone(
        backbone_name="resnet18", weights=None, norm_layer=torch.nn.BatchNorm2d, trainable_layers=5, returned_layers=[2]
    )  # fmt: skip
    anchors = AnchorGenerator(((20,), (28,)), ((0.5, 1.0),) * 2)
    return FasterRCNN(
        backbone, min_size=SIZE, max_size=SIZE, rpn_anchor_generator=anchors, box_head=TwoMLPHead(256 * 49, 128),
        box_predictor=FastRCNNPredictor(128, 11), image_mean=[0.1] * 3, image_std=[0.3] * 3,
        box_batch_size_per_image=64, rpn_pre_nms_top_n_train=200, rpn_post_nms_top_n_train=100,
        rpn_pre_nms_top_n_test=100, rpn_post_nms_top_n_test=50,
    )  # fmt: skip


def loader(part: str, count: int, shuffle: bool = False) -> DataLoader:
    """Canvases with two digits; class 0 is the background."""

    def batch(items: list) -> tuple[list, list]:
        images, targets = as_lists(items)
        return images, [{**target, "labels": target["labels"] + 1} for target in targets]

    return DataLoader(Subset(Canvases(part, "boxes", 2, channels=3), range(count)), 8, shuffle, collate_fn=batch)


def main(count: int = 800, epochs: int = 5, cuts: int = 2, runs: str | None = None) -> None:
    torch.manual_seed(0)
    detector = faster_rcnn()
    train, validation, test = loader("train", count, True), loader("validation", count // 8), loader("test", count // 8)

    def train_epoch(lr: float) -> float:
        optimizer, losses = torch.optim.AdamW(detector.parameters(), lr), []
        for images, targets in train:
            loss = sum(detector.train()(images, targets).values())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
            run.step(len(losses), len(train))
        return sum(losses) / len(losses)

    @torch.no_grad()
    def mean_ap(batches: DataLoader) -> float:
        metric = MeanAveragePrecision()
        for images, targets in batches:
            metric.update(detector.eval()(images), targets)
        return float(metric.compute()["map"])

    example, metric = torch.zeros(1, 3, SIZE, SIZE), tc.Metric("mAP")
    with tc.record(detector.backbone, example, whole=detector, metric=metric, data="digits on canvases",
                   iterations=cuts, runs=runs) as run:  # fmt: skip
        for _ in range(epochs):
            run.epoch(train_epoch(1e-3), mean_ap(validation))
        run.final(mean_ap(test), mean_ap(validation))
        for _ in range(cuts):
            profile = run.profile(detector.transform(images)[0].tensors for images, _ in validation)
            detector.backbone = run.prune(tc.plan(profile, tc.Fraction(0.25)))
            run.initial(mean_ap(test), mean_ap(validation))
            run.epoch(train_epoch(5e-4), mean_ap(validation))
            run.final(mean_ap(test), mean_ap(validation))


if __name__ == "__main__":
    main()
