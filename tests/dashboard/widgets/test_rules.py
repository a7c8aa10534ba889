"""Rules for neurons that can only be removed together."""

import pytest

from dashboard.widgets import rules


def test_a_rule_removes_whole_groups():
    groups = [5, 5, 7, 7, 9, 9]
    assert rules.removed_by([0.9, 0.1, 0.8, 0.8, 0.1, 0.1], "count", 3, groups) == ([2, 3], None)
    assert rules.removed_by([0.9, 0.1, 0.8, 0.8, 0.1, 0.1], "count", 3) == ([0, 2, 3], None)


@pytest.mark.parametrize(
    ("groups", "text"),
    [
        (range(8), ""), ([0] * 8 + [1] * 8, "2 groups of 8"), ([3, 3, 3], "1 group of 3"),
        ([4, 4, 5, 9, 9, 9], "3 groups of 1 to 3"), ([], ""),
    ],
)  # fmt: skip
def test_group_sizes_text(groups, text):
    assert rules.group_sizes_text(groups) == text
