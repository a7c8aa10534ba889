"""The layers of an architecture as a table, and why some of them are frozen."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dashboard.model import architecture
from tests.dashboard.pages import page, texts
from tests.trimcore.nets import Net, conv
from trimcore.graph.costs import cost_of
from trimcore.graph.summary import frozen_reasons
from trimcore.graph.tracing import trace
from trimcore.training.prepare import blank


def test_reasons_for_frozen_neurons_are_grouped():
    graph = blank("convnext_tiny", 10, 3, 32)
    found = frozen_reasons(graph)
    frozen = {name: layer for name, layer in graph.layers.items() if layer.reason}
    normalised = [layer.width for layer in frozen.values() if "normalises over all channels" in layer.reason]
    assert found == [
        ("an operation normalises over all channels together", sum(normalised), len(normalised)),
        ("it is an output of the network", 10, 1),
    ]
    assert len({layer.reason for layer in frozen.values()}) > 3, "the original reasons name the operations"


def test_parts_without_neurons_are_counted_separately(spectral):
    graph = blank(spectral, 10, 1, 28)
    cost = cost_of(graph)
    assert frozen_reasons(graph) == [
        ("a module computes its weights at each call", 12, 1),
        ("it is an output of the network", 10, 1),
        ("a module computes its weights at each call", 0, 1),
    ]
    table = architecture.layer_table(graph, cost).set_index("layer")
    assert (table.kind["normed"], table.width["normed"]) == ("fixed", 0)
    assert table.parameters["normed"] == 12 * 5 + 5
    assert table.parameters.sum() == cost.parameters


def test_reasons_of_a_mobile_net():
    graph = blank("mobilenet_v2", 10, 3, 64)
    assert [why for why, _, _ in frozen_reasons(graph)] == ["it is an output of the network"]


def test_layers_cut_together_are_not_frozen():
    graph = blank("resnet18", 10, 3, 32)
    table = architecture.layer_table(graph, cost_of(graph)).set_index("layer")
    assert table.note["layer1.0.conv2"] == "cut together with conv1"
    assert table.frozen["layer1.0.conv2"] == ""
    assert list(table.index[table.frozen.ne("")]) == ["fc"]
    free = sum(graph.layers[name].width for name in graph.trimmable())
    assert architecture.trimmable_neurons(graph) == free == 64 * 3 + 128 * 3 + 256 * 3 + 512 * 3


def test_parts_without_neurons_have_no_width_on_the_page(spectral):
    app = page("model")
    app.selectbox[0].set_value(spectral).run()
    assert not app.exception
    table = app.dataframe[0].value.set_index("layer")
    assert table.width.isna()["normed"]
    assert table.width["head"] == 10
    shown = {metric.label: metric.value for metric in app.metric}
    assert (shown["Trimmable neurons"], shown["Frozen neurons"]) == ("6", "22")
    layers = "Reasons: a module computes its weights at each call (1 layer); it is an output of the network (1 layer)."
    parts = "Parts without neurons: a module computes its weights at each call (1 part)."
    assert f"22 neurons are frozen. {layers} {parts}" in texts(app).replace("\\", "")


REASONS = {
    "output": (lambda m, x: m.pool(x).flatten(1), "conv1", "it is an output of the network"),
    "without a rule": (lambda m, x: x.cumsum(1), "conv1", "there is no rule for cumsum"),
    "module of a function": (lambda m, x: m.softmax(x), "conv1", "an operation normalises over all channels together"),
    "untracked channels": (lambda m, x: m.wide(x), "conv1", "its channels cannot be tracked"),
    "untracked input": (lambda m, x: m.relu(m.depthwise(x.transpose(1, 2))), "depthwise",
                        "its input cannot be tracked"),
    "spread": (lambda m, x: x.flatten(0, 1), "conv1", "an operation spreads its channels over several axes"),
    "no activation": (lambda m, x: m.conv2(m.relu(m.grouped(x)) + 1), "grouped",
                      "it reaches another layer without passing through an activation"),
    "all at once": (lambda m, x: m.conv2(m.six(x) + m.six(x).transpose(1, 2)), "conv1",
                    "its channels can only be removed all at once"),
    "hook": (lambda m, x: m.relu(m.hooked(x)), "conv1",
             "a module has a pre-hook, a parametrization or a replaced forward function"),
    "constant": (lambda m, x: x + m.linear(m.table), "linear", "it does not depend on the input of the network"),
    "also called on a constant": (lambda m, x: m.relu(m.conv2(x)) + m.conv2(m.image), "conv2",
                                  "it is also called on an input that cannot be tracked"),
    "into a layer that is also called on a constant": (
        lambda m, x: m.relu(m.conv2(x)) + m.conv2(m.image), "conv1",
        "a connected layer is also called on an input that cannot be tracked"),
    "shared weight": (lambda m, x: m.relu(m.twin2(m.relu(m.twin1(x)))), "twin1",
                      "it shares its weights with another layer"),
    "into a layer with a shared weight": (lambda m, x: m.relu(m.twin2(m.relu(m.twin1(x)))), "conv1",
                                          "a connected layer shares its weights with another layer"),
    "weight read elsewhere": (lambda m, x: m.one(m.relu(m.conv2(x))) * m.conv2.weight.norm(), "conv2",
                              "it shares its weights with another layer"),
    "stored tensor": (lambda m, x: x * m.unsaved, "conv1", "an operation combines it with a stored tensor"),
    "stored tensor along another axis": (
        lambda m, x: m.relu(m.conv2(x * m.cube)).transpose(1, 2) * m.cube, "conv1",
        "an operation reads a stored tensor along another axis"),
    "hard-coded length": (lambda m, x: x.view(-1, 6, 36), "conv1",
                          "an operation hard-codes the length of its channel axis (use -1 instead)"),
    "width as a number": (lambda m, x: x * x.size(1), "conv1", "an operation computes with the number of channels"),
    "width of another layer": (
        lambda m, x: x.view(x.size(0), -1, m.relu(m.twelve(x)).size(1), 3), "conv1",
        "an operation sets its shape from the number of channels of another tensor"),
    "broadcast": (lambda m, x: m.conv2(x + m.relu(m.one(x))), "one",
                  "an operation broadcasts one value over all channels"),
    "group norm": (lambda m, x: m.relu(m.group_norm(x)), "conv1",
                   "an operation normalises over all channels together"),
    "norm of another axis": (lambda m, x: m.relu(m.norm(x.transpose(1, 2))), "conv1",
                             "an operation normalises across channels"),
    "some channels": (lambda m, x: x[:, :6:1], "conv1", "an operation selects channels by index"),
    "computed weights": (lambda m, x: F.conv2d(x, m.conv2.weight / m.conv2.weight.max()), "conv1",
                         "a module computes its weights at each call"),
}  # fmt: skip


def network(steps) -> Net:
    """conv1 and a ReLU, followed by `steps`, for images (N, 3, 6, 6)."""
    hooked = conv(6, 6)
    hooked.register_forward_pre_hook(lambda module, inputs: None)
    net = Net(
        lambda m, x: steps(m, m.relu(m.conv1(x))), conv1=conv(3, 6), conv2=conv(6, 6), one=nn.Conv2d(6, 1, 1),
        twin1=conv(6, 6), twin2=conv(6, 6), twelve=conv(6, 12), wide=nn.Linear(6, 6), linear=nn.Linear(6, 6),
        relu=nn.ReLU(), depthwise=conv(6, 6, groups=6), softmax=nn.Softmax2d(), hooked=hooked,
        group_norm=nn.GroupNorm(1, 6), norm=nn.BatchNorm2d(6), six=nn.AdaptiveAvgPool2d(6),
        grouped=conv(6, 6, groups=2),
        pool=nn.AdaptiveAvgPool2d(1),
    )  # fmt: skip
    net.twin2.weight = net.twin1.weight
    for name, shape in {"table": (6, 6), "image": (1, 6, 6, 6), "cube": (6, 6, 6)}.items():
        net.register_buffer(name, torch.ones(shape))
    net.register_buffer("unsaved", torch.ones(6, 1, 1), persistent=False)
    return net


@pytest.mark.parametrize(("steps", "layer", "reason"), REASONS.values(), ids=REASONS)
def test_every_reason_has_a_general_form(steps, layer, reason):
    graph = trace(network(steps), torch.zeros(2, 3, 6, 6))
    graph.layers = {layer: graph.layers[layer]}
    assert [found for found, _, _ in frozen_reasons(graph)] == [reason], graph.layers[layer].reason


def test_words_of_a_reason_that_are_names_of_layers_are_kept():
    net = Net(lambda m, x: m.output(m.network(x).relu()), network=conv(3, 6), output=conv(6, 2))
    graph = trace(net, torch.zeros(2, 3, 6, 6))
    assert frozen_reasons(graph) == [("it is an output of the network", 2, 1)]
