"""Where time goes: each call belongs to the layer whose weights it reads, or to the layer before it."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from tests.trimcore.nets import Net, conv, conv_norm_relu
from trimcore.errors import TrimError
from trimcore.graph.tracing import trace
from trimcore.timing import calls
from trimcore.timing.layer_times import LayerTime, LayerTimes, time_layers

X = torch.randn(2, 3, 8, 8)


@pytest.fixture
def ticks(monkeypatch):
    """Each look at the clock is a second after the last one: every call takes 1,000 ms."""
    clock = itertools.count()
    monkeypatch.setattr(calls, "stamp", lambda device: float(next(clock)))
    monkeypatch.setattr(calls, "_overhead_ms", lambda device: 0.0)


def times_of(model: nn.Module) -> LayerTimes:
    return time_layers(trace(model.eval(), X), X, batch=2, rounds=3)


def test_each_call_belongs_to_a_layer(ticks):
    """conv1, batch_norm, relu, max_pool2d; conv2, batch_norm, relu, flatten; linear. BatchNorm asks for `dim()`."""
    found = times_of(conv_norm_relu())
    assert found.layers == {
        "conv1": LayerTime(1000.0, 4000.0), "conv2": LayerTime(1000.0, 4000.0), "fc": LayerTime(1000.0, 0.0),
    }  # fmt: skip
    assert found.before_ms == 0
    # 11 calls with two looks at the clock each, one before and one after them: 23 seconds, of which 11 are in calls
    assert found.outside_ms == 12_000
    assert found.sum_ms == 23_000
    assert found.total_ms == 1000  # a pass that is not watched: from one look to the next


def test_what_comes_before_the_first_layer_is_said(ticks):
    found = times_of(Net(lambda m, x: m.conv2(F.relu(m.conv1(x * 2 - 1))), conv1=conv(3, 6), conv2=conv(6, 2)))
    assert found.before_ms == 2000
    assert list(found.layers.values()) == [LayerTime(1000.0, 1000.0), LayerTime(1000.0, 0.0)]


def test_a_layer_that_runs_twice_has_both_times(ticks):
    found = times_of(Net(lambda m, x: m.conv2(F.relu(m.conv1(m.conv1(x).relu()))), conv1=conv(3, 3), conv2=conv(3, 2)))
    assert found.layers == {"conv1": LayerTime(2000.0, 2000.0), "conv2": LayerTime(1000.0, 0.0)}


def test_a_layer_that_is_called_as_a_function_is_known_by_its_weight(ticks):
    found = times_of(Net(
        lambda m, x: m.conv2(F.relu(F.conv2d(x, m.conv1.weight, m.conv1.bias))),
        conv1=nn.Conv2d(3, 6, 3), conv2=nn.Conv2d(6, 2, 3),
    ))  # fmt: skip
    assert found.layers == {"conv1": LayerTime(1000.0, 1000.0), "conv2": LayerTime(1000.0, 0.0)}


@pytest.mark.parametrize("bias", [True, False])
def test_computing_a_weight_is_work_of_its_layer(ticks, bias):
    layer = weight_norm(conv(3, 6, bias=bias))
    found = times_of(Net(lambda m, x: m.conv2(F.relu(m.conv1(x))), conv1=layer, conv2=conv(6, 2)))
    assert list(found.layers) == ["conv1", "conv2"]
    assert found.layers["conv1"].own_ms >= 2000  # the weight, then the convolution
    assert found.layers["conv1"].after_ms == 1000
    assert found.before_ms == 0


def test_attention_is_one_part(ticks):
    net = nn.Sequential(nn.Flatten(2), nn.TransformerEncoderLayer(64, 4, 16, batch_first=True), nn.Linear(64, 2)).eval()
    found = time_layers(trace(net, X), X, batch=2, rounds=1)
    assert {"1.self_attn", "1.linear1", "1.linear2", "2"} <= found.layers.keys()
    assert all(time.own_ms > 0 for time in found.layers.values())


def test_the_table_adds_up():
    found = LayerTimes(4, {"a": LayerTime(3.0, 1.0), "b": LayerTime(2.0, 0.0)}, 0.5, 1.5, 7.0)
    table = found.table()
    assert table.layer.tolist() == ["a", "b", "(before)", "(outside)", "(whole network)"]
    assert table.share.tolist() == [0.5, 0.25, 0.0625, 0.1875, 1.0]
    assert table.ms.tolist() == [3.0, 2.0, 0.0, 0.0, 7.0]
    assert set(table.batch) == {4}


def test_watching_leaves_the_network_as_it_was():
    model = conv_norm_relu().train()
    model.norm1.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    graph = trace(model, X)
    time_layers(graph, X, batch=3, rounds=2)
    assert [module.training for module in (model, model.norm1, model.norm2)] == [True, False, True]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert all(p.grad is None for p in model.parameters())


def test_activations_are_not_kept():
    """A pass whose memory cannot be used again takes longer, so arguments are described, not stored."""
    seen = calls.watch(trace(conv_norm_relu(), X), X, 1, 0.0)
    images = [call.args[0] for call in seen.calls if call.args and isinstance(call.args[0], torch.Tensor)]
    assert all(image.device.type == "meta" for image in images)


def test_what_a_network_does_only_once_does_not_count(ticks):
    def steps(m: Net, x: torch.Tensor) -> torch.Tensor:
        if not hasattr(m, "table"):
            m.table = torch.exp(torch.exp(torch.ones(())))
        return m.conv2(F.relu(m.conv1(x * m.table)))

    graph = trace(Net(steps, conv1=conv(3, 6), conv2=conv(6, 2)).eval(), X)
    vars(graph.model).pop("table", None)
    found = time_layers(graph, X, rounds=3)
    assert (found.before_ms, found.layers["conv1"]) == (1000.0, LayerTime(1000.0, 1000.0))


def test_too_little_memory_is_one_line(monkeypatch):
    def fail(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(calls, "call", fail)
    with pytest.raises(TrimError, match="there is not enough memory to time 64 examples at once"):
        time_layers(trace(conv_norm_relu(), X), X, batch=64)


@pytest.mark.parametrize("how", [{"batch": 0}, {"rounds": 0}])
def test_invalid_numbers_are_refused(how):
    with pytest.raises(TrimError, match="1 or more"):
        time_layers(trace(conv_norm_relu(), X), X, **how)
