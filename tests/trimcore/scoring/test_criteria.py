"""Scores of every criterion against their definitions."""

import pytest
import torch
from torch import nn

from tests.trimcore.nets import NETS, Net, between
from tests.trimcore.oracle import images, randomised
from trimcore.errors import SpecError
from trimcore.graph.tracing import trace
from trimcore.scoring.apoz import profile
from trimcore.scoring.criteria import CRITERIA, scores, scores_in_units
from trimcore.scoring.relevance import relevance


@pytest.fixture(scope="module")
def measured():
    torch.manual_seed(0)
    model, x = randomised(NETS["functional"]()), images(6, 3, 8, 8)
    graph = trace(model, x)
    labels = torch.arange(6) % 4
    return model, graph, profile(model, [(x, labels)], graph=graph, mean_activation=True, taylor=True)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_a_score_for_every_neuron(measured, criterion):
    _, graph, found = measured
    made = scores(criterion, found, graph)
    assert {name: (score.dtype, score.shape) for name, score in made.items()} == {
        name: (torch.float64, (width,)) for name, width in {"conv1": 7, "conv2": 6, "fc1": 9}.items()
    }


def test_measured_scores_come_from_the_profile(measured):
    """A high APoZ, a low mean activation and a small change of the loss all mean redundant."""
    _, graph, found = measured
    for name in found.layers:
        assert torch.equal(scores("apoz", found, graph)[name], found[name].apoz)
        assert torch.equal(scores("mean-activation", found, graph)[name], -found[name].mean_activation)
        assert torch.equal(scores("taylor", found, graph)[name], -found[name].taylor)


# For each layer: the weights of its neurons, each as (module, axis of the neurons).
INCOMING = {
    "functional": {"conv1": [("conv1", 0)], "conv2": [("conv2", 0)], "fc1": [("fc1", 0)]},
    "residual": {
        "stem": [("stem", 0), ("conv2", 0)], "conv1": [("conv1", 0)], "conv3": [("conv3", 0), ("downsample", 0)],
    },
    "depthwise": {"conv1": [("conv1", 0), ("depthwise", 0)]},  # two filters for each channel
}  # fmt: skip


def norms(model: nn.Module, places: list[tuple[str, int]], width: int, power: int) -> list[float]:
    sums = [0.0] * width
    for module, axis in places:
        weight = model.get_submodule(module).weight.movedim(axis, 0)
        for index, filters in enumerate(weight):  # one or several consecutive filters per neuron
            sums[index * width // len(weight)] += sum(abs(w) ** power for w in filters.flatten().tolist())
    return [-(total ** (1 / power)) for total in sums]


@pytest.mark.parametrize(("criterion", "power"), [("l1", 1), ("l2", 2)])
@pytest.mark.parametrize("name", INCOMING)
def test_norms_are_over_all_weights_that_write_the_neuron(criterion, power, name):
    torch.manual_seed(0)
    model, x = randomised(NETS[name]()), images(2, 3, 8, 8)
    graph = trace(model, x)
    made = scores(criterion, profile(model, [x], graph=graph), graph)
    assert list(made) == list(INCOMING[name])
    for layer, places in INCOMING[name].items():
        assert made[layer].tolist() == pytest.approx(norms(model, places, len(made[layer]), power), rel=1e-12)


@pytest.mark.parametrize(("criterion", "power"), [("l1", 1), ("l2", 2)])
def test_norms_of_transposed_convolutions(criterion, power):
    """Their weight has the shape (inputs, outputs, ...)."""
    torch.manual_seed(0)
    model = between(lambda m, x: m.relu2(m.up(x)), 4, up=nn.ConvTranspose2d(6, 4, 2, 2), relu2=nn.ReLU()).double()
    x = images(2, 3, 8, 8)
    graph = trace(model, x)
    made = scores(criterion, profile(model, [x], graph=graph), graph)
    assert made["up"].tolist() == pytest.approx(norms(model, [("up", 1)], 4, power), rel=1e-12)
    assert made["conv1"].tolist() == pytest.approx(norms(model, [("conv1", 0)], 6, power), rel=1e-12)


@pytest.mark.parametrize("groups", [2, 6])
def test_norms_of_grouped_transposed_convolutions(groups):
    """With two groups of three channels, column i writes outputs i and i + 3. With one group per channel, row i writes
    the channels tied to neuron i of the previous layer."""
    torch.manual_seed(0)
    up = nn.ConvTranspose2d(6, 6, 2, 2, groups=groups)
    model, x = between(lambda m, x: m.relu2(m.up(x)), up=up, relu2=nn.ReLU()).double(), images(2, 3, 8, 8)
    graph = trace(model, x)
    made, weight = scores("l1", profile(model, [x], graph=graph), graph), up.weight.detach().abs()
    if groups == 2:
        expected = weight.sum((0, 2, 3))
        torch.testing.assert_close(-made["up"], torch.cat([expected, expected]))
    else:
        before = model.conv1.weight.detach().abs().sum((1, 2, 3))
        torch.testing.assert_close(-made["conv1"], before + weight.sum((1, 2, 3)))


def test_norms_by_hand():
    """Neuron 0 has the weights 3 and -4, neuron 1 has 5 and 1. The bias is ignored."""
    model = Net(lambda m, x: m.out(m.relu(m.fc(x))), fc=nn.Linear(2, 2), relu=nn.ReLU(), out=nn.Linear(2, 1))
    with torch.no_grad():
        model.fc.weight.copy_(torch.tensor([[3.0, -4], [5, 1]]))
        model.fc.bias.fill_(100)
    graph = trace(model, torch.zeros(1, 2))
    found = profile(model, [torch.zeros(1, 2)], graph=graph)
    assert scores("l1", found, graph)["fc"].tolist() == [-7, -6]
    assert scores("l2", found, graph)["fc"].tolist() == pytest.approx([-5, -(26**0.5)])


def test_random_depends_on_seed_and_layer_alone(measured):
    _, graph, found = measured
    state = torch.get_rng_state()
    one, again, other = (scores("random", found, graph, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    for name in found.layers:
        assert torch.equal(one[name], again[name])
        assert not torch.equal(one[name], other[name])
        assert len(one[name].unique()) == len(one[name])
    assert not torch.equal(one["conv1"][:6], one["conv2"])


def test_unknown_criteria_and_missing_measurements_raise(measured):
    model, graph, _ = measured
    plain = profile(model, [images(2, 3, 8, 8)], graph=graph)
    known = "expected one of apoz, l1, l2, mean-activation, taylor, random"
    with pytest.raises(SpecError, match=f"unknown criterion 'l3'; {known}"):
        scores("l3", plain, graph)
    for criterion, missing in {"mean-activation": "mean_activation", "taylor": "taylor"}.items():
        with pytest.raises(SpecError, match=f"criterion '{criterion}' needs a profile made with {missing}=True"):
            scores(criterion, plain, graph)


# --- within maxout units ---


def test_every_neuron_of_a_unit_has_its_own_score():
    torch.manual_seed(0)
    model, x = randomised(NETS["maxouts"]()), images(6, 3, 8, 8)
    graph, units = trace(model, x), relevance(model, [x])
    for name, layer in (("conv1", model.conv1), ("fc1", model.fc1)):
        assert torch.equal(scores_in_units("relevance", units, graph)[name], -units[name].relevance.flatten())
        weights = layer.weight.detach().flatten(1)
        assert scores_in_units("l1", units, graph)[name].tolist() == pytest.approx((-weights.abs().sum(1)).tolist())
        assert scores_in_units("l2", units, graph)[name].tolist() == pytest.approx((-weights.norm(dim=1)).tolist())
        drawn = scores_in_units("random", units, graph, 1)[name]
        assert len(drawn.unique()) == len(layer.weight)
        assert not torch.equal(drawn, scores_in_units("random", units, graph, 2)[name])
    known = "expected one of relevance, l1, l2, random"
    with pytest.raises(SpecError, match=f"'taylor' cannot rank within maxout units; {known}"):
        scores_in_units("taylor", units, graph)
    with pytest.raises(SpecError, match="unknown criterion 'relevance'"):
        scores("relevance", None, graph)
