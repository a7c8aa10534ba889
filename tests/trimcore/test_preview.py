"""The preview against the real thing: the same cuts, made on a real network."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trimcore import models
from trimcore.costs import cost
from trimcore.errors import SpecError
from trimcore.planning import choose, make_rule
from trimcore.preview import Seen, beyond, blank, preview
from trimcore.spec import parse
from trimcore.surgery import prune

EXAMPLE = torch.zeros(1, 1, 28, 28)
WIDTHS = {"conv1": 20, "conv2": 50, "fc1": 500}


def seen_of(seed: int) -> dict[str, Seen]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: Seen(torch.rand(width, generator=generator, dtype=torch.float64).tolist(), range(width))
        for name, width in WIDTHS.items()
    }


def steps(*tables: dict):
    return parse({"step": list(tables)}).step


def really(seen: dict[str, Seen], wanted) -> list:
    """Cut a real LeNet-5 step by step, every time by the scores of the neurons that are left."""
    network = models.build("lenet5")
    left = {name: list(range(width)) for name, width in WIDTHS.items()}
    costs = [cost(network, EXAMPLE)]
    for step in wanted:
        names = list(WIDTHS) if step.layers == ["all"] else step.layers
        for _ in range(step.iterations):
            cut = {}
            for name in names:
                scores = torch.tensor([seen[name].apoz[i] for i in left[name]], dtype=torch.float64)
                cut[name], _ = choose(scores, make_rule(step.rule, step.value))
            if not any(cut.values()):
                break
            network = prune(network, cut, EXAMPLE)
            left = {n: [x for k, x in enumerate(kept) if k not in set(cut.get(n, ()))] for n, kept in left.items()}
            costs.append(cost(network, EXAMPLE))
    return costs


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 1000),
    tables=st.lists(
        st.builds(
            lambda layers, rule, iterations: {
                "layers": layers, "rule": rule[0], "value": rule[1], "iterations": iterations},
            st.sampled_from([["all"], ["conv2", "fc1"], ["conv1"], ["fc1"]]),
            st.sampled_from([("mean+std", 1.0), ("absolute", 0.8), ("fraction", 0.3), ("count", 7), ("keep", 15)]),
            st.integers(1, 3),
        ), min_size=1, max_size=3,
    ),
)  # fmt: skip
def test_preview_is_what_surgery_leaves(seed, tables):
    seen, wanted = seen_of(seed), steps(*tables)
    shown = preview(blank("lenet5", 10, 1, 28), seen, wanted)
    assert [stage.cost for stage in shown] == really(seen, wanted)


def test_a_network_that_was_cut_before_is_the_beginning():
    seen = {**seen_of(0), "conv2": Seen([0.5, 0.9, 0.1], [4, 7, 30])}  # 47 of its neurons are gone already
    begin, after = preview(
        blank("lenet5", 10, 1, 28), seen, steps({"layers": ["conv2"], "rule": "count", "value": 1.0})
    )  # fmt: skip
    assert (begin.cost.widths["conv2"], after.cost.widths["conv2"]) == (3, 2)
    network = prune(models.build("lenet5"), {"conv2": [i for i in range(50) if i not in (4, 7, 30)]}, EXAMPLE)
    assert begin.cost == cost(network, EXAMPLE)


def test_manual_choices_are_by_number_in_the_base():
    wanted = steps({"layers": ["conv2"], "rule": "count", "value": 1.0, "also_cut": {"conv2": [30]},
                    "never_cut": {"conv2": [7]}})  # fmt: skip
    seen = {**seen_of(0), "conv2": Seen([0.5, 0.9, 0.1], [4, 7, 30])}  # the rule would take 7
    assert preview(blank("lenet5", 10, 1, 28), seen, wanted)[1].cut == {"conv2": 1}


def test_a_step_ends_when_there_is_nothing_more_to_remove():
    wanted = steps({"layers": ["conv1"], "rule": "keep", "value": 5.0, "iterations": 4})
    stages = preview(blank("lenet5", 10, 1, 28), seen_of(1), wanted)
    assert [stage.cut for stage in stages] == [{}, {"conv1": 15}]


def test_an_unknown_layer_is_refused_by_name():
    with pytest.raises(SpecError, match="nowhere"):
        preview(blank("lenet5", 10, 1, 28), seen_of(0), steps({"layers": ["nowhere"]}))


def test_beyond_gives_neurons_and_threshold():
    assert beyond([0.1, 0.95, 0.5], "absolute", 0.9) == ([1], 0.9)
    assert beyond([0.1, 0.95, 0.5], "count", 2) == ([1, 2], None)
