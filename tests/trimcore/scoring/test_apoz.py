"""APoZ against counts by hand and by brute force, and the absence of side effects."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.trimcore.nets import NETS, Net, conv
from tests.trimcore.oracle import images, randomised
from trimcore.errors import DataError, SpecError, TrimError
from trimcore.graph.tracing import trace
from trimcore.models import build
from trimcore.scoring import counting
from trimcore.scoring.apoz import passes, profile
from trimcore.spec import DEFAULT_TOLERANCE


def batches(x: Tensor, size: int = 16) -> list[tuple[Tensor, Tensor]]:
    return [(part, torch.zeros(len(part))) for part in x.split(size)]


def whole_numbers(model: nn.Module) -> nn.Module:
    """Small integer weights in float64, so that every activation is exact and many are exactly zero."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in model.double().parameters():
            p.copy_(torch.randint(-2, 3, p.shape, generator=generator))
    return model


def digits(count: int) -> Tensor:
    return torch.randint(-1, 2, (count, 1, 28, 28), generator=torch.Generator().manual_seed(1)).double()


def test_by_hand():
    model = Net(lambda m, x: m.out(m.relu(m.conv(x))), conv=nn.Conv2d(1, 3, 1), relu=nn.ReLU(), out=nn.Conv2d(3, 1, 1))
    with torch.no_grad():
        model.conv.weight.copy_(torch.tensor([1.0, -1, 0]).view(3, 1, 1, 1))
        model.conv.bias.copy_(torch.tensor([0.0, 0, 1]))
    x = torch.tensor([[[[1.0, 0], [-1, 2]]], [[[0.0, 0], [3, -4]]]])
    found = profile(model, [x])["conv"]
    assert found.zeros.tolist() == [5, 6, 0]  # x <= 0; x >= 0; never
    assert found.totals.tolist() == [8, 8, 8]
    assert found.apoz.tolist() == [5 / 8, 6 / 8, 0]
    assert (found.zeros.dtype, found.apoz.dtype, found.width) == (torch.int64, torch.float64, 3)


def test_lenet_matches_the_definition_for_any_batch_size():
    model, x = whole_numbers(build("lenet5")), digits(100)
    expected = {}
    for layer, relu in {"conv1": "relu1", "conv2": "relu2", "fc1": "relu3"}.items():
        model.get_submodule(relu).register_forward_hook(
            lambda m, i, y, layer=layer: expected.update({layer: (y.numpy() == 0).reshape(*y.shape[:2], -1)})
        )
    with torch.no_grad():
        model(x)
    wanted = dict(expected)
    for size in (1, 7, 64, 100):
        found = profile(model, batches(x, size))
        assert found.examples == 100
        assert list(found.layers) == list(wanted)
        for layer, zero in wanted.items():  # (N, width, M)
            assert found[layer].zeros.tolist() == zero.sum((0, 2)).tolist()
            assert set(found[layer].totals.tolist()) == {zero.shape[0] * zero.shape[2]}
            np.testing.assert_array_equal(found[layer].apoz.numpy(), zero.mean((0, 2)))
            assert 0 < zero.mean() < 1
    assert found["fc1"].width == 500  # averaged over examples, not neurons
    assert set(found["fc1"].totals.tolist()) == {100}


# For each layer: the calls of the ReLU module that contain its neurons, and their channels there.
SEEN = {
    "conv_norm_relu": {"conv1": [(0, slice(8))], "conv2": [(1, slice(6))]},
    "residual": {"stem": [(0, slice(6)), (2, slice(6))], "conv1": [(1, slice(5))], "conv3": [(3, slice(8))]},
    "dense": {
        "conv0": [(call, slice(6)) for call in range(4)],
        "conv1": [(2, slice(6, 9)), (3, slice(6, 9))],
        "conv2": [(3, slice(9, 12))],
    },
    "squeeze_excitation": {"conv1": [(0, slice(6))], "squeeze": [(1, slice(4))]},
    "depthwise": {"conv1": [(0, slice(6)), (1, slice(0, 12, 2)), (1, slice(1, 12, 2))]},
    "used_twice": {"first": [(call, slice(6)) for call in range(3)]},
}


def shown(model: Net, x: Tensor) -> list[Tensor]:
    """The outputs of the ReLU module, call by call."""
    calls: list[Tensor] = []
    hook = model.relu.register_forward_hook(lambda m, i, y: calls.append(y.clone()))
    with torch.no_grad():
        model(x)
    hook.remove()
    return calls


@pytest.mark.parametrize("name", SEEN)
def test_zeros_are_summed_over_all_activations_of_a_neuron(name):
    torch.manual_seed(0)
    model, x = randomised(NETS[name]()), images(20, 3, 8, 8)
    calls = shown(model, x)
    found = profile(model, batches(x, 7))
    assert list(found.layers) == list(SEEN[name])
    for layer, places in SEEN[name].items():
        zeros = sum((calls[call][:, where] == 0).sum((0, 2, 3)) for call, where in places)
        totals = sum(20 * calls[call][0, 0].numel() for call, _ in places)
        assert found[layer].zeros.tolist() == zeros.tolist()
        assert found[layer].totals.tolist() == [totals] * len(zeros)
        assert 0 < int(zeros.sum()) < totals * len(zeros)


def test_zeros_are_counted_after_the_norm_and_not_after_the_convolution():
    torch.manual_seed(0)
    model, x = randomised(NETS["conv_norm_relu"]()), images(20, 3, 8, 8)
    with torch.no_grad():
        before_norm = (model.conv1(x) <= 0).double().mean((0, 2, 3))
    assert (profile(model, [x])["conv1"].apoz - before_norm).abs().mean() > 0.1


def test_functional_activations():
    torch.manual_seed(0)
    model, x = randomised(NETS["functional"]()).train(), images(20, 3, 8, 8)
    with torch.no_grad():
        one = torch.relu(model.conv1(x))
        two = torch.relu(model.conv2(nn.functional.max_pool2d(one, 2)))
    found = profile(model, batches(x, 6))  # without dropout, although the model is in training mode
    assert found["conv1"].zeros.tolist() == (one == 0).sum((0, 2, 3)).tolist()
    assert found["conv2"].zeros.tolist() == (two == 0).sum((0, 2, 3)).tolist()
    assert profile(model, [x], 0.0)["fc1"].zeros.tolist() == [0] * 9  # tanh


def test_mean_activation():
    torch.manual_seed(0)
    model, x = randomised(NETS["residual"]()), images(20, 3, 8, 8)
    calls = shown(model, x)
    found = profile(model, batches(x, 7), mean_activation=True)
    torch.testing.assert_close(found["stem"].mean_activation, (calls[0] + calls[2]).mean((0, 2, 3)) / 2)
    torch.testing.assert_close(found["conv3"].mean_activation, calls[3].mean((0, 2, 3)))
    assert profile(model, [x])["stem"].mean_activation is None


@pytest.mark.parametrize("batch", [1, 4])
def test_means_are_summed_in_float64(batch):
    """float32 cannot represent 2^24 + 1."""
    model, x = leaky([0.0])[0].float(), torch.tensor([2.0**24, 1, 1, 1]).view(4, 1, 1, 1)
    counter = counting.Counter(trace(model, x), torch.device("cpu"), [0.0], with_mean=True)
    for part in x.split(batch):
        counter.add_batch(part)
    assert counter.by_group()[2].nan_to_num().max() == (2.0**24 + 3) / 4


def test_candidates_match_the_graph():
    torch.manual_seed(0)
    model = randomised(NETS["partly_frozen"]())
    assert {name: layer.candidates for name, layer in profile(model, [images(2, 3, 8, 8)]).layers.items()} == {
        "conv2": (0, 1, 2, 3)
    }


# --- near zero


def leaky(values: list[float]) -> tuple[Net, Tensor]:
    """LeakyReLU(0.5) of the values themselves, (1, 1, 1, n)."""
    model = Net(
        lambda m, x: m.out(m.act(m.conv(x))), conv=nn.Conv2d(1, 1, 1, bias=False), act=nn.LeakyReLU(0.5),
        out=nn.Conv2d(1, 1, 1),
    ).double()  # fmt: skip
    nn.init.ones_(model.conv.weight)
    return model, torch.tensor(values).double().view(1, 1, 1, -1)


@pytest.mark.parametrize(
    ("tolerance", "zeros"),
    # The activations are 4, -1, 0, -0.5, 0.25, 0.125; their mean square is (16 + 1 + 1/4 + 1/16 + 1/64) / 6 = 2.888
    [(0.0, 1), (0.05, 1), (0.1, 2), (0.2, 3), (0.5, 4), (0.59, 5), (1.0, 5)],
)
def test_near_zero_by_hand(tolerance, zeros):
    model, x = leaky([4.0, -2, 0, -1, 0.25, 0.125])
    found = profile(model, [x], tolerance)["conv"]
    assert (found.zeros.tolist(), found.totals.tolist()) == ([zeros], [6])
    assert found.limits == pytest.approx((tolerance * (17.328125 / 6) ** 0.5,))
    assert found.tolerance == tolerance


def test_a_tenth_of_the_root_mean_square_is_the_default():
    model, x = leaky([4.0, -2, 0, -1, 0.25, 0.125])
    assert profile(model, [x])["conv"].tolerance == DEFAULT_TOLERANCE == 0.1


def mixed() -> Net:
    """The stem's stream passes through a ReLU, then a SiLU at half the resolution, then a Tanh."""

    def steps(m: Net, x: Tensor) -> Tensor:
        x = m.relu(m.stem(x))
        y = m.silu(m.pool(x + m.inner(m.gelu(m.wide(x)))))
        return m.out(torch.tanh(y * 2))

    return Net(
        steps, stem=conv(3, 5), relu=nn.ReLU(), wide=conv(5, 7), gelu=nn.GELU(), inner=conv(7, 5), pool=nn.AvgPool2d(2),
        silu=nn.SiLU(), out=conv(5, 2),
    )  # fmt: skip


@pytest.mark.parametrize("size", [1, 7, 20])
def test_near_zeros_match_numpy_for_any_batch_size(size):
    torch.manual_seed(0)
    model, x = randomised(mixed()), images(20, 3, 8, 8)
    seen: dict[str, np.ndarray] = {}
    for name in ("relu", "silu", "gelu"):
        model.get_submodule(name).register_forward_hook(lambda m, i, y, name=name: seen.update({name: y.numpy()}))
    with torch.no_grad():
        model(x)
    values = {**seen, "tanh": np.tanh(2 * seen["silu"])}
    limits = {name: 0.3 * np.sqrt((y**2).mean()) for name, y in values.items()} | {"relu": 0}
    zeros = {name: (np.abs(y) <= limits[name]).sum((0, 2, 3)) for name, y in values.items()}
    found = profile(model, batches(x.flip(0), size), 0.3)  # the order does not matter either
    assert found.examples == 20
    assert found["wide"].zeros.tolist() == zeros["gelu"].tolist()
    assert found["wide"].limits == pytest.approx((limits["gelu"],), rel=1e-12)
    # In the stream, zeros and positions of all three activations are summed, each with its own limit.
    assert found["stem"].zeros.tolist() == (zeros["relu"] + zeros["silu"] + zeros["tanh"]).tolist()
    assert found["stem"].totals.tolist() == [20 * (64 + 16 + 16)] * 5
    assert found["stem"].limits == pytest.approx((limits["silu"], limits["tanh"]), rel=1e-12)
    assert all(int(z.sum()) > 0 for z in zeros.values())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_scales_do_not_depend_on_the_batch_size_in_any_precision(dtype):
    """Each example is summed in float32 or better, examples are summed in float64."""
    model, x = leaky([0.0])[0].to(dtype), torch.linspace(0.1, 90, 24 * 50).view(24, 1, 1, 50).to(dtype)
    limits = []
    for size in (1, 5, 24):
        scales = counting.Scales(trace(model, x[:1]), torch.device("cpu"))
        for batch in x.split(size):
            scales.network(batch)
        limits.append(scales.limits(1.0)[0])
    each = x.float().square().sum((1, 2, 3)).double()
    assert limits == [math.sqrt(float(each.sum()) / (24 * 50))] * 3


def test_a_site_without_examples_has_scale_zero_and_counts_of_zero():
    model, x = leaky([0.0])
    scales = counting.Scales(trace(model, x), torch.device("cpu"))
    assert scales.limits(0.5) == [0.0]
    scales.network(torch.full((1, 1, 1, 1), 3.0).double())
    assert scales.limits(0.5) == [1.5]
    counter = counting.Counter(scales.graph, torch.device("cpu"), [0.0], with_mean=True)
    zeros, totals, mean = counter.by_group()
    assert zeros.tolist() == totals.tolist() == [0] * len(zeros)
    assert mean.isnan().all()
    counter.add_batch(torch.full((1, 1, 1, 1), 3.0).double())
    assert counter.by_group()[2].nan_to_num().max() == 3.0  # there is one position


def test_the_tolerance_does_not_affect_true_zeros():
    torch.manual_seed(0)
    model, x = randomised(NETS["residual"]()), images(8, 3, 8, 8)
    for layer, found in profile(model, [x], 1.0).layers.items():
        assert (found.tolerance, found.limits) == (0.0, ())
        assert torch.equal(found.zeros, profile(model, [x], 0.0)[layer].zeros)


def test_near_zeros_do_not_depend_on_the_scale_of_the_weights():
    torch.manual_seed(0)
    model, x = randomised(mixed()), images(8, 3, 8, 8)
    model.gelu = nn.LeakyReLU(0.25)  # scales linearly with its input
    one = profile(model, [x])["wide"]
    with torch.no_grad():
        for p in model.wide.parameters():
            p *= 2
    two = profile(model, [x])["wide"]
    assert two.zeros.tolist() == one.zeros.tolist()
    assert two.limits == pytest.approx([2 * limit for limit in one.limits])


def test_progress_continues_through_both_passes():
    torch.manual_seed(0)
    model, x, numbers = randomised(mixed()), images(10, 3, 8, 8), []
    profile(model, batches(x, 4), progress=numbers.append)
    assert numbers == [4, 8, 10, 14, 18, 20]
    graph = trace(model, x)
    assert [passes(graph, tolerance) for tolerance in (0.1, 0.0)] == [2, 1]
    assert passes(trace(randomised(NETS["residual"]()), x), 0.1) == 1


class Once:
    """A loader that looks as if it can be iterated again but then yields nothing."""

    def __init__(self, x: Tensor):
        self.left = batches(x, 4)

    def __iter__(self):
        while self.left:
            yield self.left.pop()


def test_near_zeros_require_a_loader_that_can_be_iterated_twice():
    torch.manual_seed(0)
    model, x = randomised(mixed()), images(8, 3, 8, 8)
    with pytest.raises(DataError, match="can be iterated only once, but counting near zeros takes two passes"):
        profile(model, iter(batches(x)))
    with pytest.raises(DataError, match="yielded 8 examples in the first pass but 0 in the second"):
        profile(model, Once(x))
    assert profile(model, iter(batches(x)), 0.0).examples == 8


@pytest.mark.parametrize("tolerance", [-0.1, 1.5, float("nan")])
def test_a_tolerance_out_of_range_raises(tolerance):
    with pytest.raises(SpecError, match=f"tolerance = {tolerance}; expected a fraction .*, from 0 to 1"):
        profile(build("lenet5"), [torch.zeros(2, 1, 28, 28)], tolerance)


@pytest.mark.parametrize(("value", "what"), [(torch.nan, "NaN"), (torch.inf, "infinite")])
def test_activations_that_are_not_finite_raise_with_the_layer(value, what):
    torch.manual_seed(0)
    model = randomised(mixed())
    with torch.no_grad():
        model.wide.bias[2] = value
    with pytest.raises(TrimError, match=f"activations after layer 'wide' are {what}"):
        profile(model, [images(2, 3, 8, 8)])
