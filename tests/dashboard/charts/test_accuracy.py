"""Accuracy and loss over the epochs."""

import warnings

import numpy as np

from dashboard import charts
from dashboard.charts.tables import percent
from tests.dashboard.charts.examples import CUTS, EPOCHS, trace
from trimcore.tables import Metric


def test_accuracy_curve_places_cuts_drops_and_recoveries():
    figure = charts.accuracy_curve(EPOCHS, CUTS)
    epochs, initial, final = (trace(figure, name) for name in ("each epoch", "initial", "final"))
    assert list(epochs.x) == [1, 2, 3, 4, None, 5, 6, None, 7, 8]
    assert list(initial.x) == [4, 6]
    assert list(final.x) == [4, 6, 8]
    np.testing.assert_allclose(final.y, [97.9, 97.4, np.nan])
    drops = figure.data[0]
    np.testing.assert_allclose(drops.y[:2], [97.9, 96])
    np.testing.assert_allclose(drops.y[3:5], [97.4, 12])
    numbers = figure.data[-1]
    assert list(numbers.text) == [1, 2]
    assert [label for _, label in numbers.customdata] == ["conv2 −11", "fc1 −74"]


def test_the_accuracy_axis_is_zoomed_and_lower_values_are_written():
    figure = charts.accuracy_curve(EPOCHS, CUTS)
    low, high = figure.layout.yaxis.range
    assert 80 < low < 96.5
    assert 98 < high < 100
    initial = trace(figure, "initial")
    np.testing.assert_allclose(initial.y, [96, low])
    assert list(initial.text) == ["", percent(0.12)]


def test_the_accuracy_axis_shows_everything_before_the_first_cut():
    figure = charts.accuracy_curve(EPOCHS.head(4).assign(metric=[0.1, 0.5, 0.9, 0.98]), CUTS.head(0))
    low, high = figure.layout.yaxis.range
    assert low < 10
    assert high > 98


def test_one_epoch_is_enough_for_the_accuracy_axis():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = charts.accuracy_curve(EPOCHS.head(1).assign(metric=0.5), CUTS.head(0))
    low, high = figure.layout.yaxis.range
    assert low < 50 < high


def test_loss_curve_breaks_at_cuts():
    loss = charts.loss_curve(EPOCHS.sample(frac=1, random_state=0))  # rows in any order
    assert list(loss.data[0].x) == [1, 2, 3, 4, None, 5, 6, None, 7, 8]
    assert [line.x0 for line in loss.layout.shapes] == [4, 6]


def test_epochs_of_a_conversion_follow_those_of_the_base():
    phases = ["base", "base", "convert", "convert", *["retrain"] * 4]
    epochs = EPOCHS.assign(epoch=[1, 2, 1, 2, 1, 2, 1, 2], phase=phases).sample(frac=1, random_state=0)
    figure = charts.accuracy_curve(epochs, CUTS)
    curve, label = trace(figure, "each epoch"), next(t for t in figure.data if t.text == "to ReLU")
    assert list(curve.x) == [1, 2, 3, 4, None, 5, 6, None, 7, 8]  # no cut between the base and its conversion
    np.testing.assert_allclose(curve.y[:4], [90, 95, 97, 98])
    assert [tuple(row) for row in curve.customdata[:4]] == [
        ("iteration 0", 1), ("iteration 0", 2), ("conversion to ReLU", 1), ("conversion to ReLU", 2),
    ]
    assert list(label.x) == [2]
    assert [line.x0 for line in figure.layout.shapes] == [2, 4, 6]
    assert "conversion to ReLU after epoch 2" in figure.layout.meta["alt"]
    assert any(t.text == "to maxout" for t in charts.accuracy_curve(epochs, CUTS, "maxout").data)
    loss = charts.loss_curve(epochs)
    np.testing.assert_allclose(loss.data[0].y[:4], [2, 1, 0.5, 0.2])
    assert [line.x0 for line in loss.layout.shapes] == [2, 4, 6]


def test_the_best_epoch_of_an_iteration_is_marked_unless_it_is_the_last():
    epochs = EPOCHS.head(6).assign(metric=[0.1, 0.98, 0.97, 0.96, 0.90, 0.95])  # four epochs, a cut, two epochs
    best = trace(charts.accuracy_curve(epochs, CUTS.head(0)), "best epoch")
    assert (list(best.x), list(best.y)) == ([2], [98])
    error = Metric("MAE", higher_is_better=False, percent=False)
    best = trace(charts.accuracy_curve(epochs, CUTS.head(0), metric=error), "best epoch")
    assert (list(best.x), list(best.y)) == ([1, 5], [0.1, 0.90])
