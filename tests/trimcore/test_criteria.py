"""Scores of every criterion against their definitions."""

import pytest
import torch

from tests.trimcore.nets import NETS
from tests.trimcore.oracle import images, randomised
from trimcore.apoz import profile
from trimcore.criteria import CRITERIA, scores
from trimcore.errors import SpecError
from trimcore.tracing import trace


@pytest.fixture(scope="module")
def measured():
    torch.manual_seed(0)
    model, x = randomised(NETS["functional"]()), images(6, 3, 8, 8)
    graph = trace(model, x)
    return model, graph, profile(model, [x], graph=graph, mean_activation=True)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_a_score_for_every_neuron(measured, criterion):
    _, graph, found = measured
    made = scores(criterion, found, graph)
    assert {name: (score.dtype, score.shape) for name, score in made.items()} == {
        name: (torch.float64, (width,)) for name, width in {"conv1": 7, "conv2": 6, "fc1": 9}.items()
    }


def test_apoz_and_mean_activation_are_the_profile_s(measured):
    _, graph, found = measured
    for name in found.layers:
        assert torch.equal(scores("apoz", found, graph)[name], found[name].apoz)
        assert torch.equal(scores("mean-activation", found, graph)[name], -found[name].mean_activation)


def test_l1_is_minus_the_sum_of_incoming_weights(measured):
    model, graph, found = measured
    made = scores("l1", found, graph)
    for name in found.layers:
        weight = model.get_submodule(name).weight
        expected = [-sum(abs(w) for w in neuron.flatten().tolist()) for neuron in weight]
        assert made[name].tolist() == pytest.approx(expected, rel=1e-12)


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


def test_unknown_criteria_and_missing_measurements_are_refused(measured):
    model, graph, _ = measured
    plain = profile(model, [images(2, 3, 8, 8)], graph=graph)
    with pytest.raises(SpecError, match="unknown criterion 'l2'; there are apoz, l1, mean-activation, random"):
        scores("l2", plain, graph)
    with pytest.raises(SpecError, match="needs a profile made with mean_activation=True"):
        scores("mean-activation", plain, graph)
