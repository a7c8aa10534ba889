"""Preset orders of the layers."""

import pytest

from dashboard.plan import steps


@pytest.mark.parametrize(("count", "sizes"), [(24, [1] * 24), (25, [3] * 8 + [1]), (138, [12] * 11 + [6])])
def test_an_order_of_many_layers_is_merged_into_few_steps(count, sizes):
    order = [[str(k)] for k in range(count)]
    found = steps.merged_steps(order)
    assert [len(step) for step in found] == sizes
    assert [name for step in found for name in step] == [name for step in order for name in step]
