"""The knee of a curve, against the definition and by hand."""

import math

import pytest

from trimcore.planning.knee import knee
from trimcore.tables import Metric

ERROR = Metric("MAE", higher_is_better=False, percent=False)


def test_the_last_point_before_the_fall():
    assert knee([1, 2, 4, 8, 16], [0.98, 0.98, 0.97, 0.95, 0.30], Metric()) == 3


def test_an_error_that_rises_is_the_same_curve_upside_down():
    assert knee([1, 2, 4, 8, 16], [0.02, 0.02, 0.03, 0.05, 0.70], ERROR) == 3


def test_a_straight_line_has_its_knee_at_the_start():
    assert knee([1, 2, 4, 8], [0.9, 0.8, 0.7, 0.6], Metric()) == 0


def test_a_network_that_loses_nothing_can_go_to_the_end():
    assert knee([1, 2, 4], [0.9, 0.9, 0.9], Metric()) == 2


def test_it_is_the_farthest_point_from_the_chord():
    times, values = [1, 1.5, 3, 6, 7, 20], [0.99, 0.985, 0.95, 0.90, 0.70, 0.15]
    slope = (values[-1] - values[0]) / math.log(times[-1])  # over the logarithm of the factor
    above = [value - (values[0] + slope * math.log(factor)) for factor, value in zip(times, values, strict=True)]
    assert knee(times, values, Metric()) == max(range(6), key=above.__getitem__)


@pytest.mark.parametrize(("times", "values"), [([1], [0.9]), ([1, 2], [0.9]), ([], [])])
def test_too_few_points(times, values):
    with pytest.raises(ValueError, match="two points or more"):
        knee(times, values, Metric())
