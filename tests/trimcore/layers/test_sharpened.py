"""Sharpened activations: compared with their formulas, gradients and both limits."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn

from trimcore.errors import SpecError
from trimcore.layers import sharpened

ORIGINALS = {
    "gelu": nn.GELU(), "gelu-tanh": nn.GELU(approximate="tanh"), "silu": nn.SiLU(), "hardswish": nn.Hardswish(),
}  # fmt: skip
GATES = {
    "gelu": lambda t: 0.5 * torch.erfc(-t / math.sqrt(2)),
    "gelu-tanh": lambda t: 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (t + 0.044715 * t**3))),
    "silu": lambda t: 1 / (1 + torch.exp(-t)),
    "hardswish": lambda t: F.relu6(t + 3) / 6,
}
GRID = torch.linspace(-9, 9, 2001, dtype=torch.float64)
kinds = pytest.mark.parametrize("kind", list(GATES))


@kinds
def test_sharpness_one_is_the_original_activation(kind):
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        x = GRID.to(dtype)
        torch.testing.assert_close(sharpened.Sharpened(kind)(x), ORIGINALS[kind](x), rtol=1e-15, atol=1e-15)


@kinds
@pytest.mark.parametrize("sharpness", [0.5, 3.0, 160.0])
def test_the_output_is_x_times_the_gate_at_sharpness_times_x(kind, sharpness):
    wanted = GRID * GATES[kind](sharpness * GRID)
    torch.testing.assert_close(sharpened.Sharpened(kind, sharpness)(GRID), wanted, rtol=1e-12, atol=1e-15)


@kinds
@pytest.mark.parametrize("sharpness", [1.0, 7.0, 160.0])
def test_gradients_are_correct(kind, sharpness):
    points = [-2.0, -0.31, -0.013, -0.001, 0.0, 0.002, 0.017, 0.25, 1.5]
    x = torch.tensor(points, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(sharpened.Sharpened(kind, sharpness), x, eps=1e-8, atol=1e-4)


@kinds
def test_infinite_sharpness_is_relu_with_its_gradient(kind):
    x = GRID.clone().requires_grad_()
    y = sharpened.Sharpened(kind, math.inf)(x)
    assert torch.equal(y, F.relu(GRID))
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(gradient, (GRID > 0).double())


@pytest.mark.parametrize("kind", ["gelu", "silu", "hardswish"])
def test_maximum_sharpness_is_as_close_to_relu_as_documented(kind):
    fine = torch.linspace(-0.2, 0.2, 20_001, dtype=torch.float64)
    difference = (sharpened.Sharpened(kind, sharpened.MAX_SHARPNESS)(fine) - F.relu(fine)).abs().max()
    assert 0.001 < difference < 0.0024


@kinds
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_rounded_once_and_never_overflows(kind, dtype):
    x = torch.tensor([-6e4, -1000.0, -3.1, -0.01, 0.0, 0.01, 0.7, 3.3, 1000.0, 6e4], dtype=dtype)
    module = sharpened.Sharpened(kind, sharpened.MAX_SHARPNESS)
    with torch.autocast("cpu", torch.bfloat16):
        y = module(x)
    assert torch.equal(y, module(x.double()).to(dtype))


def test_outputs_and_gradients_are_finite_under_autocast():
    network = nn.Sequential(nn.Linear(4, 8), sharpened.Sharpened("gelu", 160.0), nn.Linear(8, 2))
    with torch.autocast("cpu", torch.bfloat16):
        y = network(1e4 * torch.randn(16, 4))
    y.float().sum().backward()
    assert y.dtype == torch.bfloat16
    assert all(p.grad.isfinite().all() for p in network.parameters())


class Nested(nn.Module):
    """A GELU shared under two names and inside a block, an in-place SiLU, a Hardswish, and modules that must stay."""

    def __init__(self):
        super().__init__()
        shared = nn.GELU(approximate="tanh")
        self.first, self.again = shared, shared
        self.block = nn.Sequential(nn.Linear(3, 3), nn.SiLU(inplace=True), shared)
        self.last, self.stays = nn.Hardswish(), nn.Sequential(nn.Tanh(), nn.Sigmoid(), nn.Hardsigmoid())

    def forward(self, x):
        return self.stays(self.last(self.again(self.block(self.first(x)))))


def test_every_smooth_module_is_replaced_and_shared_modules_stay_shared():
    network = Nested().eval()
    before, x = copy.deepcopy(network), torch.randn(5, 3)
    assert sharpened.smooth_modules(network) == {"first": "GELU", "block.1": "SiLU", "last": "Hardswish"}
    assert sharpened.sharpen(network, 1.0) is network
    assert network.first is network.again is network.block[2]
    assert (network.first.kind, network.block[1].kind, network.last.kind) == ("gelu-tanh", "silu", "hardswish")
    assert not any(module.training for module in network.modules())
    assert network.state_dict().keys() == before.state_dict().keys()
    assert not sharpened.smooth_modules(network)
    torch.testing.assert_close(network(x), before(x))
    sharpened.set_sharpness(network, 42.0)
    assert {m.sharpness for m in network.modules() if isinstance(m, sharpened.Sharpened)} == {42.0}
    sharpened.set_sharpness(network, math.inf)
    sharp, weights = network(x), network.block[0].weight
    sharpened.to_relu(network)
    assert network.first is network.again is network.block[2]
    assert [type(m) for m in (network.first, network.block[1], network.last)] == [nn.ReLU] * 3
    assert [type(m) for m in network.stays] == [type(m) for m in before.stays]
    assert network.block[0].weight is weights
    assert torch.equal(network(x), sharp)
    assert torch.equal(sharpened.to_relu(before)(x), sharp)  # directly, without sharpening


def test_subclasses_are_not_converted():
    class Own(nn.GELU):
        def forward(self, x):
            return -super().forward(x)

    assert sharpened.smooth_modules(nn.Sequential(Own())) == {}


def test_a_network_without_smooth_modules_is_refused():
    with pytest.raises(SpecError, match="^Sequential has no GELU, SiLU or Hardswish module to convert$"):
        sharpened.sharpen(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), 2.0)
    with pytest.raises(SpecError, match="^lenet9 has no GELU"):
        sharpened.check(nn.Sequential(nn.ReLU()), "lenet9")


@pytest.mark.parametrize("sharpness", [0, -1.0, math.nan])
def test_a_non_positive_sharpness_is_refused(sharpness):
    network = sharpened.sharpen(nn.Sequential(nn.GELU()), 2.0)
    for refuse in (lambda: sharpened.set_sharpness(network, sharpness), lambda: sharpened.Sharpened("gelu", sharpness)):
        with pytest.raises(SpecError, match="is not positive"):
            refuse()
    assert network[0].sharpness == 2.0


def test_an_unknown_kind_is_refused():
    with pytest.raises(SpecError, match="unknown activation 'mish'; expected one of gelu"):
        sharpened.Sharpened("mish")


# --- the schedule ---


@pytest.mark.parametrize(
    ("steps", "wanted"),
    [
        (1, [math.inf]),
        (2, [1, math.inf]),
        (3, [1, 160, math.inf]),
        (4, [1, 12.649, 160, math.inf]),
        (5, [1, 5.429, 29.472, 160, math.inf]),
        (6, [1, 5.429, 29.472, 160, math.inf, math.inf]),
    ],
)
def test_short_schedules_by_hand(steps, wanted):
    assert [sharpened.sharpness_at(step, steps) for step in range(steps)] == pytest.approx(wanted, rel=1e-4)


@given(st.integers(1, 10_000), st.data())
def test_the_sharpness_rises_by_a_constant_factor_and_ends_as_relu(steps, data):
    assert sharpened.sharpness_at(steps - 1, steps) == math.inf
    assume(steps >= 4)
    assert sharpened.sharpness_at(0, steps) == 1
    ramp = steps * 4 // 5
    assert sharpened.sharpness_at(ramp - 1, steps) == pytest.approx(160)
    assert sharpened.sharpness_at(ramp, steps) == math.inf
    step = data.draw(st.integers(1, ramp - 1))
    factor = sharpened.sharpness_at(step, steps) / sharpened.sharpness_at(step - 1, steps)
    assert factor ** (ramp - 1) == pytest.approx(160)
