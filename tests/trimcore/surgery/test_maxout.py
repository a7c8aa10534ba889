"""Pruning within maxout units: the result computes what the full network does without the removed neurons."""

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.trimcore.nets import Net, conv, maxouts
from tests.trimcore.oracle import ROUNDING, check, gap, images, randomised
from trimcore.errors import NotTrimmable, SpecError
from trimcore.graph.costs import cost_of
from trimcore.graph.tracing import trace
from trimcore.layers.maxout import Maxout, units_of
from trimcore.planning.plan import LayerPlan, Plan, plan_within_units
from trimcore.scoring.relevance import relevance
from trimcore.surgery.cut import cut, prune
from trimcore.surgery.momentum import carry_over


def made(seed: int = 0, k: int = 3, units: int = 4) -> nn.Module:
    torch.manual_seed(seed)
    return randomised(maxouts(k, units), seed)


def of_each_unit(units: int, k: int, count: int, seed: int = 0) -> list[int]:
    """`count` random neurons of every unit."""
    choice = random.Random(seed)
    return sorted(u * k + i for u in range(units) for i in choice.sample(range(k), count))


def test_a_unit_outputs_the_maximum_of_adjacent_neurons():
    x = images(2, 6, 3)
    expected = torch.stack([torch.stack([x[:, 0:3].amax(1), x[:, 3:6].amax(1)], 1)], 0)[0]
    assert torch.equal(Maxout(3)(x), expected)
    assert torch.equal(Maxout(3, dim=-1)(x), x.amax(-1, keepdim=True))
    assert torch.equal(Maxout(1)(x), x)


def test_indivisible_channels_and_k_below_1_raise():
    with pytest.raises(ValueError, match="7 channels do not divide into maxout units of 2"):
        Maxout(2)(images(1, 7))
    with pytest.raises(SpecError, match="at least one neuron, not 0"):
        Maxout(0)
    with pytest.raises(NotTrimmable, match="2: 5 channels do not divide into maxout units of 2"):
        trace(nn.Sequential(nn.Linear(4, 5), nn.ReLU(), Maxout(2), nn.Linear(2, 2)), images(1, 4))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("count", [1, 2])
def test_within_units_against_the_oracle(seed, count):
    model, x = made(seed), images(5, 3, 8, 8, seed=seed)
    small = check(model, {"fc1": of_each_unit(4, 3, count, seed)}, x, within=("fc1",))
    assert (small.fc1.out_features, small.fc2.in_features) == (12 - 4 * count, 4)
    both = {"fc1": of_each_unit(4, 3, count, seed), "conv1": of_each_unit(5, 2, 1, seed)}
    small = check(model, both, x, within=("fc1", "conv1"))
    assert (small.conv1.out_channels, small.norm.num_features, small.conv2.in_channels) == (5, 5, 5)


def test_whole_units_of_one_layer_and_single_neurons_of_another_at_once():
    model, x = made(), images(5, 3, 8, 8)
    small = check(model, {"fc1": of_each_unit(4, 3, 1), "conv1": [2], "conv2": [0]}, x, within=("fc1",))
    assert (small.conv1.out_channels, small.conv2.in_channels, small.conv2.out_channels) == (8, 4, 2)
    assert (small.fc1.out_features, small.fc1.in_features) == (8, 32)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**9), st.integers(2, 5), st.integers(1, 5))
def test_units_of_any_size(seed, k, units):
    count = seed % (k - 1) + 1
    model, x = made(seed % 1000, k, units), images(4, 3, 8, 8, seed=seed % 1000)
    graph = trace(model, x)
    plan, within = {"fc1": of_each_unit(units, k, count, seed)}, ("fc1",)
    small = prune(model, plan, graph=graph, within=within)
    with torch.no_grad():
        _held_back(model.maxout, plan["fc1"])
        assert gap(small(x), model(x)) < ROUNDING


def _held_back(maxout: nn.Module, neurons: list[int]):
    """Hold these neurons at minus infinity, so that they are never the maximum."""

    def hold(module, inputs):
        x = inputs[0].clone()
        x[:, neurons] = -torch.inf
        return (x,)

    return maxout.register_forward_pre_hook(hold)


@pytest.mark.parametrize("after", [nn.Identity, nn.Tanh, nn.LeakyReLU])
def test_without_a_relu_a_removed_neuron_is_never_the_maximum(after):
    torch.manual_seed(0)
    parts = {"fc1": nn.Linear(4, 12), "after": after(), "maxout": Maxout(4), "fc2": nn.Linear(3, 2)}
    model = randomised(Net(lambda m, x: m.fc2(m.maxout(m.after(m.fc1(x)))), **parts))
    x, removed = images(20, 4), of_each_unit(3, 4, 2)
    small = prune(model, {"fc1": removed}, x, within=["fc1"])
    with torch.no_grad():
        full = model(x)
        _held_back(model.maxout, removed)
        assert gap(small(x), model(x)) < ROUNDING
        assert gap(model(x), full) > 0.01


# --- the two bugs of the published demonstration


def test_every_kept_neuron_stays_in_its_own_unit():
    """Writing kept rows to wrong indices would change units without changing shapes."""
    model, x = made(), images(6, 3, 8, 8)
    removed = [2, 3, 7, 10]  # a different position in each unit
    small = prune(model, {"fc1": removed}, x, within=["fc1"])
    kept = [i for i in range(12) if i not in removed]
    assert torch.equal(small.fc1.weight, model.fc1.weight[kept])
    assert torch.equal(small.fc1.bias, model.fc1.bias[kept])
    assert torch.equal(small.fc2.weight, model.fc2.weight)
    seen = {}
    model.maxout.register_forward_pre_hook(lambda m, inputs: seen.update(before=inputs[0]))
    small.maxout.register_forward_hook(lambda m, inputs, out: seen.update(after=out))
    with torch.no_grad():
        model(x), small(x)
    for unit in range(4):
        members = [i for i in kept if i // 3 == unit]
        assert gap(seen["after"][:, unit], seen["before"][:, members].amax(1)) < ROUNDING


def test_units_are_pruned_one_by_one_until_the_maximum_disappears():
    """Relevance is counted over the neurons that a unit has now, not those that it had originally."""
    model, x = made(k=4), images(40, 3, 8, 8)
    for k in (4, 3, 2):
        seen = relevance(model, [x])
        assert seen["fc1"].counts.shape == (4, k)
        assert (seen["fc1"].counts.sum(1) == 40 * seen["fc1"].shares).all()
        chosen = plan_within_units(seen, layers="fc1")
        assert len(chosen["fc1"]) == 4
        for unit, neuron in enumerate(chosen["fc1"]):
            assert seen["fc1"].counts[unit, neuron - unit * k] == seen["fc1"].counts[unit].min()
        assert units_of(model)["maxout"] == k
        small = cut(trace(model, x), chosen)
        with torch.no_grad():
            handle = _held_back(model.maxout, list(chosen["fc1"]))
            assert gap(small.model(x), model(x)) < ROUNDING
            handle.remove()
        model = small.model
    assert not isinstance(model.maxout, Maxout)
    assert list(small.units) == ["conv1"]
    assert small.layers["fc1"].width == 4
    assert check(model, {"fc1": [1, 2]}, x).fc2.in_features == 2  # a plain layer now


# --- ties


def test_removing_a_neuron_removes_its_whole_unit():
    model, x = made(), images(3, 3, 8, 8)
    graph = trace(model, x)
    assert graph.together("fc1", [4]) == [3, 4, 5]
    assert (graph.units["fc1"].k, graph.units["conv1"].k) == (3, 2)
    assert graph.trimmable() == ["conv1", "conv2", "fc1"]
    assert check(model, {"fc1": [4]}, x, graph).fc1.out_features == 9


def test_the_original_is_unchanged():
    model, x = made(), images(3, 3, 8, 8)
    before = model(x)
    prune(model, {"fc1": of_each_unit(4, 3, 2)}, x, within=["fc1"])
    assert torch.equal(model(x), before)
    assert model.maxout.k == 3


@pytest.mark.parametrize(
    ("plan", "within", "line"),
    [
        ({"fc1": [1]}, ["fc1"], "units of layer 'fc1' would keep 2 to 3 neurons; all units must keep the same number"),
        ({"fc1": [0, 1, 2, 3, 6, 9]}, ["fc1"], "would keep 0 to 2 neurons"),
        ({"conv2": [1]}, ["conv2"], "'conv2' has no maxout units; layers with units: conv1, fc1"),
        ({"fc1": list(range(12))}, ["fc1"], "would remove every neuron of layer 'fc1'"),
        ({"fc1": [12]}, ["fc1"], "has neurons 0 to 11, not 12"),
    ],
)
def test_invalid_plans_raise(plan, within, line):
    with pytest.raises(NotTrimmable, match=line):
        prune(made(), plan, images(1, 3, 8, 8), within=within)


def test_units_of_a_module_that_is_called_twice_are_only_removed_whole():
    model = Net(
        lambda m, x: m.fc2(m.maxout(m.fc1(x).relu()) + m.maxout(m.fc0(x).relu())),
        fc0=nn.Linear(4, 6), fc1=nn.Linear(4, 6), maxout=Maxout(2), fc2=nn.Linear(3, 2),
    )  # fmt: skip
    model, x = randomised(model), images(5, 4)
    graph = trace(model, x)
    assert graph.units == {}
    assert check(model, {graph.trimmable()[0]: [0, 1]}, x, graph).fc0.out_features == 4


def test_a_removed_neuron_is_zero_for_its_other_readers():
    model = Net(
        lambda m, x: m.fc2(m.maxout(h := m.fc1(x).relu())) + m.fc3(h),
        fc1=nn.Linear(4, 6), maxout=Maxout(2), fc2=nn.Linear(3, 2), fc3=nn.Linear(6, 2),
    )  # fmt: skip
    small = check(randomised(model), {"fc1": [0, 3, 4]}, images(5, 4), within=("fc1",))
    assert small.fc3.in_features == 3


def test_channels_along_another_axis_freeze():
    model = Net(
        lambda m, x: m.fc2(m.maxout(m.conv1(x).relu()).flatten(1)),
        conv1=conv(3, 4), maxout=Maxout(2, dim=2), fc2=nn.Linear(4 * 4 * 8, 2),
    )  # fmt: skip
    assert trace(model, images(1, 3, 8, 8)).layers["conv1"].reason == "there is no rule for Maxout at maxout"


def test_momentum_and_cost_match_the_kept_neurons():
    model, x = made().train(), images(8, 3, 8, 8)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(x).square().sum().backward()
    optimizer.step()
    graph, kept = trace(model, x), [i for i in range(12) if i not in (0, 4, 8, 11)]
    plan = Plan({"fc1": LayerPlan((0, 4, 8, 11), "maxout")})
    small = cut(graph, plan)
    carried = carry_over(optimizer, graph, plan, small.model)
    before = optimizer.state[model.fc1.weight]["momentum_buffer"]
    assert torch.equal(carried.state[small.model.fc1.weight]["momentum_buffer"], before[kept])
    assert cost_of(graph, plan) == cost_of(small)


def test_scores_rank_within_each_unit():
    model, x = made(), images(9, 3, 8, 8)
    scores = {"fc1": torch.tensor([0.0, 5, 1, 9, 9, 2, 7, 8, 8, -1, -2, -1])}
    assert plan_within_units(relevance(model, [x]), 1, "fc1", scores)["fc1"] == (1, 3, 7, 9)  # on a tie, the first
    assert plan_within_units(relevance(model, [x]), 5, "fc1", scores)["fc1"] == (1, 2, 3, 4, 7, 8, 9, 11)  # one is kept
    with pytest.raises(SpecError, match="layer 'conv2' has no maxout units"):
        plan_within_units(relevance(model, [x]), layers=["conv2"])


def test_networks_on_the_meta_device_can_be_cut():
    with torch.device("meta"):
        model = maxouts()
    graph = trace(model, torch.zeros(1, 3, 8, 8))
    assert cut(graph, {"fc1": of_each_unit(4, 3, 2)}, ["fc1"]).layers["fc1"].width == 4

