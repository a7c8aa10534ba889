"""Statistics over runs that differ only in the seed."""

import statistics

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dashboard.compare import seeds
from tests.dashboard.drafts import FC1_STEPS
from tests.dashboard.fakes import FC1_CUT, fake_run
from tests.dashboard.pages import page, texts
from trimcore import spec


def asked(seed: int = 0, parent: tuple[str, int] | None = None, **values) -> spec.Spec:
    branch = {"parent": {"run": parent[0], "iteration": parent[1]}} if parent else {}
    return spec.parse({"seed": seed, "step": FC1_STEPS, **branch, **values})


def test_groups_differ_only_in_seed_and_name():
    specs = {"d": asked(0, name="again"), "c": asked(2, name="c"), "b": asked(1, device="cpu"), "a": asked()}
    assert seeds.differ_only_in_seed(specs) == [["d", "c"]], "one run per seed: the newest"
    assert seeds.differ_only_in_seed({"a": asked()}) == []
    assert seeds.differ_only_in_seed({}) == []


def test_branches_are_grouped_if_their_parents_are():
    specs = {
        "b1": asked(1, ("a1", 2)), "b0": asked(0, ("a0", 2)), "late": asked(3, ("a0", 1)), "a1": asked(1),
        "a0": asked(), "x": asked(4, ("gone", 2)), "ring1": asked(7, ("ring2", 0)), "ring2": asked(8, ("ring1", 0)),
    }  # fmt: skip
    assert seeds.differ_only_in_seed(specs)[:2] == [["b1", "b0"], ["a1", "a0"]]
    assert not any({"late", "x"} & set(group) for group in seeds.differ_only_in_seed(specs))


def test_the_spread_of_a_small_example():
    results = pd.DataFrame({
        "accuracy": [0.97, 0.98, 0.99], "compression": [2.0, 3.0, None], "verification": [None, None, 0.8],
        "nothing": [None] * 3,
    })  # fmt: skip
    table = seeds.spread(results, list(results)).set_index("measure")
    assert table.loc["accuracy"].tolist() == pytest.approx([3, 0.98, 0.01, 0.97, 0.99])
    assert table.loc["compression"].tolist() == pytest.approx([2, 2.5, 0.5**0.5, 2.0, 3.0])
    assert table.loc["verification"].tolist()[:2] == [1, 0.8]
    assert np.isnan(table.loc["verification", "std"])
    assert "nothing" not in table.index


@settings(max_examples=40)
@given(st.lists(st.lists(st.tuples(st.floats(1, 9), st.floats(0, 1)), min_size=1, max_size=4), min_size=2, max_size=5))
def test_means_over_seeds_use_the_runs_that_reached_the_iteration(lines):
    points = pd.DataFrame(
        [(f"r{k}", i, c, a / 2, a) for k, line in enumerate(lines) for i, (c, a) in enumerate(line)],
        columns=["run", "iteration", "compression", "metric_initial", "metric_final"],
    )
    means = seeds.mean_over_seeds(points, {f"r{k}": "all" for k in range(len(lines))})
    for row in means.itertuples():
        own = [line[row.iteration] for line in lines if len(line) > row.iteration]
        assert (row.run, row.seeds) == ("all", len(own))
        assert row.compression == pytest.approx(statistics.mean(c for c, _ in own))
        assert row.metric_final == pytest.approx(statistics.mean(a for _, a in own))
        if len(own) > 1:
            assert row.metric_std == pytest.approx(statistics.stdev([a for _, a in own]), abs=1e-9)
    assert set(means.iteration) == set(range(max(map(len, lines))))


def test_the_page_shows_statistics_over_seeds(runs_folder):
    for seed, accuracy in enumerate([0.97, 0.98, 0.99]):
        fake_run(runs_folder, {"step": FC1_STEPS, "seed": seed, "name": "same"}, FC1_CUT[:2], [0.995, accuracy])
    app = page("compare")
    table = next(table.value for table in app.dataframe if "measure" in table.value).set_index("measure")
    assert table.loc["test accuracy"].tolist() == [3, "98.00%", "1.00%", "97.00%", "99.00%"]
    assert table.loc["compression", "mean"] == "1.25×"
    assert "seeds 0, 1, 2" in texts(app)
    app.toggle(key="sum_up_seeds").set_value(True).run()
    assert not app.exception


def test_branches_of_base_networks_that_differ_only_in_the_seed_belong_together():
    """As in a sweep over seeds, whose base networks are not among the compared runs."""
    bases = {f"base{seed}": spec.parse({"seed": seed, "name": f"base {seed}"}) for seed in (0, 1)}
    branches = {f"run{seed}": spec.parse({"seed": seed, "parent": {"run": f"base{seed}"}}) for seed in (0, 1)}
    assert seeds.differ_only_in_seed(branches) == []
    assert seeds.differ_only_in_seed(branches, bases) == [["run0", "run1"]]
    assert seeds.differ_only_in_seed(branches, {**bases, "base1": spec.parse({"seed": 1, "base": {"epochs": 3}})}) == []
