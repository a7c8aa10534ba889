"""Layers in one to three dimensions, against the oracle."""

import pytest
import torch
from torch import nn

from tests.trimcore.nets import Net
from tests.trimcore.oracle import check, images, random_plan, randomised
from trimcore.graph.tracing import trace

SHAPES = {1: (3, 4, 12), 2: (3, 4, 6, 6), 3: (2, 4, 4, 6, 6)}


def layer(kind: str, dimensions: int, *arguments, **how) -> nn.Module:
    return getattr(nn, f"{kind}{dimensions}d")(*arguments, **how)


def network(d: int) -> nn.Module:
    """An encoder and decoder with a skip connection, with every kind of layer that exists in 1 to 3 dimensions."""

    def steps(m, x):
        skip = m.slope(m.norm(m.conv(x)))  # (N, 6, ...)
        x = m.pool(m.relu(m.groups(m.down(skip))))  # (N, 8, ...)
        x = m.up(m.relu(m.deep(x)))
        x = m.last(m.relu(torch.cat([m.pad(m.pad_back(x)), skip], 1)))
        return x.mean(tuple(range(2, 2 + d)))

    torch.manual_seed(0)
    return randomised(Net(
        steps, conv=layer("Conv", d, 4, 6, 3, padding=1), norm=layer("BatchNorm", d, 6), slope=nn.PReLU(6),
        down=layer("Conv", d, 6, 8, 3, padding=1), groups=nn.GroupNorm(4, 8), relu=nn.ReLU(),
        pool=layer("MaxPool", d, 2), deep=layer("Conv", d, 8, 16, 1, groups=8),
        up=layer("ConvTranspose", d, 16, 6, 2, stride=2), pad=layer("ReplicationPad", d, 1),
        pad_back=layer("AvgPool", d, 3, stride=1), last=layer("Conv", d, 12, 3, 1),
    ))  # fmt: skip


@pytest.mark.parametrize("ratio", [0.0, 0.4, 0.8])
@pytest.mark.parametrize("dimensions", SHAPES)
def test_pruned_equals_masked(dimensions, ratio):
    model, x = network(dimensions), images(*SHAPES[dimensions])
    graph = trace(model, x)
    assert graph.trimmable() == ["conv", "down", "up"]
    assert graph.together("down", [5]) == [4, 5]
    check(model, random_plan(graph, ratio, 1), x, graph)


def test_five_dimensional_memory_formats_are_kept():
    model, x = network(3).to(memory_format=torch.channels_last_3d), images(*SHAPES[3])
    small = check(model, {"conv": [1, 2]}, x)
    assert small.down.weight.is_contiguous(memory_format=torch.channels_last_3d)
    assert not small.down.weight.is_contiguous()
