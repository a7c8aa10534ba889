"""Caffe's LeNet, the paper's first network, plain and with maxout units (Rueda et al. 2017, arXiv 1707.06838)."""

from torch import Tensor, nn

from trimcore.models import units
from trimcore.models.architecture import Architecture


class LeNet5(nn.Module):
    """Caffe's LeNet: 20@5x5, pool, 50@5x5, pool, 500, classes, with a ReLU after each hidden layer.

    Input (N, in_channels, image_size, image_size), output (N, num_classes). fc1 has `width` neurons and fc2 has `units`
    inputs. They differ only if maxout units lie between them.
    """

    def __init__(self, num_classes: int, in_channels: int, image_size: int, width: int = 500, units: int = 500):
        super().__init__()
        side = ((image_size - 4) // 2 - 4) // 2  # after two 5x5 convolutions and two poolings
        self.conv1 = nn.Conv2d(in_channels, 20, 5)
        self.relu1 = nn.ReLU()
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(20, 50, 5)
        self.relu2 = nn.ReLU()
        self.pool2 = nn.MaxPool2d(2)
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(50 * side * side, width)
        self.relu3 = nn.ReLU()
        self.fc2 = nn.Linear(units, num_classes)

    def hidden(self, x: Tensor) -> Tensor:
        """(N, C, S, S) -> (N, width), the activations of fc1."""
        x = self.pool1(self.relu1(self.conv1(x)))  # (N, 20, (S-4)/2, (S-4)/2)
        x = self.pool2(self.relu2(self.conv2(x)))  # (N, 50, side, side)
        x = self.relu3(self.fc1(self.flatten(x)))
        return x

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.fc2(self.hidden(x))
        return scores


class LeNet5Maxout(LeNet5):
    """LeNet with fc1 -> ReLU -> dropout -> maxout -> fc2, where fc1 has `width` neurons in units of `k`."""

    def __init__(self, num_classes: int, in_channels: int, image_size: int, k: int, width: int):
        super().__init__(num_classes, in_channels, image_size, width, units.count(width, k))
        self.drop = nn.Dropout(0.5)
        self.maxout = units.maximum(k)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.fc2(self.maxout(self.drop(self.hidden(x))))
        return scores


LENET5 = Architecture(
    "lenet5",
    "Caffe's LeNet, 20-50-500: two convolutions and one hidden layer; trains in seconds",
    LeNet5,
    min_size=16,
)
LENET5_MAXOUT = Architecture(
    "lenet5-maxout",
    "Caffe's LeNet with 500 hidden neurons in maxout units of 4, and dropout; trains in seconds",
    LeNet5Maxout,
    min_size=16,
    options=units.options(500, "fc1"),
)
