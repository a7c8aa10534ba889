"""The display names of the criteria."""

from typing import get_args

from dashboard.widgets.criteria import LABELS, NAMES, criteria_for
from trimcore.scoring.criteria import CRITERIA
from trimcore.spec import IN_UNITS, CriterionName


def test_every_criterion_has_display_names():
    assert list(NAMES) == list(LABELS)
    assert set(NAMES) == set(get_args(CriterionName))
    assert criteria_for("fraction") == list(CRITERIA)
    assert (criteria_for("maxout"), criteria_for("quality")) == (list(IN_UNITS), ["magnitude"])
