"""Four tasks on real pixels: handwritten digits of mnist-5k, placed on canvases of 64 pixels.

    python -m trimcore dashboard --use tests/examples/digits.py

It registers a U-Net that names the digit at each pixel, a small detector, and a network of convolutions that finds the
position of a digit (regression) or says which digits are there (multi-label).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

import trimcore as tc

SIZE, DIGIT = 64, 28
SPLITS = {"train": 0, "validation": 1, "test": 2}  # and the seeds of their canvases
COUNTS = {"train": 1200, "validation": 200, "test": 300}


class Canvases(Dataset):
    """`digits` digits on each canvas, at random places that only depend on the index. Items are (image, target): the
    image (channels, SIZE, SIZE) from 0 to 1, the target as `kind` says."""

    def __init__(self, part: str, kind: str, digits: int, channels: int = 1):
        self.split, self.seed = getattr(tc.load_data("mnist-5k"), part), SPLITS[part]
        self.part, self.kind, self.digits, self.channels = part, kind, digits, channels

    def __len__(self) -> int:
        return COUNTS[self.part]

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor | dict[str, Tensor]]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + index)
        image, classes = torch.zeros(SIZE, SIZE), torch.zeros(SIZE, SIZE, dtype=torch.long)
        boxes, labels = [], []
        for _ in range(self.digits):
            which = int(torch.randint(len(self.split), (), generator=generator))
            top, left = torch.randint(SIZE - DIGIT + 1, (2,), generator=generator).tolist()
            digit, label = self.split.image(which)[0].float() / 255, int(self.split.labels[which])
            part = image[top : top + DIGIT, left : left + DIGIT]
            torch.maximum(part, digit, out=part)
            ink = digit > 0.3
            classes[top : top + DIGIT, left : left + DIGIT][ink] = label + 1
            rows, columns = ink.any(1).nonzero().flatten(), ink.any(0).nonzero().flatten()
            boxes.append([left + columns[0], top + rows[0], left + columns[-1] + 1, top + rows[-1] + 1])
            labels.append(label)
        return image.expand(self.channels, -1, -1).clone(), self._target(classes, torch.tensor(boxes), labels)

    def _target(self, classes: Tensor, boxes: Tensor, labels: list[int]) -> Tensor | dict[str, Tensor]:
        if self.kind == "classes":
            return classes
        if self.kind == "boxes":
            return {"boxes": boxes.float(), "labels": torch.tensor(labels)}
        if self.kind == "position":
            return (boxes[0, :2] + boxes[0, 2:]).float() / 2
        return torch.zeros(10).index_fill(0, torch.tensor(labels), 1.0)


def splits(kind: str, digits: int, **how) -> dict:
    return {part: Canvases(part, kind, digits, **how) for part in SPLITS}


def as_lists(items: list) -> tuple[list, list]:
    """A batch for a detector: a list of images and a list of targets."""
    images, targets = zip(*items, strict=True)
    return list(images), list(targets)


@tc.register_data("digits-segmentation", "which digit is at each pixel of a canvas", task="segmentation")
def segmentation() -> tc.OwnData:
    return tc.OwnData(**splits("classes", 3), classes=["background", *map(str, range(10))])


@tc.register_data("digits-detection", "boxes around the digits on a canvas", task="detection")
def detection() -> tc.OwnData:
    return tc.OwnData(**splits("boxes", 2), classes=[*map(str, range(10))], collate=as_lists)


@tc.register_data("digits-position", "where the digit on a canvas is, in pixels", task="regression")
def position() -> tc.OwnData:
    return tc.OwnData(**splits("position", 1), classes=["x", "y"])


@tc.register_data("digits-present", "which digits are on a canvas", task="multi-label")
def present() -> tc.OwnData:
    return tc.OwnData(**splits("labels", 3), classes=[*map(str, range(10))])


# ---- networks


def block(inputs: int, outputs: int) -> nn.Sequential:
    layers = [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    layers += [nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)


@tc.register("digits-unet", "a U-Net with three levels, for segmentation")
class UNet(nn.Module):
    def __init__(self, num_classes: int = 11, in_channels: int = 1, width: int = 16):
        super().__init__()
        self.down1, self.down2 = block(in_channels, width), block(width, 2 * width)
        self.down3 = block(2 * width, 4 * width)
        self.up2, self.up1 = nn.ConvTranspose2d(4 * width, 2 * width, 2, 2), nn.ConvTranspose2d(2 * width, width, 2, 2)
        self.join2, self.join1 = block(4 * width, 2 * width), block(2 * width, width)
        self.head = nn.Conv2d(width, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        fine = self.down1(x)
        middle = self.down2(F.max_pool2d(fine, 2))
        coarse = self.down3(F.max_pool2d(middle, 2))
        middle = self.join2(torch.cat([self.up2(coarse), middle], 1))
        return self.head(self.join1(torch.cat([self.up1(middle), fine], 1)))


@tc.register("digits-convolutions", "five convolutions and two linear layers, for regression and multi-label")
class Convolutions(nn.Sequential):
    def __init__(self, num_classes: int = 10, in_channels: int = 1):
        widths = ((in_channels, 16), (16, 32), (32, 64))
        pooled = [layer for pair in widths for layer in (*block(*pair), nn.MaxPool2d(2))]
        dense = [nn.Linear(64 * (SIZE // 8) ** 2, 64), nn.ReLU(), nn.Linear(64, num_classes)]
        super().__init__(*pooled, nn.Flatten(), *dense)


@tc.register("digits-detector", "a detector by centre points, for detection")
class CentreDetector(nn.Module):
    """Finds objects as peaks of a heatmap with a size at each (Zhou et al. 2019, arXiv 1904.07850), at a quarter of the
    resolution. It keeps torchvision's conventions for detectors."""

    STRIDE, MOST = 4, 10

    def __init__(self, num_classes: int = 10, in_channels: int = 1, width: int = 24):
        super().__init__()
        self.body = nn.Sequential(
            block(in_channels, width), nn.MaxPool2d(2), block(width, 2 * width), nn.MaxPool2d(2),
            block(2 * width, 4 * width), block(4 * width, 4 * width),
        )  # fmt: skip
        self.heat, self.box = nn.Conv2d(4 * width, num_classes, 1), nn.Conv2d(4 * width, 4, 1)
        nn.init.constant_(self.heat.bias, -3.0)  # few places are centres

    def forward(self, images: Tensor, targets: list[dict[str, Tensor]] | None = None):
        features = self.body(images)
        heat, box = self.heat(features), self.box(features)
        return self._losses(heat, box, targets) if self.training else self._found(heat.sigmoid(), box)

    def _losses(self, heat: Tensor, box: Tensor, targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        wanted, size_loss, count = torch.zeros_like(heat), heat.new_zeros(()), 0
        rows = torch.arange(heat.shape[2], device=heat.device)[:, None]
        columns = torch.arange(heat.shape[3], device=heat.device)[None]
        for number, target in enumerate(targets):
            for (x1, y1, x2, y2), label in zip(target["boxes"].tolist(), target["labels"].tolist(), strict=True):
                x, y = (x1 + x2) / 2 / self.STRIDE, (y1 + y2) / 2 / self.STRIDE
                column, row = int(x), int(y)
                bump = torch.exp(-((columns - column) ** 2 + (rows - row) ** 2) / 2.0)
                wanted[number, label] = torch.maximum(wanted[number, label], bump.to(wanted))
                true = heat.new_tensor([x - column, y - row, (x2 - x1) / 16, (y2 - y1) / 16])
                size_loss = size_loss + F.l1_loss(box[number, :, row, column], true, reduction="sum")
                count += 1
        share = heat.sigmoid().clamp(1e-4, 1 - 1e-4)
        centres = wanted == 1
        found = ((1 - share) ** 2 * share.log())[centres].sum()
        missed = ((1 - wanted) ** 4 * share**2 * (1 - share).log())[~centres].sum()
        return {"centres": -(found + missed) / max(count, 1), "boxes": size_loss / max(count, 1)}

    def _found(self, heat: Tensor, box: Tensor) -> list[dict[str, Tensor]]:
        peaks = heat * (F.max_pool2d(heat, 3, 1, 1) == heat)
        images, classes, rows, columns = heat.shape
        scores, places = peaks.flatten(1).topk(self.MOST)
        labels, places = places // (rows * columns), places % (rows * columns)
        shift_x, shift_y, width, height = box.flatten(2).gather(2, places[:, None].expand(-1, 4, -1)).unbind(1)
        x, y = (places % columns + shift_x) * self.STRIDE, (places // columns + shift_y) * self.STRIDE
        boxes = torch.stack([x - 8 * width, y - 8 * height, x + 8 * width, y + 8 * height], 2)
        each = zip(boxes, labels, scores, strict=True)
        return [{"boxes": own, "labels": label, "scores": score} for own, label, score in each]
