"""A layer alone is called with what it gets in the network that is really cut."""

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from tests.trimcore.nets import NETS, Net, conv
from tests.trimcore.oracle import images, random_plan, randomised
from trimcore.graph.removal import removed_groups
from trimcore.graph.tracing import trace
from trimcore.surgery.cut import cut
from trimcore.timing.calls import Call, watch
from trimcore.timing.layer_shape import LayerShape, shape_of


def upsampling() -> Net:
    return Net(
        lambda m, x: m.conv2(m.up(m.conv1(x).relu()).relu()), conv1=conv(3, 6),
        up=nn.ConvTranspose2d(6, 8, 2, stride=2), conv2=conv(8, 2),
    )  # fmt: skip


def grouped() -> Net:
    return Net(
        lambda m, x: m.conv2(m.mid(m.conv1(x).relu()).relu()), conv1=conv(3, 8), mid=conv(8, 8, groups=2),
        conv2=conv(8, 2),
    )  # fmt: skip


def normalised() -> Net:
    """The weight of the first layer is computed at each call."""
    return Net(lambda m, x: m.conv2(m.conv1(x).relu()), conv1=weight_norm(conv(3, 6, bias=False)), conv2=conv(6, 2))


ALL = {**NETS, "upsampling": upsampling, "grouped": grouped, "normalised": normalised}


def shapes(call: Call) -> list[torch.Size]:
    return [a.shape for a in call.args[:2]]


class Caught(Exception):
    pass


def called_with(shape: LayerShape, widths: dict[str, int]) -> list[torch.Size]:
    """The shapes of input and weight with which the layer alone is called."""
    found = []

    class Mode(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            if func is shape.function:
                found.append([args[0].shape, args[1].shape])
            return func(*args, **kwargs or {})

    layer = shape.at(widths, torch.device("cpu"))
    with Mode():
        layer()
    return found[0]


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", sorted(ALL))
def test_the_shapes_are_those_of_the_cut_network(name, seed):
    torch.manual_seed(seed)
    model, x = randomised(ALL[name]()).eval(), images(2, 3, 8, 8)
    graph = trace(model, x)
    plan = random_plan(graph, 0.5, seed)
    full = graph.fine.sizes(torch.zeros(graph.group_count, dtype=torch.bool))
    sizes = graph.fine.sizes(removed_groups(graph, plan))
    whole, after = (watch(one, x, 1, 0.0).calls for one in (graph, cut(graph, plan)))
    layers = [[call for call in calls if call.layer] for calls in (whole, after)]
    compared = 0
    for before, now in zip(*layers, strict=True):
        assert before.layer == now.layer
        shape = shape_of(before, graph.fine.parts[before.layer], full[before.layer])
        if shape is not None:
            assert called_with(shape, sizes[before.layer]) == shapes(now)
            assert called_with(shape, full[before.layer]) == shapes(before)
            compared += 1
    assert compared


def key_of(model: nn.Module, x: torch.Tensor, layer: str) -> str:
    graph = trace(model.eval(), x)
    full = graph.fine.sizes(torch.zeros(graph.group_count, dtype=torch.bool))
    call = next(call for call in watch(graph, x, 1, 0.0).calls if call.layer == layer)
    return shape_of(call, graph.fine.parts[layer], full[layer]).key


def chain(**how) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 6, 3, **how), nn.ReLU(), nn.Conv2d(6, 4, 1))


def test_layers_of_different_widths_share_a_table_and_all_else_separates_them():
    x = torch.zeros(2, 3, 8, 8)
    other = nn.Sequential(nn.Conv2d(3, 9, 3), nn.ReLU(), nn.Conv2d(9, 4, 1))
    assert key_of(chain(), x, "0") == key_of(other, x, "0")
    last = chain().to(memory_format=torch.channels_last)
    different = [
        key_of(chain(), x, "0"), key_of(chain(), x, "2"), key_of(chain(stride=2), x, "0"),
        key_of(chain(padding=1), x, "0"), key_of(chain(dilation=2), x, "0"), key_of(chain(bias=False), x, "0"),
        key_of(chain(), torch.zeros(3, 3, 8, 8), "0"), key_of(chain(), torch.zeros(2, 3, 9, 9), "0"),
        key_of(last, x, "0"), key_of(chain().double(), x.double(), "0"),
    ]  # fmt: skip
    assert len(set(different)) == len(different)
