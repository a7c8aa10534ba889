"""Networks for tests only."""

from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

DEPTH = 30  # layers of the network `deep`
NAMES = [f"{k}.0" for k in range(DEPTH)]  # the names of its layers


class Spectral(nn.Module):
    """Two convolutions, and a linear layer with spectral norm over the outputs of the second."""

    def __init__(self, channels: int, classes: int):
        super().__init__()
        self.first, self.relu = nn.Conv2d(channels, 6, 5, stride=4), nn.ReLU()
        self.second, self.normed = nn.Conv2d(6, 12, 3), spectral_norm(nn.Linear(12, 5))
        self.head = nn.Linear(5, classes)

    def forward(self, x):
        means = self.second(self.relu(self.first(x))).mean((2, 3))
        return self.head(self.normed(means))
