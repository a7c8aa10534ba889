"""Caffe's LeNet, the paper's first network."""

from torch import Tensor, nn

from trimcore.models.architecture import Architecture


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


LENET5 = Architecture(
    "lenet5",
    "Caffe's LeNet, 20-50-500: two convolutions and one hidden layer; trains in seconds",
    LeNet5,
    min_size=16,
)
