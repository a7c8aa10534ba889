"""Ready-made orders in which to trim the layers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimcore.planning.orders import ORDERS, by_apoz, by_saving, output_to_input, paper

LAYERS = ["a", "b", "c", "d", "e"]
APOZ = {"a": 0.1, "b": 0.5, "c": 0.2, "d": 0.9, "e": 0.3}
SAVED = {"a": 5, "b": 1, "c": 4, "d": 2, "e": 3}


def test_the_papers_order_starts_with_the_two_highest_then_takes_neighbours():
    assert paper(LAYERS, APOZ, SAVED) == [["b", "d"], ["a", "c", "e"]]
    assert paper(LAYERS, {**APOZ, "e": 0.8}, SAVED) == [["d", "e"], ["c"], ["b"], ["a"]]


def test_orders_with_one_layer_per_step():
    assert by_apoz(LAYERS, APOZ, SAVED) == [["d"], ["b"], ["e"], ["c"], ["a"]]
    assert by_saving(LAYERS, APOZ, SAVED) == [["a"], ["c"], ["e"], ["d"], ["b"]]
    assert output_to_input(LAYERS, APOZ, SAVED) == [["e"], ["d"], ["c"], ["b"], ["a"]]


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
@given(apoz=st.lists(st.sampled_from([0.1, 0.5, 0.9]), min_size=1, max_size=16))
def test_every_order_contains_each_layer_once(order, apoz):
    layers = [f"layer{i}" for i in range(len(apoz))]
    means = dict(zip(layers, apoz, strict=True))
    steps = order(layers, means, {name: len(name) for name in layers})
    assert sorted(name for step in steps for name in step) == sorted(layers)
    assert all(steps)
