"""The recommended factor of the slider, and its curve."""

import pytest

from dashboard.plan import goal, recommendation
from tests.dashboard.drafts import choose_goal, plan_from
from tests.dashboard.pages import texts
from trimcore.errors import SpecError
from trimcore.planning.targets import Accuracy, Smaller
from trimcore.tables import ACCURACY


def test_it_is_shown_before_the_slider_is_moved_and_marks_what_is_chosen(copy_of):
    app = plan_from(copy_of(), {"layers": ["conv1"], "rule": "fraction", "value": 0.1})
    app = choose_goal(app, goal.SMALLER)
    assert "accuracy before retraining is" in texts(app) or "no point stands out" in texts(app)
    assert not [metric for metric in app.metric if metric.label == "Smaller"], "nothing is asked for yet"
    app = choose_goal(app, goal.SMALLER, 2.5)
    assert [metric for metric in app.metric if metric.label == "Smaller"]


def propose(values):
    """A stand-in for the computation of plans: factor -> metric; other factors cannot be reached."""

    def plan(asked: goal.Goal) -> dict:
        if asked.targets[0].times not in values:
            raise SpecError("out of reach")
        return {"value": values[asked.targets[0].times], "seconds": 0.0}

    return plan


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({1.5: 0.9, 2.0: 0.8}, [(1.0, 0.95), (1.5, 0.9), (2.0, 0.8)]),  # 3 times cannot be reached
        ({1.5: 0.9, 2.0: 0.3, 3.0: 0.2}, [(1.0, 0.95), (1.5, 0.9), (2.0, 0.3)]),  # too little is left after 2 times
    ],
)
def test_the_curve_ends_where_nothing_is_left_or_no_plan_reaches_it(values, expected):
    asked = goal.Goal((Smaller(2.0), Accuracy(0.1)), 1, ("conv1",))
    assert recommendation._points(asked, 0.95, ACCURACY, propose(values)) == expected


def test_conditions_hold_for_every_point():
    seen = []
    asked = goal.Goal((Smaller(2.0), Accuracy(0.1)), 8, ("conv1",))
    recommendation._points(asked, 0.95, ACCURACY, lambda one: seen.append(one) or {"value": 0.9, "seconds": 0.0})
    assert {(one.targets[1:], one.batch, one.held) for one in seen} == {((Accuracy(0.1),), 8, ("conv1",))}
    assert [one.targets[0].times for one in seen] == recommendation.FACTORS


def test_the_text_says_what_the_next_point_costs():
    times, values = [1.0, 2.0, 4.0], [0.98, 0.97, 0.5]
    said = recommendation.text(times, values, 1, "smaller", ACCURACY)
    assert "**Recommended: 2× smaller.**" in said
    assert "is 97.0%, from 98.0%. At the next point, 4×, it is 50.0%." in said
    assert "No factor beyond it was reached." in recommendation.text(times, values, 2, "smaller", ACCURACY)
    assert "no point stands out" in recommendation.text(times, values, 0, "smaller", ACCURACY)
