"""Relevance: how often a neuron is the maximum of its unit, counted exactly, with ties shared equally."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.trimcore.nets import maxouts
from tests.trimcore.oracle import images, randomised
from trimcore.errors import DataError, NotTrimmable, TrimError
from trimcore.layers.maxout import Maxout
from trimcore.models import build
from trimcore.scoring.relevance import count_maxima, relevance, shares_of


def brute_force(values: list[list[float]], k: int) -> list[list[Fraction]]:
    """How often each neuron of each unit is the maximum, over rows of activations. Ties are shared equally."""
    units = len(values[0]) // k
    won = [[Fraction(0)] * k for _ in range(units)]
    for row in values:
        for unit in range(units):
            members = row[unit * k : unit * k + k]
            best = [i for i, value in enumerate(members) if value == max(members)]
            for i in best:
                won[unit][i] += Fraction(1, len(best))
    return won


def rows(x: Tensor) -> list[list[float]]:
    """(N, C, ...) as one row of channels per example and position."""
    return x.movedim(1, -1).reshape(-1, x.shape[1]).tolist()


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 6), st.integers(1, 4), st.integers(1, 7), st.integers(0, 1000), st.integers(1, 4))
def test_counts_match_brute_force_with_any_ties(k, units, examples, seed, levels):
    x = torch.randint(levels, (examples, units * k, 2), generator=torch.Generator().manual_seed(seed)).float()
    counts, total = count_maxima(x, k)
    assert total == examples * 2
    assert [[Fraction(c, shares_of(k)) for c in unit] for unit in counts.tolist()] == brute_force(rows(x), k)
    assert (counts.sum(1) == total * shares_of(k)).all()
    assert counts.dtype == torch.int64


def test_neurons_of_an_all_zero_unit_share_the_maximum_equally():
    counts, _ = count_maxima(torch.zeros(5, 4), 4)
    assert counts.tolist() == [[15, 15, 15, 15]]  # 5 maxima of 12 shares, split among four neurons
    counts, _ = count_maxima(torch.tensor([[0.0, 2, 2, 1], [3, 0, 0, 0], [0, 0, 0, 0]]), 4)
    assert counts.tolist() == [[0 + 12 + 3, 6 + 0 + 3, 6 + 0 + 3, 0 + 0 + 3]]


def test_the_order_of_neurons_does_not_matter():
    x = torch.randint(3, (50, 8), generator=torch.Generator().manual_seed(0)).float()
    order = torch.tensor([2, 0, 3, 1])
    counts, _ = count_maxima(x, 4)
    swapped, _ = count_maxima(x.view(50, 2, 4)[:, :, order].reshape(50, 8), 4)
    assert torch.equal(swapped, counts[:, order])


def test_a_trained_network_in_evaluation_mode_over_several_batches():
    torch.manual_seed(0)
    model = randomised(maxouts()).train()
    batches = [images(7, 3, 8, 8, seed=seed) for seed in range(3)]
    seen, done = relevance(model, [(x, None) for x in batches], progress=(progress := []).append), progress
    assert done == [7, 14, 21]
    assert model.training
    model.eval()
    kept = {}
    for name, module in (("conv1", model.over_channels), ("fc1", model.maxout)):
        module.register_forward_pre_hook(lambda m, inputs, name=name: kept.setdefault(name, []).append(inputs[0]))
    with torch.no_grad():
        for x in batches:
            model(x)
    for name, k in (("conv1", 2), ("fc1", 3)):
        expected = brute_force(rows(torch.cat(kept[name])), k)
        found = seen[name]
        assert [[Fraction(c, found.shares) for c in unit] for unit in found.counts.tolist()] == expected
        assert found.examples == 21
        assert found.relevance.sum(1).tolist() == pytest.approx([1] * len(expected))
    assert (seen["conv1"].positions, seen["fc1"].positions) == (64, 1)


def test_lenet_maxout_on_a_batch():
    model = build("lenet5-maxout", k=4, width=40).eval()
    x = images(30, 1, 28, 28, dtype=torch.float32)
    found, kept = relevance(model, [x])["fc1"], []
    model.maxout.register_forward_pre_hook(lambda m, inputs: kept.append(inputs[0]))
    model(x)
    assert [[Fraction(c, 12) for c in unit] for unit in found.counts.tolist()] == brute_force(rows(kept[0]), 4)


def test_invalid_networks_and_loaders_raise():
    with pytest.raises(NotTrimmable, match="has no maxout layer"):
        relevance(build("lenet5"), [torch.zeros(2, 1, 28, 28)])
    with pytest.raises(DataError, match="the loader is empty"):
        relevance(maxouts(), [])
    broken = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), Maxout(2), nn.Linear(2, 2))
    with pytest.raises(TrimError, match="activations of layer '0' are NaN"):
        relevance(broken, [torch.tensor([[1.0, float("nan")]])])
