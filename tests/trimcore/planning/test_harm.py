"""The growth of a layer's loss, against the convex envelope by brute force, and the plans that follow from it."""

from itertools import accumulate, pairwise, product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tests.trimcore.nets import Net
from trimcore.graph.costs import cost_of
from trimcore.graph.tracing import trace
from trimcore.planning.harm import SPREAD, at, curve_of, growth
from trimcore.planning.sensitivity import Point, Sensitivity
from trimcore.planning.targets import Smaller, propose
from trimcore.scoring.apoz import profile

points = st.lists(st.tuples(st.integers(1, 5), st.floats(0, 1)), min_size=1, max_size=12)


@given(points)
def test_the_growth_is_that_of_the_convex_envelope(drawn):
    x = [0, *accumulate(step for step, _ in drawn)]
    y = [0.0, *(value for _, value in drawn)]
    slopes = growth(x, y)
    assert all(a <= b + 1e-9 for a, b in pairwise(slopes))
    envelope = [0.0, *accumulate(slope * (b - a) for slope, (a, b) in zip(slopes, pairwise(x), strict=True))]
    for i, height in enumerate(envelope):
        chords = [
            y[a] + (y[b] - y[a]) * (x[i] - x[a]) / (x[b] - x[a]) if b > a else y[i]
            for a in range(i + 1) for b in range(i, len(x))
        ]  # fmt: skip
        assert height == pytest.approx(min(chords), abs=1e-9)


@pytest.mark.parametrize("times", [1.1, 1.4, 2.0, 3.0])
@pytest.mark.parametrize("bends", [(1, 1), (1, 3), (4, 2), (2, 6)])
def test_no_other_plan_that_saves_as_much_loses_less(times, bends):
    """Convex losses, so the envelope is the curve itself. All pairs of widths are tried."""
    torch.manual_seed(0)
    net = Net(lambda m, x: m.a2(m.a1(x[:, :4]).relu()) + m.b2(m.b1(x).relu()), a1=nn.Linear(4, 12), a2=nn.Linear(12, 2),
              b1=nn.Linear(12, 12), b2=nn.Linear(12, 2))  # fmt: skip
    x = torch.randn(20, 12)
    graph = trace(net.eval(), x)
    found = profile(net, [x], graph=graph)
    curves = {
        name: [(kept, 0.5 * (1 - kept / 12) ** bend) for kept in range(12, 0, -1)]
        for name, bend in zip(("a1", "b1"), bends, strict=True)
    }
    seen = Sensitivity(20, 0.9, [Point(n, k / 12, k, 0.9 - loss) for n, curve in curves.items() for k, loss in curve])
    plan = propose(graph, found, Smaller(times), sensitivity=seen, cost_aware=True)

    def loss(kept: dict[str, int]) -> float:
        return sum(at(curve_of(seen, n), k) + SPREAD * (1 - k / 12) ** 2 for n, k in kept.items())

    def parameters(kept: dict[str, int]) -> int:
        return cost_of(graph, {n: range(12 - k) for n, k in kept.items()}).parameters

    kept = {name: 12 - len(plan[name]) for name in curves}
    limit = parameters({"a1": 12, "b1": 12}) / times
    assert parameters(kept) <= limit
    pairs = [dict(zip(curves, pair, strict=True)) for pair in product(range(1, 13), repeat=2)]
    best = min(loss(pair) for pair in pairs if parameters(pair) <= limit)
    step = max(loss(kept) - loss({**kept, name: count + 1}) for name, count in kept.items() if count < 12)
    assert loss(kept) <= best + step + 1e-12  # the last step may save more than was needed
