"""The layers of an architecture as a table, and why some of them are frozen."""

import torch
from torch import nn

from dashboard.model import architecture
from tests.dashboard.pages import page, texts
from trimcore.graph.costs import cost_of
from trimcore.graph.tracing import trace
from trimcore.training.prepare import blank


def test_reasons_for_frozen_neurons_are_grouped():
    graph = blank("convnext_tiny", 10, 3, 32)
    found = architecture.frozen_reasons(graph)
    frozen = {name: layer for name, layer in graph.layers.items() if layer.reason}
    normalised = [layer.width for layer in frozen.values() if "normalises over all channels" in layer.reason]
    assert found == [
        ("an operation normalises over all channels together", sum(normalised), len(normalised)),
        ("it is an output of the network", 10, 1),
    ]
    assert len({layer.reason for layer in frozen.values()}) > 3, "the original reasons name the operations"


def test_parts_without_neurons_are_counted_separately(recurrent):
    graph = blank(recurrent, 10, 1, 28)
    cost = cost_of(graph)
    assert architecture.frozen_reasons(graph) == [
        ("there is no rule for GRU", 12, 1),
        ("it is an output of the network", 10, 1),
        ("there is no rule for GRU", 0, 1),
    ]
    table = architecture.layer_table(graph, cost).set_index("layer")
    assert (table.kind["gru"], table.width["gru"]) == ("fixed", 0)
    assert table.parameters["gru"] == 3 * 5 * (12 + 5) + 2 * 3 * 5
    assert table.parameters.sum() == cost.parameters


def test_other_reasons_are_generalized():
    graph = blank("mobilenet_v2", 10, 3, 64)
    assert [why for why, _, _ in architecture.frozen_reasons(graph)] == [
        "it reaches another layer without passing through an activation", "it is an output of the network",
    ]  # fmt: skip


def test_layers_cut_together_are_not_frozen():
    graph = blank("resnet18", 10, 3, 32)
    table = architecture.layer_table(graph, cost_of(graph)).set_index("layer")
    assert table.note["layer1.0.conv2"] == "cut together with conv1"
    assert table.frozen["layer1.0.conv2"] == ""
    assert list(table.index[table.frozen.ne("")]) == ["fc"]
    free = sum(graph.layers[name].width for name in graph.trimmable())
    assert architecture.trimmable_neurons(graph) == free == 64 * 3 + 128 * 3 + 256 * 3 + 512 * 3


def test_parts_without_neurons_have_no_width_on_the_page(recurrent):
    app = page("model")
    app.selectbox[0].set_value(recurrent).run()
    assert not app.exception
    table = app.dataframe[0].value.set_index("layer")
    assert table.width.isna()["gru"]
    assert table.width["head"] == 10
    shown = {metric.label: metric.value for metric in app.metric}
    assert (shown["Trimmable neurons"], shown["Frozen neurons"]) == ("6", "22")
    layers = "Reasons: there is no rule for GRU (1 layer); it is an output of the network (1 layer)."
    parts = "Parts without neurons: there is no rule for GRU (1 part)."
    assert f"22 neurons are frozen. {layers} {parts}" in texts(app).replace("\\", "")


def test_a_reason_that_starts_with_a_layer_name():
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3))
    graph = trace(network, torch.zeros(1, 1, 8, 8))
    graph.layers["0"].reason = "0 shares its weights with 3"
    assert architecture.frozen_reasons(graph)[0] == ("it shares its weights with another layer", 4, 1)
