"""The Taylor criterion by hand and against differences of the loss, and the absence of side effects."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from tests.trimcore.nets import NETS, Net, conv
from tests.trimcore.oracle import hold, images, randomised
from trimcore.errors import DataError, TrimError
from trimcore.graph.channel_graph import ChannelGraph
from trimcore.graph.tracing import trace
from trimcore.scoring.apoz import profile

CLASSIFIERS = ["conv_norm_relu", "functional", "residual", "dense", "branches", "over_positions"]
LABELS = torch.arange(12) % 3


def labelled(x: Tensor, size: int = 5) -> list[tuple[Tensor, Tensor]]:
    return list(zip(x.split(size), LABELS[: len(x)].split(size), strict=True))


def classifier(name: str) -> Net:
    torch.manual_seed(0)
    return randomised(NETS[name]())


def gated(graph: ChannelGraph, group: int, gate: float) -> fx.GraphModule:
    """The network with one channel group's activations multiplied by `gate`, wherever they are counted."""
    traced = copy.deepcopy(graph.graph)
    nodes = {node.name: node for node in traced.nodes}
    for site in graph.sites:
        factors = [gate if other == group else 1.0 for other in site.groups.tolist()]
        node = nodes[site.node]
        with traced.inserting_after(node):
            held = traced.call_function(hold, (node, factors, site.axis))
        node.replace_all_uses_with(held, lambda user, held=held: user is not held)
    return fx.GraphModule(graph.held, traced)


def test_by_hand():
    """Two neurons with activations a = relu(w x); scores are (a1, a2), so dL/da = softmax(a) - onehot."""
    model = Net(lambda m, x: m.out(m.relu(m.fc(x))), fc=nn.Linear(1, 2), relu=nn.ReLU(), out=nn.Linear(2, 2))
    with torch.no_grad():
        model.fc.weight.copy_(torch.tensor([[1.0], [-1]]))
        model.out.weight.copy_(torch.eye(2))
        model.fc.bias.zero_()
        model.out.bias.zero_()
    model.double()
    x, y = torch.tensor([[2.0], [-1.0], [1.0]]).double(), torch.tensor([0, 0, 1])
    # a = (2, 0), (0, 1), (1, 0); the probability of the wrong class is s(t) = 1 / (1 + e^-t)
    s = [1 / (1 + math.exp(2)), 1 / (1 + math.exp(-1)), 1 / (1 + math.exp(-1))]
    found = profile(model, [(x, y)], taylor=True)["fc"].taylor
    assert found.tolist() == pytest.approx([(2 * s[0] + 1 * s[2]) / 3, 1 * s[1] / 3])
    assert profile(model, [(x, y)])["fc"].taylor is None


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_it_is_the_gradient_of_each_examples_loss_by_the_gate(name):
    model, x, h = classifier(name), images(6, 3, 8, 8), 1e-6
    graph = trace(model, x)
    found, expected = profile(model, labelled(x), graph=graph, taylor=True), {}

    def losses(group: int, gate: float) -> Tensor:
        with torch.no_grad():
            return F.cross_entropy(gated(graph, group, gate)(x), LABELS[:6], reduction="none")

    for layer in found.layers:
        for group in graph.layers[layer].neurons.tolist():
            if group not in expected:
                expected[group] = float((losses(group, 1 + h) - losses(group, 1 - h)).abs().mean() / (2 * h))
        gradients = [expected[group] for group in graph.layers[layer].neurons.tolist()]
        assert found[layer].taylor.tolist() == pytest.approx(gradients, rel=1e-5, abs=1e-8)
        assert max(gradients) > 1e-3


def test_it_does_not_depend_on_the_batch_size():
    model, x = classifier("residual"), images(12, 3, 8, 8)
    one, many = (profile(model, labelled(x, size), taylor=True) for size in (1, 7))
    for layer in one.layers:
        torch.testing.assert_close(one[layer].taylor, many[layer].taylor)


@pytest.mark.parametrize("frozen", [False, True])
def test_it_changes_nothing_else(frozen):
    model, x = classifier("residual").train(), images(8, 3, 8, 8)
    model.norm1.eval()
    model.requires_grad_(not frozen)
    model.stem.weight.grad = torch.ones_like(model.stem.weight)
    state, modes = copy.deepcopy(model.state_dict()), [m.training for m in model.modules()]
    plain, found = profile(model, labelled(x)), profile(model, labelled(x), taylor=True)
    for layer, had in plain.layers.items():
        assert torch.equal(had.zeros, found[layer].zeros)
        assert torch.equal(had.totals, found[layer].totals)
        assert found[layer].taylor.sum() > 0
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert [m.training for m in model.modules()] == modes
    assert torch.equal(model.stem.weight.grad, torch.ones_like(model.stem.weight))
    assert [p.grad is None for p in model.parameters()] == [p is not model.stem.weight for p in model.parameters()]
    assert {p.requires_grad for p in model.parameters()} == {not frozen}


@pytest.mark.parametrize("kind", [nn.ReLU, nn.ReLU6, nn.SiLU, nn.LeakyReLU, nn.Hardswish])
def test_in_place_activations_give_the_same_result(kind):
    found = []
    for inplace in (False, True):
        model = classifier("conv_norm_relu")
        model.relu = kind(inplace=inplace)
        found.append(profile(model, labelled(images(6, 3, 8, 8)), taylor=True))
    for layer in ("conv1", "conv2"):
        assert torch.equal(found[0][layer].taylor, found[1][layer].taylor)
        assert found[1][layer].taylor.sum() > 0


def test_inside_no_grad_and_for_networks_with_several_outputs():
    model, x = classifier("residual"), images(6, 3, 8, 8)
    wanted, steps = profile(model, labelled(x), taylor=True), model.steps
    model.steps = lambda m, x: (steps(m, x), x)
    with torch.no_grad():
        found = profile(model, labelled(x), taylor=True)
    assert torch.equal(found["stem"].taylor, wanted["stem"].taylor)


# --- errors


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (lambda x: x, "the loader must yield"),
        (lambda x: (x,), "the loader must yield"),
        (lambda x: (x, LABELS[:5]), r"one class index per example, shape \(6,\), not \(5,\)"),
        (lambda x: (x, torch.zeros(6)), "torch.float32"),
        (lambda x: (x, torch.eye(6).long()), r"not \(6, 6\)"),
        (lambda x: (x, LABELS[:6] + 2), "labels range from 2 to 4, but the network has classes 0 to 3"),
        (lambda x: (x, LABELS[:6] - 1), "labels range from -1 to 1"),
    ],
)
def test_invalid_labels_raise(batch, message):
    with pytest.raises(DataError, match=message) as error:
        profile(classifier("residual"), [batch(images(6, 3, 8, 8))], taylor=True)
    assert len(str(error.value).splitlines()) == 1


def test_a_network_that_outputs_maps_raises():
    with pytest.raises(DataError, match=r"class scores .* not of shape \(6, 3, 8, 8\)"):
        profile(classifier("depthwise"), labelled(images(6, 3, 8, 8), 6), taylor=True)


def test_examples_that_are_not_along_the_first_axis_raise():
    def steps(m: Net, x: Tensor) -> Tensor:
        halves = torch.cat(x.chunk(2, 3))  # (2 N, 3, 8, 4)
        return m.out(m.relu(m.first(halves))).mean((2, 3)).view(2, -1, 3).sum(0)

    torch.manual_seed(0)
    model = Net(steps, first=conv(3, 4), relu=nn.ReLU(), out=conv(4, 3))
    with pytest.raises(TrimError, match="5 examples along axis 0 at relu, whose length is 10; choose another"):
        profile(model, labelled(images(6, 3, 8, 8, dtype=torch.float32)), taylor=True)


def test_gradients_that_are_not_finite_raise():
    model = classifier("residual")
    with torch.no_grad():
        model.fc.weight[0] = torch.inf  # after the last activation
    with pytest.raises(TrimError, match="gradients for criterion 'taylor' are not finite"):
        profile(model, labelled(images(6, 3, 8, 8)), taylor=True)
