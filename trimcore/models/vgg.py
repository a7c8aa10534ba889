"""VGG-16 for small images, and maxout variants for small and large images (Rueda et al. 2017, arXiv 1707.06838)."""

from collections import OrderedDict
from typing import cast

from torch import Tensor, nn

from trimcore.models import units
from trimcore.models.architecture import Architecture
from trimcore.models.torchvision import IMAGENET

VGG16_WIDTHS = (64, 64, "pool", 128, 128, "pool", 256, 256, 256, "pool", 512, 512, 512, "pool", 512, 512, 512)


class VGG16Small(nn.Module):
    """VGG-16's thirteen convolutions, each with BatchNorm, and a 512-512 classifier, for images of 28 to 64 pixels.

    Layers are named conv1_1 .. conv5_3, fc6, fc7, fc8, as in the VGG paper. Input (N, in_channels, S, S). If `k` is
    set, the `width` neurons of fc6 and of fc7 feed maxout units of `k`, after ReLU and dropout.
    """

    def __init__(self, num_classes: int, in_channels: int, image_size: int, k: int = 0, width: int = 512):
        super().__init__()
        self.features = nn.Sequential()
        block, index, channels = 1, 1, in_channels
        for outputs in VGG16_WIDTHS:
            if isinstance(outputs, str):  # "pool"
                self.features.add_module(f"pool{block}", nn.MaxPool2d(2, ceil_mode=True))
                block, index = block + 1, 1
                continue
            self.features.add_module(f"conv{block}_{index}", nn.Conv2d(channels, outputs, 3, padding=1, bias=False))
            self.features.add_module(f"norm{block}_{index}", nn.BatchNorm2d(outputs))
            self.features.add_module(f"relu{block}_{index}", nn.ReLU(inplace=True))
            channels, index = outputs, index + 1
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Sequential()
        for number in (6, 7):
            self.classifier.add_module(f"fc{number}", nn.Linear(channels, width))
            self.classifier.add_module(f"relu{number}", nn.ReLU(inplace=True))
            self.classifier.add_module(f"drop{number}", nn.Dropout(0.5))
            if k:
                self.classifier.add_module(f"maxout{number}", units.maximum(k))
            channels = units.count(width, k)
        self.classifier.add_module("fc8", nn.Linear(channels, num_classes))
        for module in self.features:
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.classifier(self.flatten(self.pool(self.features(x))))
        return scores


def vgg16_maxout(num_classes: int, in_channels: int, image_size: int, k: int, width: int) -> nn.Module:
    """torchvision's VGG-16 with two hidden linear layers of `width` neurons each, in maxout units of `k`.

    Dropout and maxout share the dropout's index in the Sequential, so weights keep torchvision's names.
    """
    from torchvision.models import get_model

    outputs = units.count(width, k)
    network: nn.Module = get_model("vgg16", num_classes=num_classes)
    linear = cast(nn.Sequential, network.classifier)
    linear[0], linear[3] = _linear(512 * 7 * 7, width), _linear(outputs, width)
    linear[6] = _linear(outputs, num_classes)
    for place in (2, 5):
        linear[place] = nn.Sequential(OrderedDict(drop=linear[place], maxout=units.maximum(k)))
    return network


def _linear(inputs: int, outputs: int) -> nn.Linear:
    """A linear layer with torchvision's initialisation for VGG."""
    layer = nn.Linear(inputs, outputs)
    nn.init.normal_(layer.weight, 0, 0.01)
    nn.init.zeros_(layer.bias)
    return layer


VGG16_SMALL = Architecture(
    "vgg16-small",
    "VGG-16's thirteen convolutions with BatchNorm and a 512-512 classifier, for images of 28 to 64 pixels",
    VGG16Small,
    min_size=28,
)
VGG16_SMALL_MAXOUT = Architecture(
    "vgg16-small-maxout",
    "VGG-16's thirteen convolutions with BatchNorm and a 512-512 maxout classifier, for images of 28 to 64 pixels",
    VGG16Small,
    min_size=28,
    options=units.options(512, "fc6 and in fc7"),
)
VGG16_MAXOUT = Architecture(
    "vgg16-maxout",
    "torchvision's VGG-16 with maxout units after its two hidden linear layers, for 224-pixel colour images",
    vgg16_maxout,
    channels=3,
    image_size=224,
    min_size=32,
    normalize=IMAGENET,
    options=units.options(4096, "classifier.0 and in classifier.3"),
)
