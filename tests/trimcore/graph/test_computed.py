"""Layers whose weights are computed at each call are cut exactly, or refused with a reason."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.trimcore.oracle import check, images, randomised
from trimcore.errors import NotTrimmable
from trimcore.graph.costs import cost_of
from trimcore.graph.tracing import trace
from trimcore.surgery.cut import prune


class Computed(nn.Conv2d):
    """A convolution with the weight of a function of itself."""

    def __init__(self, weight, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.of, self.gain = weight, nn.Parameter(torch.linspace(0.5, 1.5, self.out_channels).view(-1, 1, 1, 1))
        self.mask = nn.Buffer((torch.arange(self.weight.numel()) % 3 > 0).double().view_as(self.weight))
        self.temperature = nn.Parameter(torch.tensor(0.7))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.of(self), self.bias, self.stride, self.padding, self.dilation, self.groups)


def standardised(m):
    return (m.weight - m.weight.mean((1, 2, 3), keepdim=True)) / m.weight.std((1, 2, 3), keepdim=True)


def scaled_and_standardised(m):
    """As in normaliser-free networks."""
    flat, gain = m.weight.reshape(1, m.out_channels, -1), (m.gain * 0.3).view(-1)
    return F.batch_norm(flat, None, None, weight=gain, training=True, momentum=0.0, eps=1e-6).reshape_as(m.weight)


BY_ROWS = {
    "standardised": standardised, "scaled and standardised": scaled_and_standardised,
    "of unit length": lambda m: F.normalize(m.weight.flatten(1), dim=1).view_as(m.weight),
    "weighted softmax": lambda m: m.gain * m.weight.flatten(1).softmax(1).view_as(m.weight),
}  # fmt: skip
EACH = {
    "scaled": lambda m: m.weight * 0.3, "with a gain": lambda m: m.weight * m.gain,
    "through tanh": lambda m: torch.tanh(m.weight / m.temperature),
}  # fmt: skip
TOGETHER = {
    "by the largest": lambda m: m.weight / m.weight.abs().max(), "in pairs": lambda m: m.weight.view(-1, 2, 6, 3, 3)
    .softmax(1).view_as(m.weight), "sorted": lambda m: m.weight.sort(0).values, "flipped": lambda m: m.weight.flip(0),
    "random": lambda m: m.weight * torch.rand_like(m.weight), "of another": lambda m: m.weight.mean() * m.gain *
    torch.ones_like(m.weight), "masked": lambda m: m.weight * m.mask * m.mask.mean(),
}  # fmt: skip


def network(weight, plain: bool = True) -> nn.Module:
    """conv (6), ReLU, a convolution with a computed weight (6), ReLU, and a classifier."""
    torch.manual_seed(0)
    first = nn.Conv2d(3, 6, 3) if plain else Computed(weight, 3, 6, 3)
    return randomised(nn.Sequential(
        first, nn.ReLU(), Computed(weight, 6, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4),
    ))  # fmt: skip


@pytest.mark.parametrize("weight", BY_ROWS.values(), ids=BY_ROWS)
def test_filters_go_and_inputs_keep_their_places_if_rows_are_computed_separately(weight):
    x, model = images(2, 3, 8, 8), network(weight)
    graph = trace(model, x)
    small = check(model, {"0": [1, 4], "2": [0, 5]}, x, graph)
    assert (small[0].out_channels, small[2].in_channels, small[2].out_channels) == (4, 6, 4)
    assert small[2].weight.shape == (4, 6, 3, 3)
    assert small[2].gain.shape == ((4 if "gain" in weight.__code__.co_names else 6), 1, 1, 1)
    check(small, {"2": [3], "0": [2]}, x)  # and once more
    cost = cost_of(graph, {"2": [0, 5]}).layers["2"]
    assert (cost.width, cost.macs) == (4, 4 * 4 * 4 * 6 * 9)


@pytest.mark.parametrize("weight", EACH.values(), ids=EACH)
def test_filters_and_inputs_go_if_each_number_is_computed_alone(weight):
    x, model = images(2, 3, 8, 8), network(weight, plain=False)
    small = check(model, {"0": [1, 4], "2": [0, 5]}, x)
    assert small[2].weight.shape == (4, 4, 3, 3)
    check(small, {"2": [3], "0": [2]}, x)


@pytest.mark.parametrize("weight", TOGETHER.values(), ids=TOGETHER)
def test_what_is_computed_together_is_refused_with_the_reason(weight):
    model = network(weight)
    graph = trace(model, images(2, 3, 8, 8))
    assert graph.trimmable() == []
    assert graph.layers["0"].reason == "2 computes its weights at each call"


def test_inputs_that_cannot_keep_their_places_are_refused_with_the_reason():
    graph = trace(network(standardised, plain=False), images(2, 3, 8, 8))
    assert graph.trimmable() == ["2"]
    assert graph.layers["0"].reason == "2 computes its weights from all its inputs"


def test_depthwise_filters_with_computed_weights():
    torch.manual_seed(0)
    model = randomised(nn.Sequential(
        nn.Conv2d(3, 6, 1), nn.ReLU(), Computed(standardised, 6, 6, 3, groups=6), nn.ReLU(), nn.Conv2d(6, 2, 1),
    ))  # fmt: skip
    small = check(model, {"0": [1, 4]}, images(2, 3, 8, 8))
    assert small[2].weight.shape == (4, 1, 3, 3)


def test_a_parametrized_layer_is_cut_where_its_rows_are_separate():
    model = network(standardised)
    model[2] = nn.utils.parametrizations.weight_norm(nn.Conv2d(6, 6, 3).double())
    x = images(2, 3, 8, 8)
    small = check(model, {"0": [1, 4], "2": [0, 5]}, x)
    assert small[2].parametrizations.weight.original0.shape == (4, 1, 1, 1)
    assert (small[2].weight.shape, small[2].out_channels) == ((4, 6, 3, 3), 4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_of_any_type_and_all_zero_weights_are_compared(dtype):
    model = network(standardised).to(dtype)
    assert prune(model, {"2": [0, 5]}, images(2, 3, 8, 8, dtype=dtype))[2].out_channels == 4
    model[2].of = lambda m: m.weight * m.gain * 0
    assert prune(model, {"2": [0, 5]}, images(2, 3, 8, 8, dtype=dtype))[2].out_channels == 4


def test_a_weight_that_another_operation_reads_is_refused():
    def forward(m, x):
        weight = m.weight * 2
        return F.conv2d(x, weight, m.bias) * weight.mean()

    model = network(standardised)
    model[2].forward = forward.__get__(model[2])
    assert trace(model, images(2, 3, 8, 8)).trimmable() == []


def test_weights_that_come_out_otherwise_after_the_cut_are_refused():
    """The computation looks at all rows, but only if one is large: random trials do not show it, these weights do."""

    def clipped(m):
        return m.weight.clamp(max=100.0) * torch.where(m.weight.abs().max() > 1000, 0.5, 1.0)

    model, x = network(clipped), images(2, 3, 8, 8)
    graph = trace(model, x)
    small = prune(copy.deepcopy(model), {"2": [0]}, x)
    assert small[2].out_channels == 5
    with torch.no_grad():
        model[2].weight[3, 0, 0, 0] = 5000
    prune(model, {"2": [0]}, graph=graph)
    with pytest.raises(NotTrimmable, match="2 computes other weights after pruning"):
        prune(model, {"2": [3]}, graph=graph)
