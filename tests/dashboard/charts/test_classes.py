"""Charts by class, with small examples."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dashboard.charts.classes import COLUMNS, ROWS, cells_of, class_accuracy, class_heatmap, confusion_change
from tests.dashboard.charts.examples import trace as trace_of

RANDOM = np.random.default_rng(0)
ACCURACIES = pd.DataFrame({"class": ["a", "b", "c", "d"], "before": [0.9, 0.8, 1.0, np.nan],
                           "after": [0.95, 0.5, 0.9, np.nan]})  # fmt: skip
BEFORE = np.array([[8, 2, 0], [1, 9, 0], [0, 0, 5]])
AFTER = np.array([[5, 2, 3], [0, 10, 0], [0, 0, 5]])


# --- APoZ by class ---


def test_the_heatmap_has_one_cell_per_neuron_and_class():
    apoz = np.array([[0.1, 0.2, 1.0], [np.nan] * 3, [0.404, 0.5, 1.0]])
    figure = class_heatmap(apoz, ["cat", "dog", "cow"], [2, 0, 1])
    (heat,) = figure.data
    assert (np.asarray(heat.z).tolist(), heat.z.dtype) == ([[100, 10, 20], [100, 40, 50]], np.uint8)
    assert (list(heat.x), list(heat.y)) == (["2", "0", "1"], ["cat", "cow"]), "a class without images has no row"
    assert "3 neurons in 2 classes: 2 neurons are active" in figure.layout.meta["alt"]
    assert "1 are never active" in figure.layout.meta["alt"]
    assert "mean of" not in figure.layout.meta["alt"]


@pytest.mark.parametrize(("classes", "neurons"), [(1, 1), (10, 4096), (1000, 4096), (50, 500), (201, 1025), (1000, 3)])
def test_large_layers_are_binned_and_light(classes, neurons):
    apoz, order = RANDOM.random((classes, neurons)).astype(np.float32), RANDOM.permutation(neurons)
    names = [f"class {i}" for i in range(classes)]
    figure = class_heatmap(apoz, names, order)
    assert len(figure.to_json()) < 500_000
    assert figure.layout.height <= 640
    z = np.asarray(figure.data[0].z)
    assert z.shape[0] <= ROWS
    assert z.shape[1] <= COLUMNS
    assert len(set(figure.data[0].y)) == z.shape[0], "no two rows of the axis are merged"
    high, wide = -(-classes // ROWS), -(-neurons // COLUMNS)
    first = apoz[:high][:, order[:wide]]
    last = apoz[(z.shape[0] - 1) * high :][:, order[(z.shape[1] - 1) * wide :]]
    assert (z[0, 0], z[-1, -1]) == (round(100 * first.mean()), round(100 * last.mean()))
    assert figure.data[0].x[0].startswith(str(order[0]))
    assert ("A cell is the mean" in figure.layout.meta["alt"]) == (high * wide > 1)


@given(st.integers(1, 5000), st.integers(1, 300))
@settings(max_examples=100, deadline=None)
def test_every_item_is_in_exactly_one_cell(count, most):
    begins = cells_of(count, most)
    sizes = np.diff([*begins, count])
    assert sizes.sum() == count
    assert sizes.min() >= 1
    assert len(begins) <= most
    assert len(set(sizes[:-1])) <= 1
    assert (sizes.max() == 1) == (count <= most)


def test_classes_with_the_same_name_have_separate_rows():
    heat = class_heatmap(np.array([[0.0], [1.0]]), ["same", "same"], [0]).data[0]
    assert len(set(heat.y)) == 2


# --- accuracy and confusions ---


def test_the_largest_loss_is_at_the_top():
    figure = class_accuracy(ACCURACIES, "base", "after 2")
    before, after = trace_of(figure, "base"), trace_of(figure, "after 2")
    assert list(figure.layout.yaxis.ticktext) == ["b", "c", "a"]
    assert figure.layout.yaxis.range[0] > figure.layout.yaxis.range[1]
    np.testing.assert_allclose(before.x, [80, 100, 90])
    np.testing.assert_allclose(after.x, [50, 90, 95])
    assert list(after.customdata[0]) == ["b", 80, 50, -30]
    assert before.marker.symbol != after.marker.symbol, "not by colour alone"
    assert "2 lost accuracy, the most in b, 80\u00a0% to 50\u00a0%." in figure.layout.meta["alt"]
    lost, gained = figure.data[:2]
    assert [[x for x in line.x if x is not None] for line in (lost, gained)] == [[80, 50, 100, 90], [90, 95]]


def test_confusions_distinguish_better_and_worse():
    figure = confusion_change(BEFORE, AFTER, "abc")
    heat = figure.data[0]
    shown = np.asarray(heat.z)
    assert np.nan_to_num(shown).tolist() == [[3, 0, 3], [-1, -1, 0], [0, 0, 0]], "fewer on the diagonal is worse"
    assert np.isnan(shown).tolist() == [[False, True, False], [False, False, True], [True] * 3], "empty: no change"
    assert np.asarray(heat.customdata)[0].tolist() == [[8, 5, -3], [2, 2, 0], [0, 3, 3]]
    written = figure.data[1]
    assert list(zip(written.y, written.x, written.text, strict=True)) == [
        (0, 0, "−3"), (0, 2, "+3"), (1, 0, "−1"), (1, 1, "+1"),
    ]
    assert heat.hovertext[0][2] == "a predicted as c"
    axis = figure.layout.coloraxis
    assert (axis.cmin, axis.cmax) == (-3, 3)
    assert "3 images were misclassified before, 5 after; 1 confusions" in figure.layout.meta["alt"]


@pytest.mark.parametrize("figure", [
    class_accuracy(ACCURACIES), confusion_change(BEFORE, AFTER, "abc"), confusion_change([[3]], [[3]], "a"),
    confusion_change(RANDOM.integers(0, 90, (50, 50)), RANDOM.integers(0, 90, (50, 50)), [f"c {i}" for i in range(50)]),
    class_heatmap(RANDOM.random((1, 5)), ["only"], range(5)),
    class_accuracy(pd.DataFrame({"class": [f"{i}" for i in range(40)], "before": 0.5, "after": 0.5})),
])
def test_charts_are_light_and_have_alt_texts(figure):
    assert len(figure.to_json()) < 500_000
    assert figure.layout.height < 1100
    alt = figure.layout.meta["alt"]
    assert alt.endswith(".")
    assert "nan" not in alt.lower()
    assert figure.layout.paper_bgcolor == figure.layout.plot_bgcolor == "rgba(0,0,0,0)"


@pytest.mark.parametrize(("chart", "arguments", "named"), [
    (class_heatmap, [np.zeros((0, 3)), [], [0, 1, 2]], r"apoz has shape \(0, 3\)"),
    (class_heatmap, [np.full((1, 2), np.nan), ["a"], [0, 1]], "one class that has images"),
    (class_heatmap, [np.zeros((1, 3)), ["a"], [0, 1]], "2 neurons"),
    (class_accuracy, [ACCURACIES.tail(1)], "with images"),
    (class_accuracy, [ACCURACIES.drop(columns="after")], "after"),
    (confusion_change, [BEFORE, AFTER[:2, :2], "abc"], "shapes"),
    (confusion_change, [BEFORE, AFTER, "ab"], "2 classes"),
])
def test_errors_name_what_is_missing(chart, arguments, named):
    with pytest.raises(ValueError, match=named):
        chart(*arguments)
