"""The preview, compared with the same cuts on a real network."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from trimcore import models
from trimcore.errors import SpecError
from trimcore.graph.costs import cost, cost_of
from trimcore.graph.tracing import trace
from trimcore.planning.choice import choose
from trimcore.planning.preview import Seen, beyond, preview
from trimcore.spec import Convert, Step, parse
from trimcore.spec.rules import make_rule
from trimcore.surgery.cut import cut, prune
from trimcore.training.prepare import blank

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
    """Cut a real LeNet-5 step by step, each time by the scores of the remaining neurons."""
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
def test_the_preview_matches_surgery(seed, tables):
    seen, wanted = seen_of(seed), steps(*tables)
    shown = preview(blank("lenet5", 10, 1, 28), seen, wanted)
    assert [stage.cost for stage in shown] == really(seen, wanted)


def test_a_preview_can_start_from_a_network_that_was_already_cut():
    seen = {**seen_of(0), "conv2": Seen([0.5, 0.9, 0.1], [4, 7, 30])}  # 47 of its neurons are already removed
    begin, after = preview(
        blank("lenet5", 10, 1, 28), seen, steps({"layers": ["conv2"], "rule": "count", "value": 1.0})
    )  # fmt: skip
    assert (begin.cost.widths["conv2"], after.cost.widths["conv2"]) == (3, 2)
    network = prune(models.build("lenet5"), {"conv2": [i for i in range(50) if i not in (4, 7, 30)]}, EXAMPLE)
    assert begin.cost == cost(network, EXAMPLE)


def test_manual_choices_are_by_index_in_the_base():
    wanted = steps({"layers": ["conv2"], "rule": "count", "value": 1.0, "also_cut": {"conv2": [30]},
                    "never_cut": {"conv2": [7]}})  # fmt: skip
    seen = {**seen_of(0), "conv2": Seen([0.5, 0.9, 0.1], [4, 7, 30])}  # the rule would remove 7
    assert preview(blank("lenet5", 10, 1, 28), seen, wanted)[1].cut == {"conv2": 1}


def test_a_step_ends_once_there_is_nothing_left_to_remove():
    wanted = steps({"layers": ["conv1"], "rule": "keep", "value": 5.0, "iterations": 4})
    stages = preview(blank("lenet5", 10, 1, 28), seen_of(1), wanted)
    assert [stage.cut for stage in stages] == [{}, {"conv1": 15}]


def test_an_unknown_layer_is_refused_by_name():
    with pytest.raises(SpecError, match="nowhere"):
        preview(blank("lenet5", 10, 1, 28), seen_of(0), steps({"layers": ["nowhere"]}))


def test_beyond_returns_neurons_and_threshold():
    assert beyond([0.1, 0.95, 0.5], "absolute", 0.9) == ([1], 0.9)
    assert beyond([0.1, 0.95, 0.5], "count", 2) == ([1, 2], None)


# --- maxout units and weights ---

MAXOUT = {"k": 4, "width": 40}


def units_pruned(network, sizes: list[int]):
    """Reduce the maxout units of a network to each size in turn. Returns the final graph and all costs on the way."""
    graph = trace(network, EXAMPLE)
    costs = [cost_of(graph)]
    for k in sizes:
        now = graph.units["fc1"].k
        going = [u * now + i for u in range(10) for i in range(now - k)]
        graph = cut(graph, {"fc1": going}, ["fc1"])
        costs.append(cost_of(graph))
    return graph, costs


def test_units_are_pruned_as_in_a_real_network():
    seen = {name: Seen([0.5] * width, range(width)) for name, width in (("conv1", 20), ("conv2", 50), ("fc1", 40))}
    plan = steps(
        {"layers": ["fc1"], "rule": "maxout", "iterations": 5}, {"layers": ["fc1"], "rule": "count", "value": 3}
    )
    stages = preview(blank("lenet5-maxout", 10, 1, 28, **MAXOUT), seen, plan)
    graph, costs = units_pruned(models.build("lenet5-maxout", **MAXOUT), [3, 2, 1])
    costs.append(cost_of(cut(graph, {"fc1": [0, 1, 2]})))
    assert [stage.cost for stage in stages] == costs
    assert [stage.k for stage in stages] == [{"fc1": k} for k in (4, 3, 2, 1, 1)]
    assert [stage.cut.get("fc1", 0) for stage in stages] == [0, 10, 10, 10, 3]


def test_a_plan_can_start_from_pruned_units():
    left = [u * 4 + i for u in range(1, 10) for i in (0, 2)]  # two neurons of each of nine units
    seen = {"conv2": Seen([0.5] * 50, range(50)), "fc1": Seen([0.5] * 18, left)}
    stages = preview(blank("lenet5-maxout", 10, 1, 28, **MAXOUT), seen, steps({"layers": ["fc1"], "rule": "maxout"}))
    assert [stage.k["fc1"] for stage in stages] == [2, 1]
    assert [stage.cost.layers["fc1"].width for stage in stages] == [18, 9]
    assert [stage.cost.layers["fc2"].parameters for stage in stages] == [9 * 10 + 10] * 2


def test_whole_units_and_single_neurons_can_be_removed_in_one_step():
    graph = blank("vgg16-small-maxout", 10, 1, 28, k=2, width=8)
    apoz = [0.9, 0.9, 0.1, 0.1, 0.2, 0.2, 0.3, 0.3]
    seen = {"classifier.fc6": Seen(apoz, range(8)), "classifier.fc7": Seen([0.5] * 8, range(8))}
    plan = steps({"layers": list(seen), "rule": "count", "value": 2, "layer": {"classifier.fc7": {"rule": "maxout"}}})
    after = preview(graph, seen, plan)[1]
    assert {name: after.cost.layers[name].width for name in seen} == {"classifier.fc6": 6, "classifier.fc7": 4}
    assert after.cost.layers["classifier.fc7"].parameters == 4 * 3 + 4
    assert after.cost.layers["classifier.fc8"].parameters == 4 * 10 + 10
    assert after.k == {"classifier.fc6": 2, "classifier.fc7": 1}


@pytest.mark.parametrize(("rule", "expected"), [("sparsity", [0, 26_250, 30_000, 30_000]),
                                                ("sparsity-overall", [0, 26_250, 30_000, 30_000])])  # fmt: skip
def test_weights_held_at_zero_are_counted(rule, expected):
    """fc1 has 40 * 800 = 32,000 weights. Two rounds prune 0.9375 of them, and a later step does not restore any."""
    step = {"layers": ["fc1"], "rule": rule}
    plan = steps({**step, "value": 0.9375, "iterations": 2}, {**step, "value": 0.5})
    seen = {"fc1": Seen([0.5] * 40, range(40))}
    stages = preview(blank("lenet5-maxout", 10, 1, 28, **MAXOUT), seen, plan)
    assert [stage.zeros for stage in stages] == expected
    assert {stage.cost.parameters for stage in stages} == {stages[0].cost.parameters}


def test_zeros_that_depend_on_the_weights_are_unknown():
    plan = steps({"layers": ["all"], "rule": "quality", "value": 1.0})
    assert [s.zeros for s in preview(blank("lenet5", 10, 1, 28), seen_of(0), plan)] == [0, None]


def test_a_network_that_will_be_grouped_is_previewed_as_a_maxout_network():
    convert = Convert(to="maxout", k=5)
    graph = blank("lenet5", 10, 1, 28, convert)
    assert graph.units["fc1"].k == 5
    stages = preview(graph, seen_of(0), steps({"layers": ["fc1"], "rule": "maxout", "iterations": 4}))
    assert [stage.cost.layers["fc1"].width for stage in stages] == [500, 400, 300, 200, 100]
    assert {stage.cost.layers["fc2"].parameters for stage in stages} == {100 * 10 + 10}
    assert not blank("lenet5", 10, 1, 28, Convert(to="maxout", epochs=0)).units


def test_a_preview_counts_the_heads_that_go():
    """Three heads of twelve neurons each: a third of the neurons is one head, and then half of the rest is one more."""

    class Attending(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv, self.proj = nn.Linear(5, 36), nn.Linear(12, 2)

        def forward(self, x):
            q, k, v = self.qkv(x).unflatten(-1, (3, 3, 4)).permute(2, 0, 3, 1, 4).unbind(0)
            return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

    graph = trace(Attending(), torch.zeros(2, 6, 5), whole_heads=True)
    scores = [0.9 if head == 1 else 0.5 if head == 0 else 0.1 for head in graph.heads["qkv"]]
    steps = [Step(layers=["qkv"], rule="fraction", value=0.34), Step(layers=["qkv"], rule="fraction", value=0.5)]
    _, first, second = preview(graph, {"qkv": Seen(scores, range(36))}, steps)
    assert (first.cut, first.heads, second.heads) == ({"qkv": 12}, {"qkv": 1}, {"qkv": 1})
    assert second.cost.layers["qkv"].width == 12
