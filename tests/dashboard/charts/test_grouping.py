"""Blocks of layers, for networks with many layers."""

from itertools import groupby

from hypothesis import given, settings
from hypothesis import strategies as st

from dashboard.charts.grouping import blocks
from tests.dashboard.charts.examples import DEEP


@settings(deadline=None)
@given(st.lists(st.from_regex(r"[ab]{1,2}(\.[0-3]){0,3}", fullmatch=True), min_size=1, max_size=60, unique=True),
       st.integers(2, 12))
def test_blocks_are_few_and_contiguous(layers, most):
    rows = blocks(sorted(layers), most)
    assert len(rows) == len(layers)
    assert len(set(rows)) <= most
    if len(layers) <= most:
        assert rows == sorted(layers)
    assert len(list(groupby(rows))) == len(set(rows)), "a block is contiguous"


def test_blocks_are_as_fine_as_possible():
    assert set(blocks(list(DEEP))) == {f"features.{stage}" for stage in range(1, 9)}
    assert set(blocks(list(DEEP), 120)) == {f"features.{stage}.{block}" for stage in range(1, 9) for block in range(14)}
    assert blocks(["a", "b", "c", "d", "e"], 2) == ["a … c"] * 3 + ["d … e"] * 2
