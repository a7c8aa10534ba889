"""The drawing of a network: its layers, and groups of layers that are cut together, checked by brute force."""

import pytest
import torch
from torch import nn

from dashboard.widgets.drawing import cut_together, drawing_caption, layer_rows
from tests.dashboard.charts.examples import NO_GROUPS
from tests.dashboard.fakes import fake_run
from tests.dashboard.pages import page, texts
from tests.trimcore.nets import NETS, Net, conv, drawn
from trimcore import spec
from trimcore.errors import NotTrimmable
from trimcore.graph.costs import cost_of, cost_without
from trimcore.graph.tracing import trace
from trimcore.training.prepare import blank

EXAMPLE = torch.zeros(2, 3, 8, 8)


def groups_of(graph) -> list[list[str]]:
    return cut_together(graph).groupby("group").layer.agg(list).tolist()


def brute_force_groups(graph) -> list[list[str]]:
    """The layers that lose neurons together when any single neuron is removed, directly or through other layers."""
    full, found = cost_without(graph, torch.zeros(graph.fine.group_count, dtype=torch.bool)).widths, []
    for name in graph.layers:
        for neuron in graph.candidates(name):
            removed = torch.zeros(graph.group_count, dtype=torch.bool)
            removed[graph.layers[name].neurons[neuron]] = True
            left = cost_without(graph, graph.to_fine(removed)).widths
            losing = {other for other in left if left[other] < full[other]}
            tied = [group for group in found if group & losing]
            found = [group for group in found if not group & losing] + [losing.union(*tied)]
    place = list(graph.layers).index
    ordered = [sorted(group, key=place) for group in found if len(group) > 1]
    return sorted(ordered, key=lambda group: place(group[0]))


# --- layers that are cut together ---


def test_residual_streams_of_a_resnet():
    assert groups_of(blank("resnet18", 10, 3, 32)) == [
        ["conv1", "layer1.0.conv2", "layer1.1.conv2"],
        *[[f"layer{k}.0.conv2", f"layer{k}.0.downsample.0", f"layer{k}.1.conv2"] for k in (2, 3, 4)],
    ]


def test_layers_of_lenet_are_cut_alone():
    assert groups_of(blank("lenet5", 10, 1, 28)) == []
    assert groups_of(blank("lenet5-maxout", 10, 1, 28)) == []


@pytest.mark.parametrize("make", [*NETS.values()], ids=[*NETS])
def test_every_kind_of_tie(make):
    graph = trace(make(), EXAMPLE)
    assert groups_of(graph) == brute_force_groups(graph)


def test_random_networks():
    several = 0
    for seed in range(12):
        try:
            graph = trace(drawn(seed), EXAMPLE)
        except NotTrimmable:
            continue
        expected = brute_force_groups(graph)
        assert groups_of(graph) == expected, seed
        several += len(expected) > 0
    assert several > 2, "otherwise the test compares nothing"


def test_concatenated_layers_are_tied_by_a_sum_with_a_third():
    net = Net(
        lambda m, x: m.last(torch.relu(torch.cat([m.a(x), m.b(x)], 1) + m.c(x))),
        a=conv(3, 2), b=conv(3, 4), c=conv(3, 6), last=conv(6, 2),
    )  # fmt: skip
    assert groups_of(trace(net, EXAMPLE)) == [["a", "b", "c"]]


def test_frozen_layers_are_in_no_group():
    graph = blank("mobilenet_v2", 10, 3, 64)
    named = set(cut_together(graph).layer)
    assert not any(graph.layers[name].reason for name in named)
    assert graph.layers["features.2.conv.2"].tied, "tied, but frozen"


# --- the layers ---


def test_layers_before_and_after_a_cut():
    graph = blank("lenet5", 10, 1, 28)
    rows = layer_rows(graph, cost_of(graph), cost_of(graph, {"conv2": range(10)})).set_index("layer")
    assert rows.loc["conv2", ["before", "after"]].tolist() == [50, 40]
    assert rows.loc["conv2", ["parameters", "parameters_after"]].tolist() == [50 * 20 * 25 + 50, 40 * 20 * 25 + 40]
    assert rows.loc["fc1", ["parameters", "parameters_after"]].tolist() == [800 * 500 + 500, 640 * 500 + 500]
    assert rows.loc["conv2", ["macs", "macs_after"]].tolist() == [64 * 500 * 50, 64 * 500 * 40]
    assert rows.frozen.tolist() == ["", "", "", "it is an output of the network"]
    assert (rows.k == 0).all()
    still = layer_rows(graph, cost_of(graph))
    assert still.before.equals(still.after)
    assert still.macs.equals(still.macs_after)


def test_units_before_and_after():
    graph = blank("lenet5-maxout", 10, 1, 28, width=64)
    rows = layer_rows(graph, cost_of(graph), k_after={"fc1": 2}).set_index("layer")
    assert rows.loc["fc1", ["k", "k_after", "inside"]].tolist() == [4, 2, ""]
    assert rows.k["conv1"] == 0


def test_neurons_of_a_layer_that_are_removed_together():
    steps = [conv(3, 12), nn.GroupNorm(3, 12), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 5)]
    graph = trace(nn.Sequential(*steps), EXAMPLE)
    assert layer_rows(graph, cost_of(graph)).inside.tolist() == ["4 at a time", ""]


# --- the pages ---


def choose(app, label: str, key: str):
    app.segmented_control(key=key).set_value(label).run()
    assert not app.exception
    return app


def drawing(app) -> str:
    """The alt text of the drawing; "" without a drawing."""
    return next((chart.proto.alt for chart in app.get("plotly_chart") if "from input to output" in chart.proto.alt), "")


def test_model_remembers_that_the_drawing_was_chosen():
    app = page("model")
    assert not drawing(app)
    assert drawing(choose(app, "Drawing", "layers_as")).startswith("4 layers from input to output, the widest is fc1")
    assert drawing_caption(NO_GROUPS) in texts(app)
    for name in ("plan", "model"):
        app.switch_page(f"{name}/page.py").run()
    assert drawing(app)
    app.selectbox[0].set_value("resnet18").run()
    assert "4 groups of layers that are cut together" in drawing(app)
    assert "numbered line" in texts(app)


def test_plan_draws_removed_neurons():
    step = {"layers": ["conv2", "fc1"], "rule": "fraction", "value": 0.2}
    app = page("plan", draft=spec.parse({"model": "lenet5", "step": [step]}).model_dump(exclude_none=True))
    assert not drawing(app)
    assert "110 of 580 neurons are removed" in drawing(choose(app, "Drawing", "widths_as"))


def test_plan_draws_from_the_starting_network(runs_folder):
    widths = [{"conv1": 20, "conv2": 50, "fc1": 500}, {"conv1": 20, "conv2": 50, "fc1": 400}]
    run = fake_run(runs_folder, {}, widths, [0.9, 0.9])
    step = {"layers": ["fc1"], "rule": "count", "value": 20}
    draft = spec.parse({"model": "lenet5", "step": [step]}).model_dump(exclude_none=True)
    app = choose(page("plan", run=run, draft=draft, begin_at=(run, 1)), "Drawing", "widths_as")
    assert "20 of 480 neurons are removed" in drawing(app)
