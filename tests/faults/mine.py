"""A network and data of somebody's own. They do harm as long as the file that HARM names says which: `item-hangs 13`,
`raises 5`. The number says at which item, or at which call of the network."""

import os
import signal
import sys
import time
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

import trimcore as tc

HARM = "MINE_HARM"
PRINTED = 20 * 1024 * 1024  # characters in each call
COUNTS = {"train": 320, "validation": 64, "test": 64}


def harm_at(number: int) -> str:
    """The harm to do at this number, if any."""
    try:
        what, at = Path(os.environ[HARM]).read_text("utf-8").split()
    except (KeyError, OSError, ValueError):
        return ""
    return what if number >= int(at) else ""


class Digits(Dataset):
    def __init__(self, part: str):
        self.split, self.count = getattr(tc.load_data("mnist-5k"), part), COUNTS[part]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        harm = harm_at(index)
        if harm == "item-raises":
            raise OSError("the picture\ncannot be read")
        if harm == "item-hangs":
            time.sleep(600)
        if harm == "item-dies":
            os.kill(os.getpid(), signal.SIGKILL)
        return self.split.image(index).float() / 255, int(self.split.labels[index])


@tc.register_data("mine-digits", "a few digits, loaded by processes of their own")
def digits() -> tc.OwnData:
    return tc.OwnData(**{part: Digits(part) for part in COUNTS}, classes=10, workers=2, timeout=3.0)


@tc.register("mine", "a small network of my own")
class Network(nn.Module):
    calls = 0

    def __init__(self, num_classes: int = 10, in_channels: int = 1):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(in_channels, 8, 5), nn.Conv2d(8, 16, 5)
        self.fc1, self.fc2 = nn.Linear(256, 32), nn.Linear(32, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        Network.calls += 1
        harm = harm_at(Network.calls)
        if harm == "raises":
            raise ValueError("these numbers\ndo not suit me")
        if harm == "exits":
            sys.exit("I have had enough")
        if harm == "prints":
            print("all is well, " * (PRINTED // 13))
        if harm == "changes" and not self.training:
            self.fc2.weight.data.mul_(0.99)
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2).flatten(1)
        return self.fc2(F.relu(self.fc1(x)))
