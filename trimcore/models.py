"""The architectures that can be built by name. A new one joins with one `@register` line.

Every builder takes `num_classes`, `in_channels` and `image_size`, so that one architecture serves several data sets.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trimcore.errors import SpecError

IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])  # what torchvision's ImageNet weights expect


@dataclass(frozen=True)
class Architecture:
    """An entry of the registry.

    `channels` and `image_size` are what the network wants of its input, or None where it takes what the data has;
    `normalize` is (mean, std) per channel, or None for the statistics of the training split.
    """

    name: str
    description: str
    builder: Callable[..., nn.Module]
    channels: int | None = None
    image_size: int | None = None
    min_size: int = 1
    normalize: tuple[list[float], list[float]] | None = None
    pretrained: Callable[[], dict[str, Tensor]] | None = None  # a state dict, downloaded when there is a network
    initialise: Callable[[nn.Module], None] | None = None  # what the builder does beyond PyTorch's own initial weights


REGISTRY: dict[str, Architecture] = {}


def register(name: str, description: str, **wants):
    """Decorate a builder `(num_classes, in_channels, image_size) -> nn.Module` so that it can be built by name."""

    def add(builder: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
        REGISTRY[name] = Architecture(name, description, builder, **wants)
        return builder

    return add


def architecture(name: str) -> Architecture:
    """The registry's entry. Raises SpecError naming the ones that exist."""
    if name not in REGISTRY:
        raise SpecError(f"unknown model {name!r}; there are {', '.join(REGISTRY)}")
    return REGISTRY[name]


def build(name: str, num_classes: int = 10, in_channels: int | None = None, image_size: int | None = None) -> nn.Module:
    """A fresh network with new weights, in training mode.

    >>> sum(p.numel() for p in build("lenet5").parameters())
    431080

    Raises SpecError for an unknown name or an image too small for the architecture.
    """
    entry = architecture(name)
    in_channels = in_channels or entry.channels or 1
    image_size = image_size or entry.image_size or max(28, entry.min_size)
    if image_size < entry.min_size:
        raise SpecError(f"{name} needs images of at least {entry.min_size} pixels, not {image_size}")
    return entry.builder(num_classes=num_classes, in_channels=in_channels, image_size=image_size)


def renew(name: str, model: nn.Module) -> nn.Module:
    """Give `model`, whatever its widths, new weights as its builder would. Changes `model`."""
    for module in model.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    if initialise := architecture(name).initialise:
        initialise(model)
    return model


class LeNet5(nn.Module):
    """Caffe's LeNet: 20@5x5, pool, 50@5x5, pool, 500, classes; each hidden layer is followed by a ReLU.

    Input (N, in_channels, image_size, image_size), output (N, num_classes).
    """

    def __init__(self, num_classes: int, in_channels: int, image_size: int):
        super().__init__()
        side = ((image_size - 4) // 2 - 4) // 2  # after two 5x5 convolutions and two poolings
        self.conv1 = nn.Conv2d(in_channels, 20, 5)
        self.relu1 = nn.ReLU()
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(20, 50, 5)
        self.relu2 = nn.ReLU()
        self.pool2 = nn.MaxPool2d(2)
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(50 * side * side, 500)
        self.relu3 = nn.ReLU()
        self.fc2 = nn.Linear(500, num_classes)

    def forward(self, x: Tensor) -> Tensor:  # (N, C, S, S)
        x = self.pool1(self.relu1(self.conv1(x)))  # (N, 20, (S-4)/2, (S-4)/2)
        x = self.pool2(self.relu2(self.conv2(x)))  # (N, 50, side, side)
        x = self.relu3(self.fc1(self.flatten(x)))  # (N, 500)
        return self.fc2(x)


@register("lenet5", "Caffe's LeNet, 20-50-500: two convolutions and one hidden layer; trains in seconds", min_size=16)
def lenet5(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    return LeNet5(num_classes, in_channels, image_size)


def _vgg16_imagenet() -> dict[str, Tensor]:
    from torchvision.models import VGG16_Weights

    return VGG16_Weights.IMAGENET1K_V1.get_state_dict(progress=False, check_hash=True)


def _initialise_vgg16(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, 0.01)
            nn.init.zeros_(module.bias)


@register(
    "vgg16",
    "torchvision's VGG-16, 138 million parameters, for 224-pixel colour images; ImageNet weights to be had",
    channels=3,
    image_size=224,
    min_size=32,
    normalize=IMAGENET,
    pretrained=_vgg16_imagenet,
    initialise=_initialise_vgg16,
)
def vgg16(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    from torchvision.models import vgg16 as torchvision_vgg16

    if in_channels != 3:
        raise SpecError(f"vgg16 takes 3 channels, not {in_channels}")
    return torchvision_vgg16(num_classes=num_classes)


VGG16_WIDTHS = (64, 64, "pool", 128, 128, "pool", 256, 256, 256, "pool", 512, 512, 512, "pool", 512, 512, 512)


def _initialise_vgg16_small(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


class VGG16Small(nn.Module):
    """VGG-16's thirteen convolutions, each with BatchNorm, and a 512-512 classifier, for images of 28 to 64 pixels.

    Layers are called conv1_1 .. conv5_3, fc6, fc7, fc8, as in the VGG paper. Input (N, in_channels, S, S).
    """

    def __init__(self, num_classes: int, in_channels: int):
        super().__init__()
        self.features = nn.Sequential()
        block, index, channels = 1, 1, in_channels
        for width in VGG16_WIDTHS:
            if width == "pool":
                self.features.add_module(f"pool{block}", nn.MaxPool2d(2, ceil_mode=True))
                block, index = block + 1, 1
                continue
            self.features.add_module(f"conv{block}_{index}", nn.Conv2d(channels, width, 3, padding=1, bias=False))
            self.features.add_module(f"norm{block}_{index}", nn.BatchNorm2d(width))
            self.features.add_module(f"relu{block}_{index}", nn.ReLU(inplace=True))
            channels, index = width, index + 1
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Sequential()
        self.classifier.add_module("fc6", nn.Linear(channels, 512))
        self.classifier.add_module("relu6", nn.ReLU(inplace=True))
        self.classifier.add_module("drop6", nn.Dropout(0.5))
        self.classifier.add_module("fc7", nn.Linear(512, 512))
        self.classifier.add_module("relu7", nn.ReLU(inplace=True))
        self.classifier.add_module("drop7", nn.Dropout(0.5))
        self.classifier.add_module("fc8", nn.Linear(512, num_classes))
        _initialise_vgg16_small(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.flatten(self.pool(self.features(x))))


@register(
    "vgg16-small",
    "VGG-16's thirteen convolutions with BatchNorm and a 512-512 classifier, for images of 28 to 64 pixels",
    min_size=28,
    initialise=_initialise_vgg16_small,
)
def vgg16_small(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    return VGG16Small(num_classes, in_channels)


def empty(name: str, **arguments) -> nn.Module:
    """Like `build`, on the meta device: shapes without memory, for planning and for checking checkpoints."""
    with torch.device("meta"):
        return build(name, **arguments)


def example_input(arguments: dict[str, int], batch: int = 1) -> Tensor:
    """A batch of zeros (batch, C, S, S) of the shape that a network built with these arguments takes."""
    return torch.zeros(batch, arguments["in_channels"], arguments["image_size"], arguments["image_size"])
