"""No layer is left empty, even if its neurons can only be removed together with those of other layers."""

import torch
from torch import nn

from tests.trimcore.nets import NETS, Net, conv
from tests.trimcore.oracle import check, images, randomised
from trimcore.graph.removal import removed_groups
from trimcore.graph.tracing import trace
from trimcore.planning.minimum import keep_one_per_layer

SCORES = {("conv1", 0): 0.9, ("conv1", 1): 0.2, ("conv2", 0): 0.4, ("conv2", 1): 0.1, ("conv2", 2): 0.1}


def side_by_side() -> Net:
    """conv3 is added to the concatenation of conv1 (2 neurons) and conv2 (3 neurons)."""

    def steps(m, x):
        return m.last(m.relu(torch.cat([m.relu(m.conv1(x)), m.relu(m.conv2(x))], 1) + m.conv3(x)))

    return Net(steps, conv1=conv(3, 2), conv2=conv(3, 3), conv3=conv(3, 5), relu=nn.ReLU(), last=conv(5, 2))


def score(layer: str, neuron: int) -> float:
    return SCORES[layer, neuron]


def test_the_neuron_with_the_lowest_score_of_each_layer_stays():
    graph = trace(side_by_side(), torch.zeros(2, 3, 8, 8))
    plan = keep_one_per_layer(graph, {"conv1": [0, 1], "conv2": [2, 0, 1]}, score)
    assert plan == {"conv1": [0], "conv2": [0, 1]}
    assert keep_one_per_layer(graph, {"conv1": [1], "conv2": [0]}, score) == {"conv1": [1], "conv2": [0]}


def test_neurons_that_are_already_removed_count():
    graph = trace(side_by_side(), torch.zeros(2, 3, 8, 8))
    gone = removed_groups(graph, {"conv2": [1, 2]})
    assert keep_one_per_layer(graph, {"conv1": [0], "conv2": [0]}, score, gone) == {"conv1": [0], "conv2": []}


def two_ends() -> Net:
    """`joint` is added to the concatenation of `b` and `a`, so plans for a and b could together empty it."""

    def steps(m, x):
        a, b = m.relu(m.a(x)), m.relu(m.b(x))
        joint = m.relu(m.joint(x) + torch.cat([b, a], 1))
        return m.last(torch.cat([joint, a], 1))

    return Net(steps, a=conv(3, 2), b=conv(3, 2), joint=conv(3, 4), relu=nn.ReLU(), last=conv(6, 2))


def test_a_layer_without_its_own_rule_keeps_a_neuron():
    model, x = randomised(two_ends()), images(2, 3, 8, 8)
    graph = trace(model, x)
    plan = keep_one_per_layer(graph, {"a": [0, 1], "b": [0, 1]}, lambda layer, i: {"a": 0.5, "b": 0.9}[layer] - i / 10)
    assert plan == {"a": [0], "b": [0]}
    check(model, plan, x, graph)


def test_a_group_is_kept_in_every_layer_that_contains_it():
    graph = trace(NETS["partly_frozen"](), torch.zeros(2, 3, 8, 8))  # conv3's neurons 2 to 5 are those of conv2
    plan = keep_one_per_layer(graph, {"conv2": [0, 1, 2, 3], "conv3": [2, 3, 4, 5]}, lambda layer, i: float(i))
    assert plan == {"conv2": [1, 2, 3], "conv3": [3, 4, 5]}
