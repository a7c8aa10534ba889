"""Weight pruning: choosing weights, against sorting and by hand; holding them at zero, against masked gradients."""

import copy
import math
import statistics

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrizations

from trimcore.errors import SpecError, TrimError
from trimcore.spec.rules import check_weight_rule
from trimcore.surgery.magnitude import RULES, choose_weights, hold, masks_of, prunable, scheduled

# Few different magnitudes, so that many are equal, including zeros.
SOME = st.lists(st.sampled_from([0.0, 0.25, -0.25, 0.5, -0.5, 1.0, -1.0, 2.0]), min_size=1, max_size=40)
SHARES = st.integers(1, 99).map(lambda hundredths: hundredths / 100)


def layer(values, dtype=torch.float32) -> nn.Linear:
    """A linear layer with one neuron and these weights."""
    made = nn.Linear(len(values), 1).to(dtype)
    made.weight.data[:] = torch.tensor([values], dtype=dtype)
    return made


def network(**weights) -> nn.Sequential:
    made = nn.Sequential()
    for name, values in weights.items():
        made.add_module(name, layer(values))
    return made


def kept(masks, name: str = "a") -> list[int]:
    return masks[name].reshape(-1).nonzero().view(-1).tolist()


def convnet() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(),
        nn.Flatten(), nn.Linear(16, 5),
    )  # fmt: skip


# --- values and schedules ---


@pytest.mark.parametrize(
    ("rule", "value", "message"),
    [
        ("quality", 0, "rule 'quality' takes a number of standard deviations above 0, not 0"),
        ("quality", math.inf, "above 0, not inf"),
        ("quality", math.nan, "above 0, not nan"),
        ("sparsity", 0.0, "rule 'sparsity' takes a fraction of zeros between 0 and 1, not 0.0"),
        ("sparsity", 1, "between 0 and 1, not 1"),
        ("sparsity", 90, "between 0 and 1, not 90"),
        ("sparsity-overall", math.nan, "rule 'sparsity-overall' takes a fraction of zeros between 0 and 1, not nan"),
        ("fraction", 0.5, "unknown weight rule 'fraction'; expected one of quality, sparsity, sparsity-overall"),
    ],
)
def test_values_out_of_range_raise(rule, value, message):
    choose = lambda: choose_weights(network(a=[1, 2]), {"a": (rule, value)})  # noqa: E731
    for ask in (lambda: check_weight_rule(rule, value), choose):
        with pytest.raises(SpecError, match=message):
            ask()


def test_values_in_range_are_accepted():
    for rule, value in (("quality", 1e-3), ("quality", 40), ("sparsity", 1e-9), ("sparsity-overall", 0.999)):
        check_weight_rule(rule, value)


def test_the_schedule_by_hand():
    """1 - (3/4)^3 = 0.578125, 1 - (1/2)^3 = 0.875, 1 - (1/4)^3 = 0.984375"""
    for rule in ("sparsity", "sparsity-overall"):
        assert [scheduled(rule, 0.8, i, 4) for i in (1, 2, 3, 4)] == pytest.approx([0.4625, 0.7, 0.7875, 0.8])
    assert [scheduled("quality", 1.5, i, 3) for i in (1, 2, 3)] == pytest.approx([0.5, 1.0, 1.5])
    for round in (0, 4):
        with pytest.raises(SpecError, match=f"iteration {round} does not exist; the step has iterations 1 to 3"):
            scheduled("quality", 1.5, round, 3)


@settings(deadline=None)
@given(st.sampled_from(RULES), st.floats(1e-6, 0.999), st.integers(1, 60))
def test_schedules_rise_to_the_value_itself(rule, value, rounds):
    found = [scheduled(rule, value, i, rounds) for i in range(1, rounds + 1)]
    assert found[-1] == value
    assert found == sorted(found)
    assert found[0] > 0
    steps = [b - a for a, b in zip([0.0, *found], found, strict=False)]
    if rule != "quality":  # the steps get smaller
        assert all(a >= b - 1e-12 for a, b in zip(steps, steps[1:], strict=False))
    else:
        assert steps == pytest.approx([value / rounds] * rounds)


# --- what can be pruned ---


def test_only_weights_of_linear_layers_and_convolutions_can_be_pruned():
    model = nn.ModuleDict({
        "conv": nn.Conv1d(2, 3, 3), "up": nn.ConvTranspose2d(2, 3, 2), "norm": nn.BatchNorm1d(3),
        "scale": nn.LayerNorm(4), "table": nn.Embedding(5, 4), "shared": nn.Linear(4, 4), "again": nn.Linear(4, 4),
        "made": parametrizations.weight_norm(nn.Linear(4, 4)), "slope": nn.PReLU(3), "last": nn.Linear(4, 1),
        "attention": nn.MultiheadAttention(4, 2),
    })  # fmt: skip
    model["again"].weight = model["shared"].weight
    found = prunable(model)
    assert list(found) == ["conv", "up", "shared", "last", "attention.out_proj"]
    assert all(found[name] is model.get_submodule(name).weight for name in found)
    assert prunable(nn.ReLU()) == {}


def test_unknown_layers_and_wrong_mask_shapes_raise():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    mask = torch.ones(2, dtype=torch.bool)
    for ask in (
        lambda: masks_of(model, ["0", "1"]),
        lambda: choose_weights(model, {"1": ("sparsity", 0.5)}),
        lambda: hold(model, {"1": mask}),
    ):
        with pytest.raises(SpecError, match="^layer '1' has no weights to prune; layers with weights: 0$"):
            ask()
    with pytest.raises(SpecError, match=r"^the mask of layer '0' has shape \(2,\), but its weight has shape \(2, 2\)$"):
        hold(model, {"0": mask})


def test_masks_are_false_at_zeros():
    masks = masks_of(network(a=[0.0, -1.0, -0.0, 3.0], b=[1.0]), ["a"])
    assert list(masks) == ["a"]
    assert masks["a"].tolist() == [[False, True, False, True]]


# --- what is pruned ---


def test_sparsity_by_hand():
    values = [3.0, -1.0, 0.0, 1.0, -2.0, 1.0, 5.0, -4.0, 0.5, 1.0]
    for value, stays, threshold in (
        (0.1, [0, 1, 3, 4, 5, 6, 7, 8, 9], 0.0),  # only the existing zero
        (0.2, [0, 1, 3, 4, 5, 6, 7, 9], 0.5),
        (0.3, [0, 3, 4, 5, 6, 7, 9], 1.0),  # on a tie, the first
        (0.49, [0, 4, 5, 6, 7, 9], 1.0),  # 4.9, rounded down to four
        (0.7, [0, 6, 7], 2.0),  # seven, despite rounding errors in 0.7 * 10
        (0.99, [6], 4.0),
    ):
        masks, cuts = choose_weights(network(a=values), {"a": ("sparsity", value)})
        assert kept(masks) == stays
        assert cuts["a"].threshold == threshold
        assert (cuts["a"].rule, cuts["a"].value) == ("sparsity", value)
        assert (cuts["a"].weights, cuts["a"].zeros, cuts["a"].newly) == (10, 10 - len(stays), 9 - len(stays))


def test_fractions_are_interpreted_as_decimals():
    assert 0.29 * 100 < 29  # in floating point
    assert 0.07 * 100 > 7
    for hundredths in range(1, 100):
        cut = choose_weights(network(a=range(1, 101)), {"a": ("sparsity", hundredths / 100)})[1]["a"]
        assert cut.zeros == cut.newly == cut.threshold == hundredths


def test_quality_by_hand():
    """Excluding zeros: mean 0, variance (1 + 1 + 9 + 9) / 4 = 5, standard deviation 2.236."""
    values = [1.0, 0.0, -1.0, 3.0, 0.0, -3.0]
    for value, stays in ((0.4, [0, 2, 3, 5]), (0.5, [3, 5]), (1.3, [3, 5]), (1.4, [5]), (1e300, [5])):
        masks, cuts = choose_weights(network(a=values), {"a": ("quality", value)})
        assert kept(masks) == stays
        assert cuts["a"].threshold == pytest.approx(value * math.sqrt(5))
        assert (cuts["a"].zeros, cuts["a"].newly) == (6 - len(stays), 4 - len(stays))


def test_pruning_again_by_quality_does_not_lower_the_threshold():
    torch.manual_seed(0)
    model, thresholds = nn.Linear(40, 50), []
    for _ in range(4):
        masks, cuts = choose_weights(model, {"": ("quality", 0.5)})
        hold(model, masks)
        thresholds.append(cuts[""].threshold)
    assert thresholds == sorted(thresholds)


def test_one_ranking_for_all_layers_by_hand():
    """Nine weights. The largest of `small` is kept although four larger weights in other layers are pruned."""
    weights = {"large": [2.0, -1.0, 5.0], "small": [0.1, 0.2], "middle": [1.0, 1.0, 3.0, 2.0]}
    for value, stays in (
        (0.3, {"large": [0, 2], "small": [1], "middle": [0, 1, 2, 3]}),  # two: 0.1 and the first 1
        (0.5, {"large": [0, 2], "small": [1], "middle": [2, 3]}),  # four
        (0.6, {"large": [2], "small": [1], "middle": [2, 3]}),  # five
        (0.99, {"large": [2], "small": [1], "middle": [2]}),  # eight, but one per layer is kept
    ):
        masks, cuts = choose_weights(network(**weights), dict.fromkeys(weights, ("sparsity-overall", value)))
        assert {name: kept(masks, name) for name in weights} == stays
        assert {cut.threshold for cut in cuts.values()} == {1.0 if value < 0.6 else 2.0}
        assert {name: cut.newly for name, cut in cuts.items()} == {n: len(weights[n]) - len(stays[n]) for n in weights}


def test_one_ranking_needs_one_value():
    rules = {"a": ("sparsity-overall", 0.5), "b": ("sparsity-overall", 0.25)}
    with pytest.raises(SpecError, match="'sparsity-overall' needs the same value for all layers, not 0.25 and 0.5"):
        choose_weights(network(a=[1, 2], b=[3, 4]), rules)


def test_each_layer_uses_its_own_rule_and_results_are_in_network_order():
    model = network(a=[1, 2, 3, 4], b=[5, 1, 6], c=[1, 9], d=[7, 7])
    rules = {"d": ("sparsity-overall", 0.5), "c": ("quality", 0.3), "a": ("sparsity", 0.5),
             "b": ("sparsity-overall", 0.5)}  # fmt: skip
    masks, cuts = choose_weights(model, rules)
    assert list(masks) == list(cuts) == ["a", "b", "c", "d"]
    assert {name: kept(masks, name) for name in masks} == {"a": [2, 3], "b": [2], "c": [1], "d": [0, 1]}
    assert {name: (cut.rule, cut.value) for name, cut in cuts.items()} == rules


def in_order(layers: dict[str, list[float]], share: float) -> dict[str, list[int]]:
    """The weights to keep, by sorting: the smallest are pruned, but never the last largest weight of a layer."""
    protected = {}
    for name, values in layers.items():
        largest = max(abs(v) for v in values)
        protected[name] = max(i for i, v in enumerate(values) if abs(v) == largest) if largest else None
    order = sorted((abs(v), n, i) for n, name in enumerate(layers) for i, v in enumerate(layers[name]))
    names, total = list(layers), sum(map(len, layers.values()))
    candidates = [(names[n], i) for _, n, i in order if protected[names[n]] != i]
    zeros = sum(v == 0 for values in layers.values() for v in values)
    pruned = set(candidates[: max(round(share * 100) * total // 100, zeros)])
    return {name: [i for i in range(len(values)) if (name, i) not in pruned] for name, values in layers.items()}


@settings(deadline=None)
@given(SOME, SOME, SOME, SHARES)
def test_sparsity_is_exact_and_prunes_the_smallest(a, b, c, share):
    layers = {"a": a, "b": b, "c": c}
    model = network(**layers)
    masks, cuts = choose_weights(model, dict.fromkeys(layers, ("sparsity", share)))
    for name, values in layers.items():
        assert kept(masks, name) == in_order({name: values}, share)[name]
        assert cuts[name].zeros == max(round(share * 100) * len(values) // 100, values.count(0.0))
    masks, cuts = choose_weights(model, dict.fromkeys(layers, ("sparsity-overall", share)))
    assert {name: kept(masks, name) for name in layers} == in_order(layers, share)
    for name, values in layers.items():
        assert cuts[name].zeros == len(values) - len(kept(masks, name))
        assert cuts[name].newly == cuts[name].zeros - values.count(0.0)


@settings(deadline=None)
@given(SOME, st.floats(0.01, 5))
def test_quality_prunes_magnitudes_up_to_the_threshold(values, quality):
    masks, cuts = choose_weights(network(a=values), {"a": ("quality", quality)})
    there = [v for v in values if v]
    threshold = quality * statistics.pstdev(there) if there else 0.0
    assert cuts["a"].threshold == pytest.approx(threshold)
    stays = [i for i, v in enumerate(values) if abs(v) > torch.tensor(cuts["a"].threshold)]
    last_largest = [i for i, v in enumerate(values) if there and abs(v) == max(map(abs, there))][-1:]
    assert kept(masks) == (stays or last_largest)


@settings(deadline=None)
@given(SOME, SOME, st.sampled_from(RULES), SHARES, SHARES)
def test_a_higher_value_prunes_more_and_keeps_a_weight_of_each_layer(a, b, rule, one, other):
    model = network(a=a, b=b)
    less, more = (dict.fromkeys("ab", (rule, value)) for value in sorted((one, other)))
    (few, _), (many, _) = choose_weights(model, less), choose_weights(model, more)
    for name, values in (("a", a), ("b", b)):
        assert set(kept(many, name)) <= set(kept(few, name)) <= {i for i, v in enumerate(values) if v}
        assert bool(kept(many, name)) == any(values)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_layers_with_no_or_only_zero_weights_are_unchanged():
    model = network(a=[0.0] * 4, b=[2.0, 1.0])
    model.add_module("c", nn.Linear(0, 3))
    for rule in RULES:
        masks, cuts = choose_weights(model, dict.fromkeys("abc", (rule, 0.5)))
        assert not masks["a"].any()
        assert (cuts["a"].zeros, cuts["a"].newly, cuts["c"].zeros) == (4, 0, 0)
        assert masks["b"].any()
        assert masks["c"].shape == (3, 0)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("rule", RULES)
def test_weights_that_are_not_finite_raise(rule, bad):
    with pytest.raises(TrimError, match="^layer 'b' has weights that are NaN or infinite"):
        choose_weights(network(a=[1.0, 2.0], b=[1.0, bad, 2.0]), {"a": (rule, 0.5), "b": (rule, 0.5)})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions(dtype):
    model = layer([4.0, 0.5, -3.0, 1.0], dtype)
    for rule, value in (("sparsity", 0.5), ("sparsity-overall", 0.5), ("quality", 0.5)):  # deviation 2.5
        masks, _ = choose_weights(model, {"": (rule, value)})
        assert kept(masks, "") == [0, 2]
        hold(copy.deepcopy(model), masks)


def test_the_order_of_weights_does_not_depend_on_their_strides():
    model = nn.Conv2d(3, 4, 2)
    model.weight.data = (torch.arange(48) % 5 + 1.0).reshape(4, 3, 2, 2)
    usual, _ = choose_weights(model, {"": ("sparsity", 0.55)})
    lasting = copy.deepcopy(model).to(memory_format=torch.channels_last)
    assert not lasting.weight.is_contiguous()
    masks, _ = choose_weights(lasting, {"": ("sparsity", 0.55)})
    assert torch.equal(masks[""], usual[""])
    hold(lasting, masks)
    assert torch.equal(lasting.weight, model.weight * usual[""])
    assert lasting.weight.is_contiguous(memory_format=torch.channels_last)


# --- holding ---


def test_choosing_changes_nothing_and_holding_changes_only_the_weights():
    model = convnet()
    before = copy.deepcopy(model.state_dict())
    masks, _ = choose_weights(model, {"0": ("sparsity", 0.6), "3": ("quality", 1.0), "7": ("sparsity", 0.3)})
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    hold(model, masks)
    for name, tensor in model.state_dict().items():
        layer = name.removesuffix(".weight")
        assert torch.equal(tensor, before[name] * masks[layer] if layer in masks else before[name])
    assert all(not mask.all() for mask in masks.values())


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000), st.booleans(), st.sampled_from(RULES))
def test_training_continues_as_if_the_gradients_were_masked(seed, nesterov, rule):
    """Bit for bit, even with momentum and weight decay, which would change the zeros."""
    torch.manual_seed(seed)
    model, x, y = convnet(), torch.randn(8, 2, 6, 6), torch.randint(0, 5, (8,))
    layers = ["0", "7"]

    def steps(network, optimizer, before=lambda: None, after=lambda: None):
        for _ in range(3):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(x), y).backward()
            before()
            optimizer.step()
            after()

    def sgd(network):
        return torch.optim.SGD(network.parameters(), 0.1, 0.9, weight_decay=0.01, nesterov=nesterov)

    masks, _ = choose_weights(model, dict.fromkeys(layers, (rule, 0.5)))
    reference = copy.deepcopy(model)
    weights = {name: reference.get_submodule(name).weight for name in layers}
    for name in layers:
        weights[name].data[~masks[name]] = 0.0
    steps(reference, sgd(reference), lambda: [weights[name].grad.mul_(masks[name]) for name in layers])
    steps(model, sgd(model), after=hold(model, masks))
    wanted, found = reference.state_dict(), model.state_dict()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    assert all(not found[f"{name}.weight"][~masks[name]].any() for name in layers)
    assert not torch.equal(found["7.bias"], convnet().state_dict()["7.bias"])  # the network did train


def test_earlier_momentum_does_not_revive_weights():
    torch.manual_seed(1)
    model = nn.Linear(6, 4)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, 0.9)
    model(torch.ones(2, 6)).pow(2).sum().backward()
    optimizer.step()
    masks, _ = choose_weights(model, {"": ("sparsity", 0.5)})
    again = hold(model, masks)
    optimizer.step()
    assert model.weight[~masks[""]].abs().min() > 0  # the step moved them away from zero
    again()
    assert torch.equal(masks_of(model, [""])[""], masks[""])


def test_masks_follow_the_weights():
    model = nn.Linear(6, 4)
    masks, _ = choose_weights(model, {"": ("sparsity", 0.5)})
    again = hold(model, masks)
    model.double()  # like a move to another device, this replaces the data of the parameters in place
    model.weight.data.fill_(1.0)
    again()
    assert torch.equal(model.weight, masks[""].double())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_gives_the_same_choice_and_weights():
    model = convnet()
    rules = {"0": ("sparsity-overall", 0.6), "3": ("quality", 1.0), "7": ("sparsity-overall", 0.6)}
    masks, cuts = choose_weights(model, rules)
    again = hold(model, masks)
    model.cuda()
    model[0].weight.data.fill_(1.0)
    again()
    assert torch.equal(model[0].weight.cpu(), masks["0"].float())
    there = convnet().cuda()
    found, same = choose_weights(there, rules)
    assert same == cuts
    assert all(mask.is_cuda and torch.equal(mask.cpu(), masks[name]) for name, mask in found.items())
    hold(there, masks)
    assert torch.equal(masks_of(there, ["3"])["3"].cpu(), masks["3"])
