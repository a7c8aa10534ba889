"""The drawing of a network, with small examples of widths and shares."""

import random

import pandas as pd
import pytest

from dashboard import charts
from dashboard.charts import marks, network
from dashboard.widgets.drawing import cut_together, layer_rows
from tests.dashboard.charts.examples import DEEP, NO_GROUPS
from trimcore.graph.costs import cost_of
from trimcore.training.prepare import blank


def table(rows: dict[str, tuple[int, int]], **more) -> pd.DataFrame:
    """Layers with these neurons before and after. Each neuron has one parameter and ten MACs."""
    was, now = (pd.Series([pair[i] for pair in rows.values()]) for i in (0, 1))
    return pd.DataFrame({
        "layer": list(rows), "kind": "conv", "before": was, "after": now, "parameters": was, "parameters_after": now,
        "macs": 10 * was, "macs_after": 10 * now, "k": 0, "k_after": 0, "frozen": "", "inside": "",
    }).assign(**more)[[*network.LAYERS, *(name for name in more if name not in network.LAYERS)]]  # fmt: skip


def bars(figure, name: str) -> dict[int, tuple[float, float]]:
    """The start and end of the silhouette's bars with this name, by row."""
    found = [trace for trace in figure.data if trace.type == "bar" and trace.name == name]
    return {row: (base, base + x) for bar in found for row, base, x in zip(bar.y, bar.base, bar.x, strict=True)}


def written(figure) -> list[str]:
    """The texts to the right of the silhouette."""
    return next(list(t.text) for t in figure.data if t.type == "scatter" and t.mode == "text" and len(set(t.x)) == 1
                and t.textposition == "middle right" and len(t.x) > 1)  # fmt: skip


def test_bars_are_square_roots_around_one_centre():
    figure = charts.network_drawing(table({"a": (16, 4), "b": (64, 64), "c": (4, 4)}), NO_GROUPS)
    kept, removed = bars(figure, "kept"), bars(figure, "removed")
    assert list(removed) == [0], "only if neurons are removed"
    assert [sum(ends) for ends in (*kept.values(), *removed.values())] == pytest.approx([sum(kept[0])] * 4)
    length = {row: end - start for row, (start, end) in kept.items()}
    assert length[1] == pytest.approx(4 * length[0]) == pytest.approx(4 * length[2])
    assert removed[0][1] - removed[0][0] == pytest.approx(length[1] / 2)
    assert written(figure) == ["16 → 4", "64", "4"]


def test_frozen_layers_and_parts_without_neurons():
    rows = table({"a": (8, 8), "gru": (0, 0), "out": (10, 10)}, frozen=["", "no rule for GRU", "an output"])
    figure = charts.network_drawing(rows, NO_GROUPS)
    assert (set(bars(figure, "kept")), set(bars(figure, "frozen"))) == ({0}, {1, 2})
    hatched = next(bar for bar in figure.data if bar.name == "frozen")
    assert (hatched.marker.color, hatched.marker.pattern.shape) == (marks.FROZEN.colour, marks.FROZEN.pattern)
    assert bars(figure, "frozen")[1][0] == bars(figure, "frozen")[1][1]
    assert written(figure) == ["8", "—", "10"]
    texts = figure.data[0].hovertext
    assert "frozen" not in texts[0]
    assert "without neurons" in texts[1]
    assert texts[1].endswith("frozen: no rule for GRU")


def test_shares_are_on_both_sides_of_one_axis():
    rows = table({"a": (10, 10), "b": (30, 10)}, macs=[80, 20], macs_after=[80, 10])
    figure = charts.network_drawing(rows, NO_GROUPS)
    wings = [trace for trace in figure.data if trace.type == "bar" and trace.name is None and any(trace.x)]
    (axis,) = {bar.base for bar in wings}
    removed, parameters, macs_removed, macs = (list(bar.x) for bar in wings)
    scale = -parameters[0] / 0.25
    assert [x / scale for x in (*removed, *parameters)] == pytest.approx([-0.75, -0.25, -0.25])
    assert [x / scale for x in (*macs_removed, *macs)] == pytest.approx([0.2, 0.8, 0.1])
    largest = [trace.text for trace in figure.data if trace.type == "scatter" and len(trace.x) == 1]
    assert largest == [("75\u00a0%",), ("80\u00a0%",)]
    low, high = figure.layout.xaxis.range
    assert low < axis + min(removed)
    assert axis + max(macs_removed) < high


def test_time_takes_the_place_of_the_macs():
    """10 ms: 2 + 1 of a, 4 of b, nothing known of c, and 3 between the calls."""
    rows = table({"a": (10, 10), "b": (30, 30), "c": (10, 10)}, ms=[2.0, 4.0, None], after_ms=[1.0, 0.0, None])
    figure = charts.network_drawing(rows, NO_GROUPS, 10.0)
    *_, after, own = (trace for trace in figure.data if trace.type == "bar" and isinstance(trace.base, float))
    assert after.name == "time of what follows", "and the layer's own time lies on top of it"
    scale = own.x[1] / 0.4
    assert [x / scale for x in own.x] == pytest.approx([0.2, 0.4, 0])
    assert [x / scale for x in after.x] == pytest.approx([0.3, 0.4, 0])
    assert [note.text for note in figure.layout.annotations][1:] == ["<b>parameters</b>", "<b>time</b>"]
    largest = [trace.text for trace in figure.data if trace.type == "scatter" and len(trace.x) == 1]
    assert largest == [("60\u00a0%",), ("40\u00a0%",)]
    texts = figure.data[0].hovertext
    assert "2 ms, 1 ms for what follows, 30\u00a0% of all" in texts[0]
    assert " ms" not in texts[2]
    assert "b takes 40\u00a0% of the time" in figure.layout.meta["alt"]


def test_time_needs_its_columns():
    with pytest.raises(ValueError, match="lacks the column"):
        charts.network_drawing(table({"a": (4, 4)}), NO_GROUPS, 1.0)


def test_units_are_written_as_products():
    rows = table({"a": (20, 20), "fc": (500, 250), "one": (500, 125)}, k=[0, 4, 4], k_after=[0, 2, 1])
    assert written(charts.network_drawing(rows, NO_GROUPS)) == ["20", "125×4 → 125×2", "125×4 → 125"]


def test_groups_have_a_number_a_line_and_dots():
    rows = table(dict.fromkeys("abcdef", (8, 8)))
    groups = pd.DataFrame({"group": [1, 2, 1, 1, 2], "layer": ["a", "b", "c", "d", "f"]})
    figure = charts.network_drawing(rows, groups)
    dots = next(trace for trace in figure.data if trace.name == "cut together")
    badges = next(trace for trace in figure.data if trace.text and trace.text[0] == "<b>1</b>")
    assert (list(badges.y), list(badges.text)) == ([0, 1], ["<b>1</b>", "<b>2</b>"])
    assert sorted(zip(dots.y, dots.x, strict=True)) == [(2, badges.x[0]), (3, badges.x[0]), (5, badges.x[1])]
    lines = [(list(t.x)[:2], list(t.y)[:2]) for t in figure.data if t.type == "scatter" and t.mode == "lines"]
    assert lines == [([badges.x[0]] * 2, [0, 3]), ([badges.x[1]] * 2, [1, 5])]
    texts = figure.data[0].hovertext
    assert "group 1: cut together with" in texts[0]
    assert texts[0].endswith("c<br>   d")
    assert "together" not in texts[4]
    assert figure.layout.meta["alt"] == (
        "6 layers from input to output, the widest is a with 8 neurons; 0 frozen; 2 groups of layers that are cut "
        "together, the largest with 3 layers, from a to d."
    )


def test_overlapping_lines_are_in_different_lanes():
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
        assert {lane for _, _, lane in lines} == set(range(most)), "no more lanes than overlapping lines"


def test_many_layers_fit_on_a_screen_and_are_named_by_block():
    was = {name: (width, width // 2) for name, width in DEEP.items()}
    layers = list(DEEP)
    groups = pd.DataFrame({"group": [k // 3 + 1 for k in range(len(layers))], "layer": layers})
    figure = charts.network_drawing(table(was), groups)
    assert len(bars(figure, "kept")) == 336, "every layer is drawn"
    assert 5 * 336 <= figure.layout.height < 1800
    gaps = [b - a for a, b in zip(figure.layout.yaxis.tickvals, figure.layout.yaxis.tickvals[1:], strict=False)]
    assert min(gaps) * 5 >= 10, "names do not overlap"
    assert written(figure)[0] == "32–34, −51\u00a0%", "49 of 99 neurons are kept in this block"
    assert len(figure.to_json()) < 500_000
    assert len(figure.data) < 20, "the number of traces does not grow with the layers"


def test_the_alt_text_counts_removed_neurons():
    alt = charts.network_drawing(table({"a": (1000, 400), "b": (8, 8)}), NO_GROUPS).layout.meta["alt"]
    assert alt == ("2 layers from input to output, the widest is a with 1,000 neurons; 0 frozen; 600 of 1,008 neurons "
                   "are removed; every layer is cut on its own.")  # fmt: skip


@pytest.mark.parametrize(
    ("layers", "groups", "words"),
    [
        (table({"a": (4, 5)}), NO_GROUPS, "widths grow in a"),
        (table({"a": (4, 4)}), pd.DataFrame({"group": [1], "layer": ["z"]}), "not drawn: z"),
        (table({"a": (4, 4)}).drop(columns="k"), NO_GROUPS, "lacks the column"),
        (table({"a": (4, 4)}).head(0), NO_GROUPS, "is empty"),
    ],
)
def test_invalid_tables_are_rejected(layers, groups, words):
    with pytest.raises(ValueError, match=words):
        charts.network_drawing(layers, groups)


@pytest.mark.parametrize("model", ["lenet5-maxout", "vit_b_16", "shufflenet_v2_x1_0"])
def test_other_networks_are_drawn(model):
    graph = blank(model, 10, 3, 64 if model != "lenet5-maxout" else 28)
    figure = charts.network_drawing(layer_rows(graph, cost_of(graph)), cut_together(graph))
    frozen = sum(bool(layer.reason) for layer in graph.layers.values())
    assert len(bars(figure, "frozen")) == frozen
    assert f"; {frozen} frozen" in figure.layout.meta["alt"]
