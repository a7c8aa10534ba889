"""No layer is left empty, however its neurons hang together with those of others."""

import torch
from torch import nn

from tests.trimcore.nets import NETS, Net, conv
from tests.trimcore.oracle import check, images, randomised
from trimcore.graph.removal import removed_groups
from trimcore.graph.tracing import trace
from trimcore.planning.minimum import sparing_the_last

SCORES = {("conv1", 0): 0.9, ("conv1", 1): 0.2, ("conv2", 0): 0.4, ("conv2", 1): 0.1, ("conv2", 2): 0.1}


def side_by_side() -> Net:
    """conv3 is added to conv1 (2 neurons) and conv2 (3) side by side; each layer is planned by itself."""

    def steps(m, x):
        return m.last(m.relu(torch.cat([m.relu(m.conv1(x)), m.relu(m.conv2(x))], 1) + m.conv3(x)))

    return Net(steps, conv1=conv(3, 2), conv2=conv(3, 3), conv3=conv(3, 5), relu=nn.ReLU(), last=conv(5, 2))


def score(layer: str, neuron: int) -> float:
    return SCORES[layer, neuron]


def test_the_lowest_score_of_each_layer_stays():
    graph = trace(side_by_side(), torch.zeros(2, 3, 8, 8))
    going = sparing_the_last(graph, {"conv1": [0, 1], "conv2": [2, 0, 1]}, score)
    assert going == {"conv1": [0], "conv2": [0, 1]}
    assert sparing_the_last(graph, {"conv1": [1], "conv2": [0]}, score) == {"conv1": [1], "conv2": [0]}


def test_what_is_away_already_counts():
    graph = trace(side_by_side(), torch.zeros(2, 3, 8, 8))
    gone = removed_groups(graph, {"conv2": [1, 2]})
    assert sparing_the_last(graph, {"conv1": [0], "conv2": [0]}, score, gone) == {"conv1": [0], "conv2": []}


def two_ends() -> Net:
    """`joint` has a channel of `a` and all of `b`, so that plans for a and b could empty it together."""

    def steps(m, x):
        a, b = m.relu(m.a(x)), m.relu(m.b(x))
        joint = m.relu(m.joint(x) + torch.cat([b, a], 1))
        return m.last(torch.cat([joint, a], 1))

    return Net(steps, a=conv(3, 2), b=conv(3, 2), joint=conv(3, 4), relu=nn.ReLU(), last=conv(6, 2))


def test_a_layer_that_no_rule_looked_at():
    model, x = randomised(two_ends()), images(2, 3, 8, 8)
    graph = trace(model, x)
    going = sparing_the_last(graph, {"a": [0, 1], "b": [0, 1]}, lambda layer, i: {"a": 0.5, "b": 0.9}[layer] - i / 10)
    assert going == {"a": [0], "b": [0]}
    check(model, going, x, graph)


def test_a_group_is_spared_in_every_layer_that_has_it():
    graph = trace(NETS["partly_frozen"](), torch.zeros(2, 3, 8, 8))  # conv3's neurons 2 to 5 are those of conv2
    going = sparing_the_last(graph, {"conv2": [0, 1, 2, 3], "conv3": [2, 3, 4, 5]}, lambda layer, i: float(i))
    assert going == {"conv2": [1, 2, 3], "conv3": [3, 4, 5]}
