"""Which run branched from which."""

from hypothesis import given
from hypothesis import strategies as st

from dashboard.session import lineage

FAMILY = {"e": ("b", 1), "d": ("a", 3), "c": ("b", 2), "b": ("a", 1), "other": None, "a": None}  # newest first


@st.composite
def forests(draw) -> dict:
    """Any forest, newest first: each run is a root or a branch of an older run."""
    names = [f"run{number:02}" for number in range(draw(st.integers(1, 30)))]
    parents = {
        name: draw(st.none() | st.tuples(st.sampled_from(names[:place]), st.integers(0, 4))) if place else None
        for place, name in enumerate(names)
    }
    return dict(reversed(parents.items()))


def test_ancestors_and_family():
    assert lineage.ancestors(FAMILY, "e") == [("a", 1), ("b", 1)]
    assert lineage.ancestors(FAMILY, "a") == []
    assert lineage.family(FAMILY, "c") == ["e", "d", "c", "b", "a"]
    assert lineage.family(FAMILY, "other") == ["other"]


def test_the_tree_of_the_newest_run_comes_first_and_runs_before_their_branches():
    assert lineage.by_tree(FAMILY, FAMILY) == ["a", "b", "d", "c", "e", "other"]
    assert lineage.by_tree(FAMILY, ["other", "c", "b", "a"]) == ["other", "a", "b", "c"]


def test_missing_parents_and_cycles_are_removed():
    assert lineage.forest({"b": ("gone", 1), "a": None}) == {"b": None, "a": None}
    assert lineage.forest({"a": ("a", 1)}) == {"a": None}
    cycle = {"tail": ("c", 0), "c": ("b", 0), "b": ("a", 2), "a": ("c", 1)}
    assert lineage.forest(cycle) == {"tail": ("c", 0), "c": None, "b": ("a", 2), "a": ("c", 1)}


def test_the_newest_runs_are_shown_with_their_ancestors_and_the_selected_run():
    assert lineage.newest(FAMILY, list(FAMILY), 3) == ["e", "b", "a"]
    assert lineage.newest(FAMILY, list(FAMILY), 4) == ["e", "d", "b", "a"]
    assert lineage.newest(FAMILY, list(FAMILY), 3, "other") == ["d", "other", "a"]
    assert lineage.newest(FAMILY, list(FAMILY), 99) == list(FAMILY)


@given(forests(), st.integers(1, 25))
def test_every_forest_is_complete(forest, most):
    shown = lineage.newest(forest, list(forest), most)
    assert len(shown) == min(most, len(forest)) or len(shown) < most
    assert all(forest[run] is None or forest[run][0] in shown for run in shown)
    assert lineage.forest(forest) == forest
