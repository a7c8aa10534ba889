"""Gates against surgery, for every place at which a neuron can be held at zero."""

import pytest
import torch
from torch import nn

from tests.trimcore.nets import Net, conv
from tests.trimcore.oracle import gap, images, random_plan, randomised
from tests.trimcore.surgery.test_places import STEPS, network
from trimcore.evaluation.masking import MaskedNetwork
from trimcore.graph.tracing import trace
from trimcore.scoring import criteria
from trimcore.scoring.apoz import profile
from trimcore.surgery.cut import prune


def bottleneck() -> nn.Module:
    """`narrow` has no activation behind it; `branch` is looked at by a gate before its sum is activated."""

    def steps(m, x):
        x = m.relu(m.first(x))
        y = m.norm(m.branch(m.wide(m.narrow(x)).relu()))
        return m.last(m.relu(x + y * torch.sigmoid(m.gate(m.pool(y))))).mean((2, 3))

    torch.manual_seed(0)
    return randomised(Net(steps, first=conv(3, 6), narrow=conv(6, 4, bias=False), wide=conv(4, 8), branch=conv(8, 6),
                          norm=nn.BatchNorm2d(6), gate=nn.Conv2d(6, 6, 1), pool=nn.AdaptiveAvgPool2d(1),
                          relu=nn.ReLU(), last=conv(6, 3)))  # fmt: skip


NETWORKS = {"bottleneck": bottleneck} | {name: lambda step=step: network(step) for name, (step, _, _) in STEPS.items()}


@pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)
def test_a_masked_network_equals_the_pruned_one(make):
    model, x = make(), images(2, 3, 8, 8)
    graph = trace(model, x)
    masked = MaskedNetwork(graph)
    for ratio, seed in ((0, 0), (0.5, 1), (1, 2)):
        plan = random_plan(graph, ratio, seed)
        masked.mask(plan)
        with torch.no_grad():
            assert gap(masked.network(x), prune(model, plan, graph=graph)(x)) < 1e-12
    masked.mask({})
    with torch.no_grad():
        assert torch.equal(masked.network(x), model(x))


def test_neurons_without_an_activation_have_no_apoz_but_other_scores():
    model, x = bottleneck(), images(12, 3, 8, 8)
    graph = trace(model, x)
    assert graph.trimmable() == ["first", "narrow", "wide"]  # the branch goes with the first layer
    found = profile(model, [(x, torch.arange(12) % 3)], graph=graph, mean_activation=True, taylor=True)
    assert found["narrow"].totals.tolist() == [0] * 4
    assert found["narrow"].apoz.isnan().all()
    assert found["narrow"].mean_activation.isnan().all()
    assert not found["first"].apoz.isnan().any()
    for criterion in ("l1", "l2", "taylor", "random"):
        scores = criteria.scores(criterion, found, graph)["narrow"]
        assert scores.isfinite().all()
        assert scores.unique().numel() == 4


def test_the_taylor_criterion_of_a_neuron_without_an_activation_is_the_change_of_the_loss():
    """Multiplying the neuron's weights by 1 + h multiplies what its layer gives out."""
    model, x, labels = bottleneck(), images(3, 3, 8, 8), torch.arange(3)
    graph = trace(model, x)
    found = profile(model, [(x, labels)], graph=graph, taylor=True)["narrow"].taylor
    h, weight = 1e-6, model.narrow.weight
    for neuron in range(4):
        losses = []
        for factor in (1 + h, 1 - h):
            with torch.no_grad():
                before = weight[neuron].clone()
                weight[neuron] *= factor
                losses.append(nn.functional.cross_entropy(model(x), labels, reduction="none"))
                weight[neuron] = before
        assert float(((losses[0] - losses[1]) / (2 * h)).abs().mean()) == pytest.approx(float(found[neuron]), rel=1e-5)


def test_the_norm_behind_a_layer_is_where_its_branch_is_held():
    """`branch` is followed by a norm, so its Taylor gate is behind the norm."""
    model, x, labels = bottleneck(), images(3, 3, 8, 8), torch.arange(3)
    graph = trace(model, x)
    assert not graph.held_behind[graph.layers["branch"].neurons].any()
    found = profile(model, [(x, labels)], graph=graph, taylor=True)["first"].taylor
    h = 1e-6
    for neuron in range(6):
        losses = []
        for factor in (1 + h, 1 - h):
            with torch.no_grad():
                scaled = [model.first.weight, model.first.bias, model.norm.weight, model.norm.bias,
                          model.gate.weight, model.gate.bias]  # fmt: skip
                before = [tensor[neuron].clone() for tensor in scaled]
                for tensor in scaled[:4]:
                    tensor[neuron] *= factor
                y = gated_loss(model, x, labels, neuron, factor)
                losses.append(y)
                for tensor, old in zip(scaled, before, strict=True):
                    tensor[neuron] = old
        assert float(((losses[0] - losses[1]) / (2 * h)).abs().mean()) == pytest.approx(float(found[neuron]), rel=1e-4)


def gated_loss(model, x, labels, neuron: int, factor: float):
    """The loss with the channel of the gate's own convolution multiplied as well: it is of the same group."""
    model.gate.weight[neuron] *= factor
    model.gate.bias[neuron] *= factor
    return nn.functional.cross_entropy(model(x), labels, reduction="none")
