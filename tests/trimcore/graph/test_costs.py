"""Parameters and multiply-accumulates: by hand, against PyTorch's own counter, and against pruned networks."""

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tests.trimcore.nets import NETS, Net, conv, drawn
from tests.trimcore.oracle import random_plan
from trimcore import models
from trimcore.errors import NotTrimmable
from trimcore.graph.costs import Cost, LayerCost, cost, cost_of, nonzero_parameters
from trimcore.graph.removal import kept_neurons
from trimcore.graph.tracing import trace
from trimcore.models import build
from trimcore.surgery.cut import prune

DIGIT = torch.zeros(1, 1, 28, 28)
IMAGES = torch.zeros(1, 3, 8, 8)


def counted_by_torch(model: nn.Module, x: torch.Tensor) -> tuple[int, int]:
    recurrent = 0  # PyTorch has no formula for these layers: each weight is used once at every step

    def count(layer: nn.RNNBase, inputs: tuple, _) -> None:
        nonlocal recurrent
        weights = sum(p.numel() for name, p in layer.named_parameters() if name.startswith("weight"))
        recurrent += weights * inputs[0].shape[1] * inputs[0].shape[0]

    hooks = [m.register_forward_hook(count) for m in model.modules() if isinstance(m, nn.RNNBase)]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(x)
    for hook in hooks:
        hook.remove()
    return sum(p.numel() for p in model.parameters()), counter.get_total_flops() // 2 + recurrent


def without_kinds(found: Cost) -> dict:
    """Ignores the kind: a depthwise convolution with one group left is an ordinary convolution."""
    return {name: (layer.width, layer.parameters, layer.macs) for name, layer in found.layers.items()}


def test_lenet_by_hand():
    found = cost(build("lenet5"), DIGIT)
    assert found.layers == {
        "conv1": LayerCost("conv", 20, 20 * 25 + 20, 24 * 24 * 20 * 25),
        "conv2": LayerCost("conv", 50, 50 * 20 * 25 + 50, 8 * 8 * 50 * 20 * 25),
        "fc1": LayerCost("linear", 500, 500 * 800 + 500, 500 * 800),
        "fc2": LayerCost("linear", 10, 10 * 500 + 10, 10 * 500),
    }
    assert (found.parameters, found.macs) == (431_080, 2_293_000)
    assert found.widths == {"conv1": 20, "conv2": 50, "fc1": 500, "fc2": 10}


def test_the_cost_does_not_depend_on_the_batch_size():
    assert cost(build("lenet5"), torch.zeros(7, 1, 28, 28)) == cost(build("lenet5"), DIGIT)


@pytest.mark.parametrize("name", NETS)
def test_small_networks_against_torch(name):
    model = NETS[name]()
    found = cost(model, IMAGES)
    assert (found.parameters, found.macs) == counted_by_torch(model, IMAGES)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "resnext50_32x4d", "squeezenet1_1"])
def test_architectures_against_torch(name):
    with torch.device("meta"):
        model, x = torchvision.models.get_model(name), torch.zeros(1, 3, 64, 64)
    found = cost(model, x)
    assert (found.parameters, found.macs) == counted_by_torch(model, x)


@settings(deadline=None)
@given(st.sampled_from([*NETS.values(), *(lambda seed=seed: drawn(seed) for seed in range(30))]), st.data())
def test_a_plan_costs_what_the_pruned_network_costs(make, data):
    model = make()
    graph = trace(model, IMAGES)
    plan = random_plan(graph, data.draw(st.floats(0, 1)), data.draw(st.integers(0, 99)))
    small = prune(model, plan, graph=graph)
    expected, found = cost_of(graph, plan), cost(small, IMAGES)
    assert without_kinds(expected) == without_kinds(found)
    assert (expected.parameters, expected.macs) == counted_by_torch(small, IMAGES)
    assert {name: len(kept) for name, kept in kept_neurons(graph, plan).items()} == expected.widths


# The paper's widths (CONV5-3, FC6) and the compression it reports.
VGG16 = {(512, 4096): 1.00, (488, 3477): 1.19, (451, 2937): 1.45, (430, 2479): 1.71, (420, 2121): 1.96,
         (400, 1787): 2.28, (390, 1513): 2.59}  # fmt: skip


def vgg16_parameters(conv5_3: int, fc6: int) -> int:
    """By hand: twelve convolutions, the last one, and three linear layers."""
    widths = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, conv5_3]
    convolutions = sum(9 * a * b + b for a, b in zip(widths, widths[1:], strict=False))
    return convolutions + fc6 * (49 * conv5_3 + 1) + 4096 * (fc6 + 1) + 1000 * (4096 + 1)


@pytest.fixture(scope="module")
def vgg16():
    with torch.device("meta"):
        x = torch.zeros(1, 3, 224, 224)
    return trace(models.empty("vgg16", num_classes=1000), x), x


@pytest.mark.parametrize(("widths", "compression"), VGG16.items())
def test_published_sizes_of_vgg16(vgg16, widths, compression):
    graph, x = vgg16
    conv5_3, fc6 = widths
    plan = {"features.28": range(conv5_3, 512), "classifier.0": range(fc6, 4096)}
    found = cost_of(graph, plan)
    assert found.parameters == vgg16_parameters(conv5_3, fc6)
    assert round(138_357_544 / found.parameters, 2) == compression
    small = prune(graph.model, plan, graph=graph)
    assert (found.parameters, found.macs) == counted_by_torch(small, x)
    assert small.classifier[0].weight.shape == (fc6, conv5_3 * 49)


def test_vgg16_has_138_357_544_parameters(vgg16):
    assert cost_of(vgg16[0]).parameters == vgg16_parameters(512, 4096) == 138_357_544
    assert cost_of(vgg16[0]).macs == 15_470_264_320


def test_parameters_outside_layers_are_counted():
    model = Net(lambda m, x: m.b(m.relu(m.a(x))) * m.scale, a=conv(3, 4), b=conv(4, 2), relu=nn.ReLU())
    model.scale = nn.Parameter(torch.ones(2, 1, 1))
    assert cost_of(trace(model, IMAGES), {"a": [1]}).parameters == 3 * 28 + 2 * 28 + 2


def test_the_cost_of_an_invalid_plan_raises():
    with pytest.raises(NotTrimmable, match="neurons 0 to 19, not 20"):
        cost_of(trace(build("lenet5"), DIGIT), {"conv1": [20]})


def test_nonzero_parameters():
    model = nn.Linear(3, 2)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0, 1, -0.0], [1e-40, -2, 0]]))
        model.bias.copy_(torch.tensor([0, 3]))
    assert nonzero_parameters(model) == 4


def test_attention_is_counted_whatever_the_mode():
    """By hand: the projections of queries, keys, values and outputs, the two attention products, and the layers."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    model, x = nn.Sequential(nn.Linear(4, 8), layer.self_attn, nn.Linear(8, 3)), torch.zeros(3, 5, 4)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.attention, self.b = model

        def forward(self, x):
            x = self.a(x)
            return self.b(self.attention(x, x, x, need_weights=False)[0])

    wanted = 5 * 4 * 8 + (4 * 5 * 8 * 8 + 2 * 5 * 5 * 8) + 5 * 8 * 3
    network = Model()
    assert cost(network, x).macs == wanted
    with torch.inference_mode():
        assert cost(network, x).macs == wanted
    layers = cost(network, x).layers
    assert (layers["attention"].parameters, layers["attention.out_proj"].parameters) == (3 * (8 * 8 + 8), 8 * 8 + 8)
    assert cost(network, x).widths == {"a": 8, "attention": 24, "attention.out_proj": 8, "b": 3}


PUBLISHED = {  # torchvision's own figures, 10^9 multiply-accumulates at 224 pixels
    "resnet18": 1.814, "densenet121": 2.834, "googlenet": 1.498, "mobilenet_v3_large": 0.217,
    "shufflenet_v2_x1_0": 0.145,
    "regnet_y_400mf": 0.402, "resnext50_32x4d": 4.23, "convnext_tiny": 4.456, "vit_b_16": 17.564, "swin_t": 4.491,
    "maxvit_t": 5.558, "efficientnet_b0": 0.386, "squeezenet1_1": 0.349, "mnasnet1_0": 0.314,
}  # fmt: skip


@pytest.mark.parametrize(("name", "macs"), PUBLISHED.items())
def test_macs_match_the_values_published_by_torchvision(name, macs):
    arguments = {"num_classes": 1000, "in_channels": 3, "image_size": 224}
    found = cost(models.empty(name, **arguments), models.example_input(arguments))
    assert round(found.macs / 1e9, 3) == pytest.approx(macs, abs=0.0011)
