"""Rounding widths up to a multiple: which neurons are restored and which are not."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trimcore import spec
from trimcore.errors import SpecError
from trimcore.planning.preview import Seen, preview
from trimcore.planning.rounding import rounded_up
from trimcore.training.loop import trim
from trimcore.training.prepare import blank

ALONE = dict(enumerate(range(20)))  # 20 neurons, each in its own group


def test_rounding_by_hand():
    """20 - 7 = 13 stay, so 3 are restored to reach 16: the lowest scores, on a tie the highest index."""
    scores = {0: 0.9, 1: 0.2, 2: 0.8, 3: 0.3, 4: 0.3, 5: 0.7, 6: 0.1}
    assert rounded_up(range(7), ALONE, 8, scores.__getitem__) == [0, 2, 3, 5]


def test_named_neurons_are_not_restored():
    """Three are restored, but not the two with the lowest scores."""
    assert rounded_up(range(7), ALONE, 8, float, named=[0, 1]) == [0, 1, 5, 6]


@settings(deadline=None, max_examples=200)
@given(st.sets(st.integers(0, 49), max_size=49), st.integers(1, 70), st.integers(0, 1000))
def test_any_plan_is_rounded_by_the_lowest_scores(cut, multiple, seed):
    scores = torch.rand(50, generator=torch.Generator().manual_seed(seed)).tolist()
    left = rounded_up(cut, dict(enumerate(range(50))), multiple, scores.__getitem__)
    assert 50 - len(left) == min(50, -(-(50 - len(cut)) // multiple) * multiple)
    assert set(left) <= cut
    assert max((scores[i] for i in cut.difference(left)), default=-1) <= min((scores[i] for i in left), default=2)


def test_groups_are_restored_as_a_whole():
    """Groups of two: 8 - 4 = 4 stay. For 6, one group is restored; for 5, none, since there is no group of one."""
    pairs = {neuron: neuron // 2 for neuron in range(8)}
    assert rounded_up([2, 3, 6, 7], pairs, 3, lambda i: -i) == [2, 3]
    assert rounded_up([2, 3, 6, 7], pairs, 5, lambda i: -i) == [2, 3, 6, 7]


def test_a_run_rounds_widths_and_reports_the_cost(make_spec):
    """conv2 keeps 35 of 50 and fc1 350 of 500. Rounded to 32, that is 50 (64 exceeds the width) and 352."""
    step = {"layers": ["conv2", "fc1"], "rule": "fraction", "value": 0.3, "multiple": 32}
    events = list(trim(make_spec(base={"epochs": 0}, retrain={"epochs": 0}, step=[step])))
    (pruned,) = (event.data for event in events if event.kind == "pruned")
    assert pruned["widths"] == {"conv1": 20, "conv2": 50, "fc1": 352, "fc2": 4}
    small, large = (_parameters(*widths) for widths in ((35, 350), (50, 352)))
    assert pruned["parameters"] == large
    assert pruned["rounding"] == {"multiple": 32, "parameters": large - small}


def _parameters(conv2: int, fc1: int) -> int:
    """The parameters of LeNet-5 for 16-pixel colour images (one position after the second pooling) and 4 classes."""
    return 20 * 76 + conv2 * (20 * 25 + 1) + fc1 * (conv2 + 1) + 4 * (fc1 + 1)


@pytest.mark.parametrize("rule", ["maxout", "sparsity"])
def test_rules_without_widths_cannot_round(rule):
    with pytest.raises(SpecError, match=f"multiple = 8: rule '{rule}' has no widths to round"):
        spec.parse({"step": [{"layers": ["fc1"], "rule": rule, "value": 0.5 if rule == "sparsity" else 1,
                              "multiple": 8}]})  # fmt: skip


def test_the_preview_rounds_the_same_way():
    """As in the run above, 35 becomes 50 and 350 becomes 352. The second time, 352 - 105 = 247 becomes 256."""
    graph = blank("lenet5", num_classes=10, channels=1, image_size=28)
    seen = {name: Seen(torch.rand(width).tolist(), range(width)) for name, width in (("conv2", 50), ("fc1", 500))}
    step = {"layers": ["conv2", "fc1"], "rule": "fraction", "value": 0.3, "multiple": 32, "iterations": 2}
    _, first, second = preview(graph, seen, spec.parse({"step": [step]}).step)
    assert (first.cost.widths["conv2"], first.cost.widths["fc1"]) == (50, 352)
    assert (second.cost.widths["conv2"], second.cost.widths["fc1"]) == (50, 256)
