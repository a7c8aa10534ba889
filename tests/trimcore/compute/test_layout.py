"""Images are laid out as channels_last where that is fast, but only if the network accepts it."""

import pytest
import torch
from torch import nn

from tests.trimcore.nets import NETS, Net, conv
from trimcore import models, spec
from trimcore.compute import layout
from trimcore.compute.layout import is_channels_last, place
from trimcore.training.loop import trim

CPU, X = torch.device("cpu"), torch.randn(3, 3, 8, 8)


@pytest.fixture
def fast(monkeypatch):
    monkeypatch.setattr(layout, "has_fast_bf16", lambda device: True)


def viewed() -> Net:
    """Flattens with `view`, as many tutorials do, which needs contiguous activations."""
    return Net(
        lambda m, x: m.fc2(m.fc1(m.conv1(x).relu().view(len(x), -1)).relu()), conv1=conv(3, 6),
        fc1=nn.Linear(6 * 64, 12), fc2=nn.Linear(12, 4),
    )  # fmt: skip


def reads_strides(m: Net, x: torch.Tensor) -> torch.Tensor:
    if x.stride()[1] == 1:
        raise RuntimeError("it wants another layout")
    return m.conv2(m.conv1(x).relu())


NEEDS_CONTIGUOUS = {
    "view": viewed, "functional": NETS["functional"],
    "strides": lambda: Net(reads_strides, conv1=conv(3, 6), conv2=conv(6, 2)),
}


@pytest.mark.parametrize("name", sorted(NEEDS_CONTIGUOUS))
def test_a_network_that_needs_contiguous_activations_stays_contiguous(fast, name):
    net = NEEDS_CONTIGUOUS[name]().train()
    torch.manual_seed(1)
    wanted = torch.rand(2)
    torch.manual_seed(1)
    placed = place(net, CPU, X[:1])
    assert placed is net
    assert not is_channels_last(net)
    assert all(p.is_contiguous() for p in net.parameters())
    assert net.training
    assert torch.equal(torch.rand(2), wanted)
    net(X)


def test_a_network_that_fails_is_left_to_those_who_run_it(fast):
    def fails(m: Net, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return m.conv1(x) + y

    assert not is_channels_last(place(Net(fails, conv1=conv(3, 6)), CPU, X[:1]))


@pytest.mark.parametrize("name", ["conv_norm_relu", "residual", "dense", "depthwise", "over_positions"])
def test_other_networks_become_channels_last(fast, name):
    net = place(NETS[name](), CPU, X[:1])
    assert is_channels_last(net)
    net(X.to(memory_format=torch.channels_last))


def test_without_fast_bf16_nothing_changes(monkeypatch):
    monkeypatch.setattr(layout, "has_fast_bf16", lambda device: False)
    assert not is_channels_last(place(NETS["residual"](), CPU, X[:1]))


@pytest.mark.parametrize("other", [lambda x: x, nn.Sequential(nn.Flatten(), nn.Linear(4, 2))])
def test_what_has_no_image_weights_is_not_channels_last(other):
    assert not is_channels_last(other)


def test_a_run_of_a_network_that_uses_view(fast, registry):
    """Base, profile, cut, BatchNorm, retraining, and latency: all feed the layout that the network accepts."""

    @models.register("viewed", "flattens with view", channels=1, min_size=28)
    class Viewed(nn.Module):
        def __init__(self, num_classes: int, in_channels: int, image_size: int):
            super().__init__()
            self.conv1, self.norm = nn.Conv2d(in_channels, 6, 5, stride=2), nn.BatchNorm2d(6)
            self.conv2 = nn.Conv2d(6, 8, 3, stride=2)
            self.fc1, self.fc2 = nn.Linear(8 * 5 * 5, 16), nn.Linear(16, num_classes)

        def forward(self, x):
            x = torch.relu(self.conv2(torch.relu(self.norm(self.conv1(x)))))
            return self.fc2(torch.relu(self.fc1(x.view(x.size(0), -1))))

    asked = spec.parse({
        "model": "viewed", "data": "mnist-5k", "device": "cpu", "base": {"epochs": 1, "batch_size": 500},
        "retrain": {"epochs": 1, "batch_size": 500}, "profile": {"examples": 100},
        "step": [{"layers": ["all"], "rule": "fraction", "value": 0.25}],
    })  # fmt: skip
    events = list(trim(asked))
    assert events[-1].kind == "ended"
    assert [event.data["widths"]["conv2"] for event in events if event.kind == "iteration"] == [8, 6]
