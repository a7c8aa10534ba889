"""Folding the constants of removed neurons, against the oracle and by hand."""

import pytest
import torch
from torch import nn

from tests.trimcore.nets import Net, conv
from tests.trimcore.oracle import check, images, randomised
from trimcore.graph.tracing import trace
from trimcore.surgery.cut import prune


def shifted(step, last: nn.Module, **modules: nn.Module) -> nn.Module:
    """conv1 (6 neurons), ReLU, then `step`, which shifts the channels and applies `last` and BatchNorm."""
    torch.manual_seed(0)
    parts = {"conv1": conv(3, 6), "relu": nn.ReLU(), "last": last, "norm": nn.BatchNorm2d(6), "end": nn.BatchNorm2d(4)}
    return randomised(Net(lambda m, x: step(m, m.relu(m.conv1(x))), **parts | modules))


def one(**how) -> nn.Conv2d:
    return nn.Conv2d(6, 4, 1, **how)


def deep(**how) -> nn.Conv2d:
    return conv(6, 6, groups=6, **how)


FOLDED = {
    "norm": (lambda m, x: m.last(m.norm(x)), one(), {}),
    "norm, no bias": (lambda m, x: m.end(m.last(m.norm(x))), one(bias=False), {}),
    "depthwise": (lambda m, x: m.last(m.deep(x)), one(), {"deep": deep()}),
    "depthwise and norm": (lambda m, x: m.end(m.last(m.norm(m.deep(x)))), one(bias=False), {"deep": deep()}),
    "depthwise without bias": (lambda m, x: m.last(m.norm(m.deep(x))), one(), {"deep": deep(bias=False)}),
    "larger, not padded": (lambda m, x: m.last(m.norm(x)), nn.Conv2d(6, 4, 3), {}),
    "mirrored borders": (lambda m, x: m.last(m.norm(x)), nn.Conv2d(6, 4, 3, padding=1, padding_mode="reflect"), {}),
    "linear": (lambda m, x: m.last(m.flat(x.mean((2, 3)))), nn.Linear(6, 4), {"flat": nn.BatchNorm1d(6, affine=False)}),
    "two norms and dropout": (lambda m, x: m.last(m.two(m.drop(m.norm(x)))), one(),
                              {"two": nn.BatchNorm2d(6), "drop": nn.Dropout()}),
}  # fmt: skip


@pytest.mark.parametrize(("step", "last", "modules"), FOLDED.values(), ids=FOLDED)
@pytest.mark.parametrize("cut", [[0], [1, 2, 5]])
def test_a_constant_is_absorbed(step, last, modules, cut):
    model, x = shifted(step, last, **modules), images(3, 3, 8, 8)
    graph = trace(model, x)
    assert len(graph.candidates("conv1")) == 6
    small = check(model, {"conv1": cut}, x, graph)
    assert small.last.weight.shape[1] == 6 - len(cut)
    check(small, {"conv1": [0]}, x)  # cut again


def called_twice(m, x):
    return m.last(m.norm(x)) + m.last(x)


EXPOSING = {
    "padded": (lambda m, x: m.last(m.norm(x)), nn.Conv2d(6, 4, 3, padding=1), {}),
    "subtracted from zero": (lambda m, x: m.last(0 - m.norm(x)), one(), {}),
    "nothing to absorb it": (lambda m, x: m.last(m.norm(x)), one(bias=False), {}),
    "output used elsewhere too": (lambda m, x: (y := m.last(m.norm(x))) + m.end(y), one(bias=False), {}),
    "called twice": (called_twice, one(), {}),
    "pooled over borders": (lambda m, x: m.last(m.pool(m.norm(x))), one(), {"pool": nn.AvgPool2d(3, 1, 1)}),
    "statistics of the batch": (lambda m, x: m.last(m.batch(x)), one(),
                                {"batch": nn.BatchNorm2d(6, track_running_stats=False)}),
}  # fmt: skip


@pytest.mark.parametrize(("step", "last", "modules"), EXPOSING.values(), ids=EXPOSING)
def test_a_constant_that_cannot_be_absorbed_is_held_at_zero_too(step, last, modules):
    """The neuron is held where its layer and the norm give it out, so that there is no constant."""
    model, x = shifted(step, last, **modules), images(3, 3, 8, 8)
    graph = trace(model, x)
    assert not graph.held_behind[graph.layers["conv1"].neurons].any()
    check(model, {"conv1": [1, 4]}, x, graph)


def test_a_constant_that_meets_a_sigmoid_is_read():
    model, x = shifted(lambda m, x: m.last(m.norm(x).sigmoid()), one(bias=False)), images(3, 3, 8, 8)
    small = check(model, {"conv1": [1, 4]}, x)
    assert (len(small.conv1.weight), small.last.in_channels) == (4, 6)


def test_by_hand():
    """The norm maps 0 to 3, and the weights after it are 5 and 7. Without neuron 0, the bias 1 becomes 1 + 3 * 5."""
    net = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.BatchNorm1d(2, eps=0.0), nn.Linear(2, 1)).eval()
    with torch.no_grad():
        net[2].weight.fill_(2.0)
        net[2].bias.fill_(3.0)
        net[3].weight.copy_(torch.tensor([[5.0, 7.0]]))
        net[3].bias.fill_(1.0)
    small = prune(net, {"0": [0]}, torch.zeros(1, 1))
    assert small[3].bias.tolist() == [16.0]
    assert small[3].weight.tolist() == [[7.0]]
    assert net[3].bias.tolist() == [1.0]


def test_a_shared_norm_absorbs_nothing():
    model = shifted(lambda m, x: m.other(m.end(m.last(m.norm(x)))), one(bias=False), other=nn.BatchNorm2d(4))
    model.other.running_mean = model.end.running_mean
    assert trace(model, images(3, 3, 8, 8)).layers["conv1"].reason == "end shares its weights with other"
