"""VGG-16 for small images."""

from torch import Tensor, nn

from trimcore.models.architecture import Architecture

VGG16_WIDTHS = (64, 64, "pool", 128, 128, "pool", 256, 256, 256, "pool", 512, 512, 512, "pool", 512, 512, 512)


class VGG16Small(nn.Module):
    """VGG-16's thirteen convolutions, each with BatchNorm, and a 512-512 classifier, for images of 28 to 64 pixels.

    Layers are called conv1_1 .. conv5_3, fc6, fc7, fc8, as in the VGG paper. Input (N, in_channels, S, S).
    """

    def __init__(self, num_classes: int, in_channels: int, image_size: int):
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
        for module in self.features:
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.flatten(self.pool(self.features(x))))


VGG16_SMALL = Architecture(
    "vgg16-small",
    "VGG-16's thirteen convolutions with BatchNorm and a 512-512 classifier, for images of 28 to 64 pixels",
    VGG16Small,
    min_size=28,
)
