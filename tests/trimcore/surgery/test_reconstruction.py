"""Rebuilding a network from its weights, for layers that are called as functions with a module's own tensors."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from trimcore import models
from trimcore.surgery.cut import prune
from trimcore.surgery.reconstruction import build_with, widths_of

ARGUMENTS = {"num_classes": 5, "in_channels": 3, "image_size": 8}


class SamePadding(nn.Conv2d):
    """Pads by itself, then convolves."""

    def forward(self, x):
        return F.conv2d(F.pad(x, (1, 1, 1, 1)), self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


class NormAct(nn.BatchNorm2d):
    """A norm with its activation inside."""

    def forward(self, x):
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, self.training).relu()


@pytest.fixture
def own_layers(registry):
    def build(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
        return nn.Sequential(
            SamePadding(in_channels, 6, 3), NormAct(6), SamePadding(6, 6, 3, groups=6), NormAct(6), nn.Conv2d(6, 4, 1),
            nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes),
        )  # fmt: skip

    models.register("own-layers", "layers called as functions", min_size=8)(build)


def test_widths_of_layers_called_as_functions_follow_their_weights(own_layers):
    torch.manual_seed(0)
    model, x = models.build("own-layers", **ARGUMENTS).eval(), torch.randn(2, 3, 8, 8)
    small = prune(model, {"0": [1, 4], "4": [0]}, x)
    again = build_with("own-layers", ARGUMENTS, small.state_dict()).eval()
    assert torch.equal(again(x), small(x))
    assert (again[2].groups, again[2].in_channels, again[3].num_features) == (4, 4, 4)


class Rows(nn.Module):
    """Reads an image row by row."""

    def __init__(self, num_classes: int, in_channels: int, image_size: int):
        super().__init__()
        self.rows = nn.GRU(in_channels * image_size, 9, 2, batch_first=True, bidirectional=True)
        self.score = nn.Linear(18, num_classes)

    def forward(self, x):
        return self.score(self.rows(x.movedim(2, 1).flatten(2))[0][:, -1].relu())


def test_the_width_of_a_recurrent_layer_follows_its_weights(registry):
    models.register("rows", "a recurrent layer", min_size=8)(Rows)
    torch.manual_seed(0)
    model, x = models.build("rows", **ARGUMENTS).eval(), torch.randn(2, 3, 8, 8)
    small = prune(model, {"rows": [1, 4, 8]}, x)
    again = build_with("rows", ARGUMENTS, small.state_dict(), widths_of(small)).eval()
    assert torch.equal(again(x), small(x))
    assert (again.rows.hidden_size, again.score.in_features, widths_of(again)["rows"]) == (6, 12, 6)
