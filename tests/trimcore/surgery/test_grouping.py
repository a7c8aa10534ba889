"""Converting ReLU layers to maxout layers: which layers, which neurons per unit, and the weights of the next layer."""

import copy
import itertools

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.trimcore.nets import Net
from trimcore.errors import CheckpointError, DataError, SpecError, TrimError
from trimcore.graph.tracing import trace
from trimcore.layers.maxout import Maxout, in_units, units_of
from trimcore.models import build, empty
from trimcore.surgery import unit_choice
from trimcore.surgery.grouping import Place, group, groupable, insert
from trimcore.surgery.unit_choice import costs, products, refit, units


def mlp(inputs: int = 6, hidden: int = 12, outputs: int = 3, **how) -> Net:
    return Net(
        lambda m, x: m.fc2(m.drop(m.relu(m.fc1(x)))), fc1=nn.Linear(inputs, hidden), relu=nn.ReLU(), drop=nn.Dropout(),
        fc2=nn.Linear(hidden, outputs, **how),
    )  # fmt: skip


def batches(count: int = 4, inputs: int = 6, seed: int = 0) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return [(torch.randn(50, inputs, generator=generator), torch.zeros(50)) for _ in range(count)]


def in_groups(k: int, each: int, seed: int = 0, equal: bool = True) -> tuple[Net, list[set[int]]]:
    """A network with shuffled groups of k neurons, equal or proportional to each other, and these groups."""
    torch.manual_seed(seed)
    net = mlp(hidden=k * each).double()
    order = torch.randperm(k * each)
    with torch.no_grad():
        scale = torch.ones(k * each) if equal else torch.rand(k * each) + 0.2
        for tensor in (net.fc1.weight, net.fc1.bias):
            copies = tensor[:each].repeat_interleave(k, 0) * scale.view(-1, *[1] * (tensor.dim() - 1))
            tensor.copy_(copies[order])
    return net, [set((order // k == u).nonzero().flatten().tolist()) for u in range(each)]


# --- which layers can be grouped ---


def test_hidden_linear_layers_of_built_in_networks_can_be_grouped():
    found = groupable(trace(build("lenet5"), torch.zeros(1, 1, 28, 28)))
    assert found == {"fc1": Place("relu3.maxout", "fc2")}
    found = groupable(trace(empty("vgg16"), torch.zeros(1, 3, 32, 32)))
    assert found == {
        "classifier.0": Place("classifier.2.maxout", "classifier.3"),
        "classifier.3": Place("classifier.5.maxout", "classifier.6"),
    }
    found = groupable(trace(build("vgg16-small"), torch.zeros(1, 1, 28, 28)))
    assert list(found.values()) == [
        Place("classifier.drop6.maxout", "classifier.fc7"), Place("classifier.drop7.maxout", "classifier.fc8"),
    ]  # fmt: skip


def own(steps, **modules) -> Net:
    torch.manual_seed(0)
    return Net(steps, **{"fc1": nn.Linear(6, 4), "relu": nn.ReLU(), "fc2": nn.Linear(4, 3), **modules})


def test_a_linear_layer_with_a_relu_before_the_next_can_be_grouped():
    assert groupable(trace(own(lambda m, x: m.fc2(m.relu(m.fc1(x)))), torch.zeros(2, 6))) == {
        "fc1": Place("relu.maxout", "fc2")
    }


class WithSideHead(nn.Module):
    """Has a head that reads the hidden layer only in training."""

    def __init__(self):
        super().__init__()
        self.fc1, self.relu, self.fc2, self.side = nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x):
        x = self.relu(self.fc1(x))
        return (self.fc2(x), self.side(x)) if self.training else self.fc2(x)


OTHERS = {
    "functional activation": lambda: own(lambda m, x: m.fc2(F.relu(m.fc1(x)))),
    "another activation": lambda: own(lambda m, x: m.fc2(m.relu(m.fc1(x))), relu=nn.GELU()),
    "no activation": lambda: own(lambda m, x: m.relu(m.fc2(m.fc1(x)))),
    "another operation in between": lambda: own(lambda m, x: m.fc2(m.relu(m.fc1(x)) * 2)),
    "activation used elsewhere too": lambda: own(
        lambda m, x: m.fc2(h := m.relu(m.fc1(x))) + m.other(h), other=nn.Linear(4, 3)
    ),
    "layer output used elsewhere too": lambda: own(lambda m, x: m.fc2(m.relu(h := m.fc1(x))) + h.sum(1, keepdim=True)),
    "a module that is called twice": lambda: own(
        lambda m, x: m.relu(m.fc2(m.relu(m.fc1(x)))).sum(1, keepdim=True)
    ),
    "a layer that is called twice": lambda: own(
        lambda m, x: m.fc2(m.relu(m.fc1(x))) + m.fc2(m.again(m.fc1(x))), again=nn.ReLU()
    ),
    "vectors along another axis": lambda: own(lambda m, x: m.fc2(m.relu(m.fc1(x.unsqueeze(1))))),
    "a head for training": WithSideHead,
    "already maxout": lambda: own(lambda m, x: m.fc2(m.max(m.relu(m.fc1(x)))), max=Maxout(2), fc2=nn.Linear(2, 3)),
}


@pytest.mark.parametrize("make", OTHERS.values(), ids=OTHERS)
def test_other_layers_cannot_be_grouped(make):
    graph = trace(make(), torch.zeros(2, 6))
    assert groupable(graph) == {}
    with pytest.raises(SpecError, match="layer 'fc1' cannot become a maxout layer; layers that can: none"):
        group(graph, batches(), ["fc1"], 2)


def test_layers_with_shared_weights_cannot_be_grouped():
    net = own(lambda m, x: m.fc2(m.relu(m.fc1(x))) + m.other(x), fc1=nn.Linear(4, 4), other=nn.Linear(4, 3))
    assert list(groupable(trace(net, torch.zeros(2, 4)))) == ["fc1"]
    net.other.weight = net.fc2.weight
    assert groupable(trace(net, torch.zeros(2, 4))) == {}


# --- the weights of the next layer ---


def sums(a: torch.Tensor, k: int) -> torch.Tensor:
    return sum(products(part, k) for part in a.split(7))


@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("k", [1, 2, 3])
def test_the_weights_match_least_squares(k, with_bias):
    torch.manual_seed(k)
    a, weight = torch.randn(60, 12).relu().double(), torch.randn(3, 12).double()
    bias = torch.randn(3).double() if with_bias else None
    u = in_units(a, k).amax(2)
    design = torch.cat([u, torch.ones(60, 1)], 1) if with_bias else u
    wanted = torch.linalg.lstsq(design, a @ weight.T + (bias if with_bias else 0)).solution.T
    new, new_bias = refit(weight, bias, sums(a, k), ridge=0)
    torch.testing.assert_close(new, wanted[:, : 12 // k])
    if with_bias:
        torch.testing.assert_close(new_bias, wanted[:, -1])
    else:
        assert new_bias is None


def test_the_ridge_regularises_weights_that_examples_do_not_determine():
    torch.manual_seed(0)
    a, weight, bias = torch.randn(3, 40).relu().double(), torch.randn(2, 40).double(), torch.randn(2).double()
    new, new_bias = refit(weight, bias, sums(a, 2))
    free, _ = refit(weight, bias, sums(a, 2), ridge=1e-12)
    firm, firm_bias = refit(weight, bias, sums(a, 2), ridge=1e12)  # the best weight of each unit alone
    u, wanted = in_units(a, 2).amax(2), a @ weight.T + bias
    alone = torch.stack([
        torch.linalg.lstsq(u[:, [i]], a[:, 2 * i : 2 * i + 2] @ weight[:, 2 * i : 2 * i + 2].T).solution[0]
        if u[:, i].any() else torch.zeros(2).double()
        for i in range(20)
    ], 1)  # fmt: skip
    torch.testing.assert_close(firm, alone)
    assert (new - firm).norm() < (free - firm).norm()
    assert (u @ new.T + new_bias - wanted).norm() < 0.1 * (u @ firm.T + firm_bias - wanted).norm()


def test_neurons_that_are_never_active_give_finite_weights():
    weight = torch.randn(2, 4).double()
    new, bias = refit(weight, torch.ones(2).double(), sums(torch.zeros(9, 4).double(), 2))
    assert new.isfinite().all()
    torch.testing.assert_close(bias, torch.ones(2).double())


# --- units ---


def test_the_cost_of_a_pair_by_hand():
    a = torch.tensor([[1.0, 0, 2], [1, 0, 2], [0, 2, 0]]).double()  # 0 and 1 exclude each other, 2 is twice 0
    weight = torch.tensor([[1.0, 3, 9]]).double()
    cost = costs(a.T @ a, weight)
    assert cost[0, 1].item() == pytest.approx(2 * 4 / 6 * 4)
    assert cost[0, 2].item() == 0
    assert cost[1, 2].item() == pytest.approx(8 * 4 / 12 * 36)
    assert torch.equal(cost, cost.T)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_the_cost_of_mutually_exclusive_neurons_is_the_least_squares_error(seed):
    generator = torch.Generator().manual_seed(seed)
    a = torch.rand(20, 2, generator=generator).double()
    a[:, 0] *= torch.rand(20, generator=generator) < 0.5
    a[:, 1] *= a[:, 0] == 0
    weight = torch.randn(3, 2, generator=generator).double()
    u, target = a.amax(1, keepdim=True), a @ weight.T
    found = torch.linalg.lstsq(u, target, driver="gelsd").solution
    lost = (u @ found - target).square().sum()
    torch.testing.assert_close(costs(a.T @ a, weight)[0, 1], lost, atol=1e-9, rtol=1e-9)


def of_pairs(cost: torch.Tensor, found: torch.Tensor) -> float:
    return sum(cost[i, j].item() for unit in found.tolist() for i, j in itertools.combinations(unit, 2))


def partitions(left: tuple[int, ...], k: int):
    if not left:
        yield []
        return
    for others in itertools.combinations(left[1:], k - 1):
        rest = tuple(i for i in left[1:] if i not in others)
        for further in partitions(rest, k):
            yield [[left[0], *others], *further]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([(6, 2), (6, 3), (8, 2), (8, 4), (9, 3)]))
def test_units_are_a_partition_that_no_swap_improves(seed, sizes):
    n, k = sizes
    generator = torch.Generator().manual_seed(seed)
    cost = torch.rand(n, n, generator=generator).double()
    cost, energy = cost + cost.T, torch.rand(n, generator=generator)
    found = units(cost, energy, k)
    assert sorted(found.flatten().tolist()) == list(range(n))
    assert found.tolist() == sorted(sorted(unit) for unit in found.tolist())
    place = found.flatten().tolist()
    for i, j in itertools.combinations(range(n), 2):
        other = list(place)
        other[i], other[j] = other[j], other[i]
        assert of_pairs(cost, torch.tensor(other).view(-1, k)) >= of_pairs(cost, found) - 1e-6
    assert torch.equal(found, units(cost, energy, k))


def test_units_are_close_to_the_optimum():
    generator, ratios = torch.Generator().manual_seed(0), []
    for _ in range(20):
        points = torch.rand(9, 2, generator=generator).double()
        cost = torch.cdist(points, points).square()
        best = min(of_pairs(cost, torch.tensor(p)) for p in partitions(tuple(range(9)), 3))
        ratios.append(of_pairs(cost, units(cost, torch.ones(9), 3)) / best)
    assert min(ratios) >= 1 - 1e-9
    assert sum(ratios) / 20 < 1.15


# --- conversion ---


@pytest.mark.parametrize("equal", [True, False])
@pytest.mark.parametrize("k", [2, 3, 4])
def test_planted_groups_are_found_and_outputs_do_not_change(k, equal):
    net, planted = in_groups(k, 5, seed=k, equal=equal)
    seen = [(x.double(), y) for x, y in batches()]
    x = batches(1, seed=9)[0][0].double()
    before, rows = net.eval()(x), net.fc1.weight.detach().clone()
    orders = group(trace(net, x), seen, ["fc1"], k)
    (order,) = orders.values()
    assert {frozenset(order[i : i + k]) for i in range(0, 5 * k, k)} == set(map(frozenset, planted))
    assert torch.equal(net.fc1.weight, rows[order])
    assert net.fc2.weight.shape == (3, 5)
    torch.testing.assert_close(net(x), before, atol=1e-6, rtol=0)


@pytest.mark.parametrize("bias", [True, False])
def test_names_are_kept_and_only_the_next_layer_changes_shape(bias):
    torch.manual_seed(0)
    net = mlp(bias=bias)
    before = {key: (type(value), value.shape) for key, value in net.named_parameters()}
    graph = trace(net, torch.zeros(2, 6))
    orders = group(graph, batches(), [], 4)
    assert list(orders) == ["fc1"]
    assert sorted(orders["fc1"]) == list(range(12))
    after = {key: (type(value), value.shape) for key, value in net.named_parameters()}
    assert after == before | {"fc2.weight": (nn.Parameter, (3, 3))}
    assert net.fc2.in_features == 3
    assert units_of(net) == {"drop.maxout": 4}
    assert isinstance(net.drop.activation, nn.Dropout)
    assert net.training
    assert all(p.requires_grad and p.grad is None for p in net.parameters())
    assert not net.fc2._forward_pre_hooks


def test_outputs_change_less_than_with_adjacent_neurons(monkeypatch):
    seen, x = batches(20), batches(4, seed=5)

    def error() -> float:
        total = 0.0
        for seed in range(4):
            torch.manual_seed(seed)
            net = mlp(hidden=48).eval().requires_grad_(False)
            before = [net(b) for b, _ in x]
            group(trace(net, x[0][0]), seen, ["fc1"], 4)
            total += sum((net(b) - old).square().mean().item() for (b, _), old in zip(x, before, strict=True))
        return total

    chosen = error()
    monkeypatch.setattr(unit_choice, "units", lambda cost, energy, k: torch.arange(48).view(-1, k))
    assert chosen < 0.8 * error()


def test_consecutive_layers_are_converted_in_depth_order():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 12), nn.ReLU(), nn.Dropout(), nn.Linear(12, 3))
    one_by_one, seen, example = copy.deepcopy(net), batches(10), torch.zeros(2, 6)
    orders = group(trace(net, example), seen, ["2", "0"], 2)
    assert list(orders) == ["0", "2"]
    assert units_of(net) == {"1.maxout": 2, "4.maxout": 2}
    assert (net[2].weight.shape, net[5].weight.shape) == ((12, 4), (3, 6))
    first = group(trace(one_by_one, example), seen, ["0"], 2)
    hidden = [(one_by_one[:2](x), y) for x, y in seen]
    second = group(trace(one_by_one[2:], torch.zeros(2, 4)), hidden, ["2"], 2)  # a slice that shares the layers
    assert orders == first | second
    assert all(torch.equal(value, net.state_dict()[key]) for key, value in one_by_one.state_dict().items())


def test_grouping_is_deterministic():
    found = []
    for _ in range(2):
        torch.manual_seed(0)
        net = mlp()
        orders = group(trace(net, torch.zeros(2, 6)), batches(), ["fc1"], 3)
        found.append((orders, net.state_dict()))
    assert found[0][0] == found[1][0]
    assert all(torch.equal(value, found[1][1][key]) for key, value in found[0][1].items())


def test_batches_may_be_tensors_and_their_sizes_do_not_matter():
    whole, results = torch.cat([x for x, _ in batches()]), []
    for size in (200, 33):
        torch.manual_seed(0)
        net = mlp().eval()
        group(trace(net, whole[:2]), whole.split(size), ["fc1"], 3)
        results.append(net(whole))
    torch.testing.assert_close(results[0], results[1], atol=1e-5, rtol=0)


def test_errors_are_raised_before_anything_changes():
    net = mlp()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    graph = trace(net, torch.zeros(2, 6))
    with pytest.raises(SpecError, match="layer 'fc1' has 12 neurons, not a multiple of k = 5; valid k: 2, 3, 4, 6, 12"):
        group(graph, batches(), ["fc1"], 5)
    with pytest.raises(SpecError, match="layer 'fc2' cannot become a maxout layer; layers that can: fc1"):
        group(graph, batches(), ["fc1", "fc2"], 4)
    with pytest.raises(SpecError, match="at least 2 neurons per maxout unit, not 1"):
        group(graph, batches(), ["fc1"], 1)
    with pytest.raises(DataError, match="no examples"):
        group(graph, [], ["fc1"], 4)
    with pytest.raises(TrimError, match="NaN or infinite"):
        group(graph, [torch.full((2, 6), torch.nan)], ["fc1"], 4)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert units_of(net) == {}


# --- inserting ---


def test_inserting_adds_the_maximum_and_keeps_the_names():
    net = build("lenet5")
    names = list(net.state_dict())
    net.fc2 = nn.Linear(125, 10)
    x, relu = torch.randn(2, 1, 28, 28), net.relu3
    net.eval()
    assert insert(net, {"relu3.maxout": 4}) is net
    assert list(net.state_dict()) == names
    assert net.relu3.activation is relu
    assert not net.relu3.training
    assert net.relu3(torch.arange(8.0)[None] - 5).tolist() == [[0, 2]]
    assert net(x).shape == (2, 10)


def test_inserting_sets_an_existing_maxout_module():
    net = insert(build("lenet5"), {"relu3.maxout": 4})
    insert(net, {"relu3.maxout": 3})
    assert units_of(net) == {"relu3.maxout": 3}
    insert(net, {"relu3.maxout": 1})
    assert units_of(net) == {}
    own = insert(build("lenet5-maxout"), {"maxout": 2})
    assert units_of(own) == {"maxout": 2}


def test_units_of_one_neuron_are_not_inserted():
    net = insert(build("lenet5"), {"relu3.maxout": 1})
    assert isinstance(net.relu3, nn.ReLU)


@pytest.mark.parametrize("name", ["relu9.maxout", "fc1.maxout", "maxout", "relu3", "relu3.other", ""])
def test_an_invalid_name_raises(name):
    for k in (1, 2):
        with pytest.raises(CheckpointError, match="cannot insert maxout units at"):
            insert(build("lenet5"), {name: k})
