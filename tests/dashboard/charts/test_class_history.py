"""The chart of the accuracy of each class over the iterations, with small examples."""

import numpy as np
import pandas as pd
import pytest

from dashboard.charts.class_history import MAX_CLASSES, MAX_ITERATIONS, class_history
from tests.dashboard.charts.examples import CLASS_FINAL, CLASS_INITIAL, trace

NAMES = ["cat", "dog", "cow"]


def table(initial=CLASS_INITIAL, final=CLASS_FINAL, names=NAMES, first=0) -> pd.DataFrame:
    frames = [
        pd.DataFrame({"iteration": first + k, "class": names, "accuracy_initial": a, "accuracy_final": b})
        for k, (a, b) in enumerate(zip(initial, final, strict=True))
    ]
    return pd.concat(frames).astype({"accuracy_initial": float, "accuracy_final": float})


def changes(figure) -> np.ndarray:
    """The cells with a number, row by row."""
    z = np.asarray(figure.data[0].z)
    return z[:, ~np.isnan(z).all(0)]


def test_cells_are_points_relative_to_the_base_and_the_worst_class_is_at_the_top():
    figure = class_history(table())
    assert list(figure.layout.yaxis.ticktext) == ["dog", "cat"], "a class without images has no row"
    np.testing.assert_allclose(changes(figure), [[0, -10, 0, -80, -30], [0, -50, -2, -10, -1]], atol=1e-4)
    written = figure.data[3]  # cells without a change are empty, such as dog after the first retraining
    assert list(written.text) == ["90", "−10", "−80", "−30", "100", "−50", "−2.0", "−10", "−1.0"]
    heat, axis = figure.data[0], figure.layout.coloraxis
    assert (axis.cmin, axis.cmax) == pytest.approx((-30, 30)), "the largest change after retraining"
    text = [entry for entry in heat.text[0] if entry]
    assert text[0] == "<b>dog</b>, base"
    assert text[3:] == ["<b>dog</b>, iteration 2, initial", "<b>dog</b>, iteration 2, final"]
    assert np.nanmax(np.asarray(heat.customdata)) == 100
    assert figure.layout.meta["alt"] == (
        "Accuracy of 2 classes relative to the base, over 2 iterations. After iteration 2, 2 are lower, the largest "
        "loss in dog, 90\u00a0% to 60\u00a0%. The largest loss after a cut was in iteration 2: dog lost 80.0 points "
        "and recovered 50.0 in retraining."
    )


def test_initial_and_final_are_adjacent_with_a_gap_between_iterations():
    figure = class_history(table())
    edges, empty = np.diff(figure.data[0].x), np.isnan(np.asarray(figure.data[0].z)).all(0)
    assert empty.tolist() == [False, True, False, False, True, False, False]
    assert edges[empty].max() < edges[~empty].min()
    cut, retrained = trace(figure, "after the cut"), trace(figure, "after retraining")
    np.testing.assert_allclose(np.subtract(retrained.x, cut.x), 1)
    assert cut.marker.symbol != retrained.marker.symbol, "not by colour alone"
    assert list(figure.layout.xaxis.ticktext) == ["base %", "1", "2"]


def test_better_is_blue_and_worse_is_orange():
    (_, worse), _, (_, better) = class_history(table()).layout.coloraxis.colorscale
    assert (worse, better) == ("#d9731a", "#3b7dd8")


def test_an_iteration_without_a_final_accuracy():
    figure = class_history(table(CLASS_INITIAL[:2], [CLASS_FINAL[0], [None] * 3]))
    np.testing.assert_allclose(changes(figure), [[0, -50], [0, -10]], atol=1e-4)
    alt = figure.layout.meta["alt"]
    assert alt.endswith("The largest loss after a cut was in iteration 1: cat lost 50.0 points.")
    assert "After iteration" not in alt


def test_without_the_base_the_first_finished_iteration_is_the_base():
    figure = class_history(table(CLASS_INITIAL[1:], CLASS_FINAL[1:], first=4))
    np.testing.assert_allclose(changes(figure), [[0, -80, -30], [0, -8, 1]], atol=1e-4)
    assert list(figure.layout.xaxis.ticktext) == ["4, %", "5"]


def test_without_losses_no_class_is_named():
    alt = class_history(table([[None] * 2, [0.5, 0.9]], [[0.5, 0.9]] * 2, NAMES[:2])).layout.meta["alt"]
    assert alt == "Accuracy of 2 classes relative to the base, over 1 iteration. After iteration 1, 0 are lower."


@pytest.mark.parametrize(("classes", "iterations"), [(1000, 120), (40, 40), (41, 2), (1, 1)])
def test_large_histories_are_light_and_show_the_largest_losses(classes, iterations):
    random = np.random.default_rng(0)
    final, names = random.random((iterations + 1, classes)), [f"a class of a long name, {k}" for k in range(classes)]
    figure = class_history(table(np.array([[np.nan] * classes, *final[1:] / 2]), final, names))
    assert len(figure.to_json()) < 500_000
    assert figure.layout.height < 900
    shown = changes(figure)
    assert shown.shape == (min(classes, MAX_CLASSES), 1 + 2 * min(iterations, MAX_ITERATIONS))
    np.testing.assert_allclose(shown[:, -1], np.sort(100 * (final[-1] - final[0]))[:MAX_CLASSES], atol=1e-3)
    assert (len(figure.data) == 4) == (classes == 1), "numbers only if there is room"
    assert f"over {iterations:,} iteration" in figure.layout.meta["alt"], "all iterations, not only the drawn ones"


@pytest.mark.parametrize(("given", "named"), [
    (table().iloc[:0], "classes is empty"), (table().drop(columns="class"), "class"),
    (table([[0.5] * 3], [[None] * 3]), "no final accuracy"),
])
def test_errors_name_what_is_missing(given, named):
    with pytest.raises(ValueError, match=named):
        class_history(given)
