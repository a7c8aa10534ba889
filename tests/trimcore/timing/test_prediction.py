"""Predicted times, where the time of every call is known."""

import pytest
import torch
from torch import nn

from tests.trimcore.nets import NETS
from tests.trimcore.oracle import images, random_plan, randomised
from tests.trimcore.timing.networks import OUTSIDE, invented, ms_of
from trimcore.graph.removal import removed_groups
from trimcore.graph.tracing import trace
from trimcore.surgery.cut import cut
from trimcore.timing.calls import watch
from trimcore.timing.prediction import TimeModel

X = images(2, 3, 8, 8)
WITH_LAYERS = sorted(set(NETS) - {"recurrent"})  # of other kinds of layers, time is read from five points


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", WITH_LAYERS)
def test_a_time_that_depends_on_widths_is_predicted(monkeypatch, name, seed):
    """The work of the network that is really cut, whichever neurons go. In the network, layers are twice as slow."""
    invented(monkeypatch)
    torch.manual_seed(seed)
    graph = trace(randomised(NETS[name]()).eval(), X)
    plan = random_plan(graph, 0.5, seed)
    model = TimeModel(graph, X, batch=2)
    wanted = OUTSIDE + sum(map(ms_of, watch(cut(graph, plan), X, 1, 0.0).calls))
    assert model.base_ms == OUTSIDE + sum(map(ms_of, watch(graph, X, 1, 0.0).calls))
    assert model.predict(plan) == pytest.approx(wanted)
    assert model.predict({}) == pytest.approx(model.base_ms)
    by_grid = model.without(removed_groups(graph, plan))
    assert by_grid == pytest.approx(wanted, rel=0.25)  # narrow layers: the smallest width of the grid is 1


def test_other_layers_follow_their_curve():
    """A recurrent layer is timed in the network alone, at its full width and in the copies."""
    graph = trace(randomised(NETS["recurrent"]()).eval(), X)
    model = TimeModel(graph, X, batch=2)
    name = next(name for name, part in graph.fine.parts.items() if part.kind == "recurrent")
    shares = [share for share, _ in model._factors[name]]
    assert shares == sorted(shares)
    assert len(shares) >= 3
    assert shares[-1] == 1.0
    assert model.predict({}) == pytest.approx(model.base_ms)


def test_what_follows_a_layer_is_linear_between_the_measured_shares(monkeypatch):
    """ReLU takes 1 ms per channel, the layers nothing: a network with a third of 12 channels takes 4 ms."""
    from dataclasses import replace

    from trimcore.timing import calls, prediction, width_tables
    from trimcore.timing.calls import Watched

    real = calls.watch

    def by_channels(graph, x, rounds, limit_seconds):
        seen = real(graph, x, 1, 0.0).calls
        timed = [
            replace(call, ms=float(call.args[0].shape[1]) if call.function is torch.relu else 0.0) for call in seen
        ]
        return Watched(timed, 0.0, sum(call.ms for call in timed))

    monkeypatch.setattr(prediction, "watch", by_channels)
    monkeypatch.setattr(width_tables, "measure", lambda *_: 1.0)

    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Conv2d(3, 12, 1), nn.Conv2d(12, 2, 1)

        def forward(self, x):
            return self.two(torch.relu(self.one(x)))

    graph = trace(Both().double().eval(), X)
    model = TimeModel(graph, X)
    assert model.base_ms == 12
    for kept in (1, 2, 3, 4, 6, 7, 9, 11):
        assert model.predict({"one": range(12 - kept)}) == pytest.approx(kept)
    assert model.predict({"one": range(11)}) == pytest.approx(1)


def test_the_network_and_random_numbers_are_left_alone():
    net = randomised(NETS["conv_norm_relu"]()).train()
    graph = trace(net, X)
    torch.manual_seed(3)
    wanted = torch.rand(2)
    torch.manual_seed(3)
    model = TimeModel(graph, X)
    assert model.measure(removed_groups(graph, {"conv1": [0]}), rounds=2) > 0
    assert torch.equal(torch.rand(2), wanted)
    assert net.training
