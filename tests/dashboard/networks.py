"""Networks for tests only."""

from torch import nn

DEPTH = 30  # layers of the network `deep`
NAMES = [f"{k}.0" for k in range(DEPTH)]  # the names of its layers


class Recurrent(nn.Module):
    """Two convolutions, and a GRU over the outputs of the second."""

    def __init__(self, channels: int, classes: int):
        super().__init__()
        self.first, self.relu = nn.Conv2d(channels, 6, 5, stride=4), nn.ReLU()
        self.second, self.gru, self.head = nn.Conv2d(6, 12, 3), nn.GRU(12, 5, batch_first=True), nn.Linear(5, classes)

    def forward(self, x):
        maps = self.second(self.relu(self.first(x)))
        rows, _ = self.gru(maps.flatten(2).transpose(1, 2))
        return self.head(rows.mean(1))
