"""Charts of a sweep."""

import pytest

from dashboard import charts
from tests.dashboard.charts.examples import COURSES, ENDS
from trimcore.tables import Metric

NAMES = {"step.value": "value", "seed": "seed"}
ERROR = Metric("MAE", higher_is_better=False, percent=False)


def drawn(figure):
    return [trace for trace in figure.data if trace.x is not None and trace.x[0] is not None]


def test_each_run_is_a_line_with_the_colour_of_one_setting_and_the_dashes_of_the_other():
    figure = charts.sweep_frontier(COURSES, NAMES)
    lines = drawn(figure)
    assert [list(line.x) for line in lines] == [[1, 2, 3], [1, 2, 3], [1, 3, 5], [1, 3, 5]]
    assert list(lines[0].y) == pytest.approx([98, 97, 96])
    assert lines[0].line.color == lines[1].line.color != lines[2].line.color
    assert [line.line.dash for line in lines] == ["solid", "dot", "solid", "dot"]
    assert [line.marker.symbol[-1] for line in lines] == ["circle", "circle", "circle", "x-thin-open"]
    shown = [trace.name for trace in figure.data if trace.showlegend is not False]
    assert shown == ["value 1", "value 2", "seed 0", "seed 1"]
    assert "4 runs of a sweep" in figure.layout.meta["alt"]
    assert "1 run stopped early" in figure.layout.meta["alt"]


def test_with_one_setting_all_lines_are_solid_and_far_sizes_are_on_a_logarithmic_axis():
    figure = charts.sweep_frontier(COURSES.assign(compression=COURSES.compression**3), {"seed": "seed"})
    assert {line.line.dash for line in drawn(figure)} == {"solid"}
    assert figure.layout.xaxis.type == "log"


def test_an_effect_has_a_mark_for_each_run_and_the_means_of_values_without_a_stopped_run():
    figure = charts.setting_effect(ENDS, "step.value", "value", "seed", "seed")
    means = [trace for trace in figure.data if trace.mode == "lines"]
    assert list(means[0].y) == pytest.approx([97]), "a run of the other value stopped early"
    whole = charts.setting_effect(ENDS.assign(stopped=False), "step.value", "value", "seed", "seed")
    assert list(whole.data[0].y) == pytest.approx([97, 70])
    assert [list(trace.y) for trace in whole.data if trace.mode == "lines"][1] == [3, 5]
    marks = [trace for trace in figure.data if trace.mode == "markers"]
    assert [list(trace.y) for trace in marks[:2]] == [pytest.approx([96, 90]), pytest.approx([98, 50])]
    assert [trace.name for trace in marks if trace.showlegend] == ["seed 0", "seed 1"]
    assert list(marks[1].marker.symbol) == ["square", "square-open"]
    assert list(figure.layout.xaxis.ticktext) == ["1", "2"]


def test_with_a_loss_the_best_is_the_lowest():
    alt = charts.setting_effect(ENDS.assign(stopped=False), "step.value", "value", metric=ERROR).layout.meta["alt"]
    assert "on average best with 2, MAE 0.7, and worst with 1, MAE 0.97" in alt
    assert charts.setting_effect(ENDS, "seed", "seed", metric=ERROR).layout.yaxis.title.text == "MAE, lower is better"
