"""The network drawn: widths and shares by hand, and what is cut together against one cut after another."""

import random

import pandas as pd
import pytest
import torch
from torch import nn

from dashboard import charts
from dashboard.charts import marks, network
from dashboard.drawing import cut_together, drawn_layers, how_to_read
from tests.dashboard.fakes import fake_run
from tests.dashboard.test_charts import DEEP
from tests.dashboard.test_pages import page, texts
from tests.trimcore.nets import NETS, Net, conv, drawn
from trimcore import spec
from trimcore.errors import NotTrimmable
from trimcore.graph.costs import cost_of, cost_without
from trimcore.graph.tracing import trace
from trimcore.training.prepare import blank

NONE = pd.DataFrame(columns=["group", "layer"])
EXAMPLE = torch.zeros(2, 3, 8, 8)


def groups_of(graph) -> list[list[str]]:
    return cut_together(graph).groupby("group").layer.agg(list).tolist()


def by_one_cut_after_another(graph) -> list[list[str]]:
    """The layers that lose neurons at once when any one neuron goes, and those that meet through others."""
    full, found = cost_without(graph, torch.zeros(graph.fine.group_count, dtype=torch.bool)).widths, []
    for name in graph.layers:
        for neuron in graph.candidates(name):
            gone = torch.zeros(graph.group_count, dtype=torch.bool)
            gone[graph.layers[name].neurons[neuron]] = True
            left = cost_without(graph, graph.in_fine(gone)).widths
            losing = {other for other in left if left[other] < full[other]}
            met = [group for group in found if group & losing]
            found = [group for group in found if not group & losing] + [losing.union(*met)]
    place = list(graph.layers).index
    ordered = [sorted(group, key=place) for group in found if len(group) > 1]
    return sorted(ordered, key=lambda group: place(group[0]))


def table(rows: dict[str, tuple[int, int]], **more) -> pd.DataFrame:
    """Layers of so many neurons before and after; a parameter and ten MACs each."""
    was, now = (pd.Series([pair[i] for pair in rows.values()]) for i in (0, 1))
    return pd.DataFrame({
        "layer": list(rows), "kind": "conv", "before": was, "after": now, "parameters": was, "parameters_after": now,
        "macs": 10 * was, "macs_after": 10 * now, "k": 0, "k_after": 0, "frozen": "", "inside": "",
    }).assign(**more)[network.LAYERS]  # fmt: skip


def bars(figure, name: str) -> dict[int, tuple[float, float]]:
    """Of the silhouette's bars of that name, by row: where it begins and ends."""
    found = [trace for trace in figure.data if trace.type == "bar" and trace.name == name]
    return {row: (base, base + x) for bar in found for row, base, x in zip(bar.y, bar.base, bar.x, strict=True)}


def written(figure) -> list[str]:
    """What stands right of the silhouette."""
    return next(list(t.text) for t in figure.data if t.type == "scatter" and t.mode == "text" and len(set(t.x)) == 1
                and t.textposition == "middle right" and len(t.x) > 1)  # fmt: skip


# --- what is cut together ---


def test_residual_streams_of_a_resnet():
    assert groups_of(blank("resnet18", 10, 3, 32)) == [
        ["conv1", "layer1.0.conv2", "layer1.1.conv2"],
        *[[f"layer{k}.0.conv2", f"layer{k}.0.downsample.0", f"layer{k}.1.conv2"] for k in (2, 3, 4)],
    ]


def test_layers_of_lenet_and_of_its_units_go_alone():
    assert groups_of(blank("lenet5", 10, 1, 28)) == []
    assert groups_of(blank("lenet5-maxout", 10, 1, 28)) == []


@pytest.mark.parametrize("make", [*NETS.values()], ids=[*NETS])
def test_every_way_to_hang_together(make):
    graph = trace(make(), EXAMPLE)
    assert groups_of(graph) == by_one_cut_after_another(graph)


def test_random_networks():
    several = 0
    for seed in range(12):
        try:
            graph = trace(drawn(seed), EXAMPLE)
        except NotTrimmable:
            continue
        expected = by_one_cut_after_another(graph)
        assert groups_of(graph) == expected, seed
        several += len(expected) > 0
    assert several > 2, "else this compares nothing"


def test_layers_side_by_side_meet_in_the_sum_with_a_third():
    net = Net(
        lambda m, x: m.last(torch.relu(torch.cat([m.a(x), m.b(x)], 1) + m.c(x))),
        a=conv(3, 2), b=conv(3, 4), c=conv(3, 6), last=conv(6, 2),
    )  # fmt: skip
    assert groups_of(trace(net, EXAMPLE)) == [["a", "b", "c"]]


def test_what_is_frozen_is_in_no_group():
    graph = blank("mobilenet_v2", 10, 3, 64)
    named = set(cut_together(graph).layer)
    assert not any(graph.layers[name].reason for name in named)
    assert graph.layers["features.2.conv.2"].tied, "a stream, but a frozen one"


# --- the layers ---


def test_layers_before_and_after_by_hand():
    graph = blank("lenet5", 10, 1, 28)
    rows = drawn_layers(graph, cost_of(graph), cost_of(graph, {"conv2": range(10)})).set_index("layer")
    assert rows.loc["conv2", ["before", "after"]].tolist() == [50, 40]
    assert rows.loc["conv2", ["parameters", "parameters_after"]].tolist() == [50 * 20 * 25 + 50, 40 * 20 * 25 + 40]
    assert rows.loc["fc1", ["parameters", "parameters_after"]].tolist() == [800 * 500 + 500, 640 * 500 + 500]
    assert rows.loc["conv2", ["macs", "macs_after"]].tolist() == [64 * 500 * 50, 64 * 500 * 40]
    assert rows.frozen.tolist() == ["", "", "", "it is an output of the network"]
    assert (rows.k == 0).all()
    still = drawn_layers(graph, cost_of(graph))
    assert still.before.equals(still.after)
    assert still.macs.equals(still.macs_after)


def test_units_before_and_after():
    graph = blank("lenet5-maxout", 10, 1, 28, width=64)
    rows = drawn_layers(graph, cost_of(graph), k_after={"fc1": 2}).set_index("layer")
    assert rows.loc["fc1", ["k", "k_after", "inside"]].tolist() == [4, 2, ""]
    assert rows.k["conv1"] == 0


def test_neurons_that_only_go_together_within_a_layer():
    steps = [conv(3, 12), nn.GroupNorm(3, 12), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 5)]
    graph = trace(nn.Sequential(*steps), EXAMPLE)
    assert drawn_layers(graph, cost_of(graph)).inside.tolist() == ["4 at a time", ""]


# --- the figure ---


def test_bars_are_square_roots_about_one_centre():
    figure = charts.network_drawing(table({"a": (16, 4), "b": (64, 64), "c": (4, 4)}), NONE)
    kept, cut = bars(figure, "kept"), bars(figure, "cut")
    assert list(cut) == [0], "only where something goes"
    assert [sum(ends) for ends in (*kept.values(), *cut.values())] == pytest.approx([sum(kept[0])] * 4)
    length = {row: end - begin for row, (begin, end) in kept.items()}
    assert length[1] == pytest.approx(4 * length[0]) == pytest.approx(4 * length[2])
    assert cut[0][1] - cut[0][0] == pytest.approx(length[1] / 2)
    assert written(figure) == ["16 → 4", "64", "4"]


def test_frozen_layers_and_parts_without_neurons():
    rows = table({"a": (8, 8), "gru": (0, 0), "out": (10, 10)}, frozen=["", "no rule for GRU", "an output"])
    figure = charts.network_drawing(rows, NONE)
    assert (set(bars(figure, "kept")), set(bars(figure, "frozen"))) == ({0}, {1, 2})
    hatched = next(bar for bar in figure.data if bar.name == "frozen")
    assert (hatched.marker.color, hatched.marker.pattern.shape) == (marks.FROZEN.colour, marks.FROZEN.pattern)
    assert bars(figure, "frozen")[1][0] == bars(figure, "frozen")[1][1]
    assert written(figure) == ["8", "—", "10"]
    told = figure.data[0].hovertext
    assert "frozen" not in told[0]
    assert "without neurons" in told[1]
    assert told[1].endswith("frozen: no rule for GRU")


def test_shares_lie_on_both_sides_of_one_axis():
    rows = table({"a": (10, 10), "b": (30, 10)}, macs=[80, 20], macs_after=[80, 10])
    figure = charts.network_drawing(rows, NONE)
    wings = [trace for trace in figure.data if trace.type == "bar" and trace.name is None and any(trace.x)]
    (axis,) = {bar.base for bar in wings}
    gone, parameters, macs_gone, macs = (list(bar.x) for bar in wings)
    scale = -parameters[0] / 0.25
    assert [x / scale for x in (*gone, *parameters)] == pytest.approx([-0.75, -0.25, -0.25])
    assert [x / scale for x in (*macs_gone, *macs)] == pytest.approx([0.2, 0.8, 0.1])
    largest = [trace.text for trace in figure.data if trace.type == "scatter" and len(trace.x) == 1]
    assert largest == [("75\u00a0%",), ("80\u00a0%",)]
    low, high = figure.layout.xaxis.range
    assert low < axis + min(gone)
    assert axis + max(macs_gone) < high


def test_units_are_written_as_units():
    rows = table({"a": (20, 20), "fc": (500, 250), "one": (500, 125)}, k=[0, 4, 4], k_after=[0, 2, 1])
    assert written(charts.network_drawing(rows, NONE)) == ["20", "125×4 → 125×2", "125×4 → 125"]


def test_groups_have_a_number_a_line_and_a_dot_at_each_layer():
    rows = table(dict.fromkeys("abcdef", (8, 8)))
    groups = pd.DataFrame({"group": [1, 2, 1, 1, 2], "layer": ["a", "b", "c", "d", "f"]})
    figure = charts.network_drawing(rows, groups)
    dots = next(trace for trace in figure.data if trace.name == "cut together")
    badges = next(trace for trace in figure.data if trace.text and trace.text[0] == "<b>1</b>")
    assert (list(badges.y), list(badges.text)) == ([0, 1], ["<b>1</b>", "<b>2</b>"])
    assert sorted(zip(dots.y, dots.x, strict=True)) == [(2, badges.x[0]), (3, badges.x[0]), (5, badges.x[1])]
    lines = [(list(t.x)[:2], list(t.y)[:2]) for t in figure.data if t.type == "scatter" and t.mode == "lines"]
    assert lines == [([badges.x[0]] * 2, [0, 3]), ([badges.x[1]] * 2, [1, 5])]
    told = figure.data[0].hovertext
    assert "1: cut together with" in told[0]
    assert told[0].endswith("c<br>   d")
    assert "together" not in told[4]
    assert figure.layout.meta["alt"] == (
        "6 layers from input to output, the widest a with 8 neurons; 0 frozen; 2 groups of layers that are cut "
        "together, the largest of 3, from a to d."
    )


def test_lines_that_pass_each_other_are_in_different_lanes():
    choice = random.Random(0)
    for _ in range(50):
        rows = choice.sample(range(60), 30)
        members = pd.DataFrame({"group": [k // 3 + 1 for k in range(30)], "row": rows})
        lines = network._lanes(members).itertuples(index=False)
        lines = [(line.first, line.last, line.lane) for line in lines]
        for first, last, lane in lines:
            beside = [(a, b) for a, b, other in lines if other == lane and (a, b) != (first, last)]
            assert all(b < first or last < a for a, b in beside)
        most = max(sum(a <= row <= b for a, b, _ in lines) for row in range(60))
        assert {lane for _, _, lane in lines} == set(range(most)), "and no more lanes than lines at one place"


def test_many_layers_stay_on_a_screen_and_are_named_by_blocks():
    was = {name: (width, width // 2) for name, width in DEEP.items()}
    layers = list(DEEP)
    groups = pd.DataFrame({"group": [k // 3 + 1 for k in range(len(layers))], "layer": layers})
    figure = charts.network_drawing(table(was), groups)
    assert len(bars(figure, "kept")) == 336, "every layer is drawn"
    assert 5 * 336 <= figure.layout.height < 1800
    gaps = [b - a for a, b in zip(figure.layout.yaxis.tickvals, figure.layout.yaxis.tickvals[1:], strict=False)]
    assert min(gaps) * 5 >= 10, "names do not lie upon each other"
    assert written(figure)[0] == "32–34, −51\u00a0%", "49 of 99 stay in this block"
    assert len(figure.to_json()) < 500_000
    assert len(figure.data) < 20, "traces do not grow with the layers"


def test_the_alt_text_counts_what_goes():
    alt = charts.network_drawing(table({"a": (1000, 400), "b": (8, 8)}), NONE).layout.meta["alt"]
    assert alt == ("2 layers from input to output, the widest a with 1,000 neurons; 0 frozen; 600 of 1,008 neurons "
                   "would go; every layer is cut by itself.")  # fmt: skip


@pytest.mark.parametrize(
    ("layers", "groups", "words"),
    [
        (table({"a": (4, 5)}), NONE, "widths grow in a"),
        (table({"a": (4, 4)}), pd.DataFrame({"group": [1], "layer": ["z"]}), "not drawn: z"),
        (table({"a": (4, 4)}).drop(columns="k"), NONE, "lacks the column"),
        (table({"a": (4, 4)}).head(0), NONE, "is empty"),
    ],
)
def test_tables_that_do_not_fit(layers, groups, words):
    with pytest.raises(ValueError, match=words):
        charts.network_drawing(layers, groups)


# --- the pages ---


def choose(app, label: str, key: str):
    app.segmented_control(key=key).set_value(label).run()
    assert not app.exception
    return app


def drawing(app) -> str:
    """The alt text of the drawing; "" where there is none."""
    return next((chart.proto.alt for chart in app.get("plotly_chart") if "from input to output" in chart.proto.alt), "")


def test_model_draws_the_network_on_request_and_remembers_it():
    app = page("model")
    assert not drawing(app)
    assert drawing(choose(app, "Drawing", "layers_as")).startswith("4 layers from input to output, the widest fc1")
    assert how_to_read(NONE) in texts(app)
    for name in ("plan", "model"):
        app.switch_page(f"views/{name}.py").run()
    assert drawing(app)
    app.selectbox[0].set_value("resnet18").run()
    assert "4 groups of layers that are cut together" in drawing(app)
    assert "numbered line" in texts(app)


def test_plan_draws_what_goes():
    step = {"layers": ["conv2", "fc1"], "rule": "fraction", "value": 0.2}
    app = page("plan", draft=spec.parse({"model": "lenet5", "step": [step]}).model_dump(exclude_none=True))
    assert not drawing(app)
    assert "110 of 580 neurons would go" in drawing(choose(app, "Drawing", "widths_as"))


def test_plan_draws_from_where_the_run_begins(runs_folder):
    widths = [{"conv1": 20, "conv2": 50, "fc1": 500}, {"conv1": 20, "conv2": 50, "fc1": 400}]
    run = fake_run(runs_folder, {}, widths, [0.9, 0.9])
    step = {"layers": ["fc1"], "rule": "count", "value": 20}
    draft = spec.parse({"model": "lenet5", "step": [step]}).model_dump(exclude_none=True)
    app = choose(page("plan", run=run, draft=draft, begin_at=(run, 1)), "Drawing", "widths_as")
    assert "20 of 480 neurons would go" in drawing(app)


@pytest.mark.parametrize("model", ["lenet5-maxout", "vit_b_16", "shufflenet_v2_x1_0"])
def test_other_networks_are_drawn(model):
    graph = blank(model, 10, 3, 64 if model != "lenet5-maxout" else 28)
    figure = charts.network_drawing(drawn_layers(graph, cost_of(graph)), cut_together(graph))
    frozen = sum(bool(layer.reason) for layer in graph.layers.values())
    assert len(bars(figure, "frozen")) == frozen
    assert f"; {frozen} frozen" in figure.layout.meta["alt"]
