"""Which run came from which: the forest, the rows of the chart, the section on Compare; and seeds, summed up."""

import shutil
import statistics

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dashboard import charts, lineage, rivals
from tests.dashboard.fakes import fake_run
from tests.dashboard.serving import ROOT, serving
from tests.dashboard.test_pages import page, texts
from trimcore import runs, spec

STEPS = [{"layers": ["fc1"], "rule": "fraction", "value": 0.2, "iterations": 2}]
SMALLER = [{"conv1": 20, "conv2": 50, "fc1": width} for width in (500, 386, 215)]  # 1, 1.25 and 2 times
FAMILY = {"e": ("b", 1), "d": ("a", 3), "c": ("b", 2), "b": ("a", 1), "other": None, "a": None}  # newest first


@st.composite
def forests(draw) -> dict:
    """Any forest, newest first: each run anew, or from an iteration of an older one."""
    names = [f"run{number:02}" for number in range(draw(st.integers(1, 30)))]
    begun = {
        name: draw(st.none() | st.tuples(st.sampled_from(names[:place]), st.integers(0, 4))) if place else None
        for place, name in enumerate(names)
    }
    return dict(reversed(begun.items()))


# --- the forest ---


def test_what_a_run_came_from_and_its_family():
    assert lineage.ancestors(FAMILY, "e") == [("a", 1), ("b", 1)]
    assert lineage.ancestors(FAMILY, "a") == []
    assert lineage.family(FAMILY, "c") == ["e", "d", "c", "b", "a"]
    assert lineage.family(FAMILY, "other") == ["other"]
    assert lineage.depth(FAMILY, "e") == 2
    assert lineage.depth(FAMILY, "d") == 3


def test_rows_put_branches_beneath_their_parent_the_later_ones_first():
    assert list(lineage.rows(FAMILY, list(FAMILY))) == ["a", "d", "b", "c", "e", "other"]


def test_parents_that_are_gone_or_lead_in_a_ring_are_none():
    assert lineage.forest({"b": ("gone", 1), "a": None}) == {"b": None, "a": None}
    assert lineage.forest({"a": ("a", 1)}) == {"a": None}
    ring = {"tail": ("c", 0), "c": ("b", 0), "b": ("a", 2), "a": ("c", 1)}
    assert lineage.forest(ring) == {"tail": ("c", 0), "c": None, "b": ("a", 2), "a": ("c", 1)}


def test_the_newest_are_shown_with_what_they_came_from_and_the_selected_run_always():
    assert lineage.newest(FAMILY, list(FAMILY), 3) == ["e", "b", "a"]
    assert lineage.newest(FAMILY, list(FAMILY), 4) == ["e", "d", "b", "a"]
    assert lineage.newest(FAMILY, list(FAMILY), 3, "other") == ["d", "other", "a"]
    assert lineage.newest(FAMILY, list(FAMILY), 99) == list(FAMILY)


@given(forests(), st.integers(1, 25))
def test_every_forest_is_drawn_whole_and_without_crossings(forest, most):
    shown = lineage.newest(forest, list(forest), most)
    assert len(shown) == min(most, len(forest)) or len(shown) < most
    row = lineage.rows(forest, shown)
    assert sorted(row.values()) == list(range(len(shown)))
    bows = [(lineage.depth(forest, run), row[forest[run][0]], row[run]) for run in shown if forest[run]]
    assert all(parent < own for _, parent, own in bows)
    for depth, top, end in bows:  # a bow goes down left of its column: no row between may begin left of it
        assert all(lineage.depth(forest, run) >= depth for run in shown if top < row[run] < end)
    assert lineage.forest(forest) == forest


# --- the chart ---


def nodes(count: int, iterations: int = 4, configuration: str = "conv1 20", label: str = "run") -> pd.DataFrame:
    """`count` runs in a chain: each begins at iteration 1 of the one before."""
    return pd.DataFrame([
        {
            "run": f"id{row}", "label": f"{label} {row}", "row": row, "depth": row + iteration, "iteration": iteration,
            "state": "finished", "compression": 1.5 ** (row + iteration), "accuracy": 0.98 - 0.01 * iteration,
            "configuration": configuration, "cut": "conv2 −9", "result": iteration == iterations - 1,
            "parent_row": row - 1 if row else None,
        }
        for row in range(count) for iteration in range(iterations)
    ])


def trace(figure, name: str):
    return next(trace for trace in figure.data if trace.name == name)


@pytest.mark.parametrize("count", [1, 3, 25])
def test_every_node_is_drawn_where_it_belongs(count):
    table = nodes(count)
    figure = charts.run_tree(table, "id0", ("id0", 2))
    both = [trace(figure, name) for name in ("iteration", "result of its run")]
    drawn = {(*place, x, y) for own in both for place, x, y in zip(own.customdata, own.x, own.y, strict=True)}
    assert drawn == set(table[["run", "iteration", "depth", "row"]].itertuples(index=False, name=None))
    assert len(trace(figure, "result of its run").x) == count
    ring = trace(figure, "chosen")
    assert (ring.x, ring.y) == ((2,), (0,))
    assert f"{count} run" in figure.layout.meta["alt"]
    assert figure.layout.yaxis.ticktext[0] == "<b>run 0</b>"
    assert figure.layout.height <= 128 + 44 * 25


def test_a_node_shrinks_with_what_is_left_of_the_parameters():
    table = nodes(1)
    table["compression"] = [1, 2, 4, 8]
    sizes = np.concatenate([trace(charts.run_tree(table), n).marker.size for n in ("iteration", "result of its run")])
    areas = sizes**2 - 64  # beyond the smallest
    assert areas == pytest.approx(areas[0] / np.array([1, 2, 4, 8]), rel=0.06)


def test_bows_lead_from_the_parents_iteration_to_the_branch():
    bow = next(t for t in charts.run_tree(nodes(3)).data if t.name == "branch")
    first = list(zip(bow.x, bow.y, strict=True))[:13]
    assert first[0] == (1, 0)
    assert first[-1] == pytest.approx((1, 1))
    assert all(0.5 < x <= 1 for x, _ in first)
    assert bow.x.count(None) == 2


def test_few_columns_have_all_accuracies_many_only_the_results():
    told = list(trace(charts.run_tree(nodes(2)), "iteration").text)
    assert told == ["98.0", "97.0", "96.0", "", "97.0", "96.0"], "a branch does not repeat what it began with"
    many = charts.run_tree(nodes(1, 30))
    assert trace(many, "iteration").text is None
    assert list(trace(many, "result of its run").text) == ["<b>69.0</b>"]


def test_runs_that_go_on_failed_or_have_nothing_yet_are_told():
    table = pd.concat([nodes(1).assign(state="running"), pd.DataFrame([{
        "run": "new", "label": "new", "row": 1, "depth": 0, "state": "failed", "configuration": "", "cut": "",
        "result": False,
    }])])  # fmt: skip
    told = [trace for trace in charts.run_tree(table).data if trace.mode == "text"]
    assert [text.strip("\u00a0") for text in told[0].text] == ["running", "failed"]
    assert list(told[0].x) == [3, 0]
    only = charts.run_tree(table[table.run == "new"].assign(row=0))
    assert not any(len(t.x) for t in only.data if t.name in ("iteration", "result of its run"))


def test_names_are_no_markup():
    evil = "<a href='http://example.org'>x</a><script>"
    figure = charts.run_tree(nodes(1, label=evil, configuration="<b>bold</b>"))
    shown = [*figure.layout.yaxis.ticktext, *trace(figure, "iteration").hovertext]
    assert not [text for text in shown if "<a" in text or "<script" in text or "<b>bold" in text]
    assert "&lt;b&gt;bold&lt;/b&gt;" in trace(figure, "iteration").hovertext[0]


def test_the_largest_tree_is_not_heavy():
    table = nodes(25, 60, " · ".join(f"features.{k} {k}" for k in range(90)), "a long name of a run " * 3)
    assert len(charts.run_tree(table).to_json()) < 500_000


# --- on Compare ---


def family(folder, extra: int = 0) -> list[str]:
    """A run, a branch, a branch of the branch, and another network."""
    root = fake_run(folder, {"step": STEPS, "name": "root"}, SMALLER, [0.99, 0.98, 0.97])
    child = fake_run(folder, {"step": STEPS, "name": "child"}, SMALLER[1:], [0.98, 0.96])
    grandchild = fake_run(folder, {"step": STEPS, "name": "grandchild"}, SMALLER[2:], [0.96])
    for run, parent, iteration in ((child, root, 1), (grandchild, child, 1)):
        asked = spec.load(folder / run / "spec.toml").model_copy(
            update={"parent": spec.Parent(run=parent, iteration=iteration)}
        )
        (folder / run / "spec.toml").write_text(spec.dumps(asked), "utf-8")
    other = fake_run(folder, {"step": STEPS, "name": "other"}, SMALLER, [0.9, 0.8, 0.7])
    return [root, child, grandchild, other]


def listed(app) -> pd.DataFrame:
    """The tree as a table."""
    return next(table.value for table in app.dataframe if "began at" in table.value)


def test_compare_shows_the_family_of_the_selected_run_or_all(runs_folder):
    root, child, grandchild, other = family(runs_folder)
    app = page("compare", run=child)
    table = listed(app)
    assert list(dict.fromkeys(table.run)) == ["root", "child", "grandchild"]
    assert list(dict.fromkeys(table["began at"])) == ["", "root, iteration 1", "child, iteration 1"]
    assert list(table["test accuracy"]) == [0.99, 0.98, 0.97, 0.98, 0.96, 0.96]
    app.toggle(key="tree_all").set_value(True).run()
    assert set(listed(app).run) == {"root", "child", "grandchild", "other"}
    assert set(listed(page("compare")).run) == {"root", "child", "grandchild", "other"}


def test_at_most_25_runs_are_drawn_and_the_others_counted(runs_folder):
    for number in range(27):
        fake_run(runs_folder, {"name": f"n{number}"}, SMALLER[:1], [0.9])
    app = page("compare", run=runs.list_runs(runs_folder)[-1])
    app.toggle(key="tree_all").set_value(True).run()
    assert listed(app).run.nunique() == 25
    assert "2 oldest runs of 27 are left out" in texts(app)


def begin_from(app):
    return next(box for box in app.selectbox if box.label == "Begin from")


def test_plan_from_here_begins_at_the_iteration_and_can_be_changed(runs_folder, launched):
    root, child, _, _ = family(runs_folder)
    app = page("compare", run=root)
    app.selectbox(key="tree_node").set_value((child, 1)).run()
    app.button(key="plan_from_here").click().run()
    assert not app.exception
    assert app.title[0].value == "Plan"
    assert begin_from(app).value == (child, 1)
    assert app.session_state.run == child
    app.switch_page("views/plan.py").run()  # the test's own idea of the page does not follow a switch by the app
    assert begin_from(app).value == (child, 1)
    begin_from(app).set_value((child, 0)).run()
    assert begin_from(app).value == (child, 0)
    app.button(key="launch").click().run()
    assert launched[0].parent == spec.Parent(run=child, iteration=0)


def test_the_result_of_the_selected_run_is_chosen_first_and_the_run_can_be_shown(runs_folder):
    root, child, *_ = family(runs_folder)
    app = page("compare", run=root)
    assert app.selectbox(key="tree_node").value == (root, 2)
    app.selectbox(key="tree_node").set_value((child, 0)).run()
    app.button(key="show_run").click().run()
    assert not app.exception
    assert (app.title[0].value, app.session_state.run) == ("Run", child)


def test_a_vanished_parent_and_a_run_without_iterations_do_no_harm(runs_folder):
    root, child, grandchild, other = family(runs_folder)
    shutil.rmtree(runs_folder / root)
    (runs_folder / other / "events.jsonl").write_text("")
    app = page("compare", run=other)
    app.toggle(key="tree_all").set_value(True).run()
    assert not app.exception
    table = listed(app)
    assert set(table.run) == {"child", "grandchild", "other"}
    assert not table[table.run == "child"]["began at"].any()
    assert table[table.run == "other"].iteration.isna().all()
    assert runs.parents(runs_folder)[child] == (root, 1)


@pytest.mark.browser
def test_a_click_on_a_node_chooses_it_and_plan_begins_there(runs_folder, tmp_path, chromium):
    root, child, *_ = family(runs_folder)
    with serving("dashboard/app.py", ROOT, TRIMCORE_RUNS=str(runs_folder), log=str(tmp_path / "log")) as (url, _):
        context = chromium.new_context(viewport={"width": 1280, "height": 1400})
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.goto(f"{url}/compare?run={root}")
        nodes = page.locator(".st-key-tree .scatterlayer .trace")
        nodes.nth(2).locator(".point").nth(2).wait_for()
        nodes.nth(2).locator(".point").nth(2).click(force=True)  # of the iterations that are no results: child's first
        choice = page.get_by_role("combobox", name="An iteration to go on from")
        choice.and_(page.locator("[value^='child']")).wait_for()
        page.get_by_role("button", name="Plan from here").click()
        page.get_by_role("heading", name="Plan", exact=True).wait_for()
        page.get_by_role("combobox", name="Begin from").and_(page.locator("[value*='iteration 0 of child']")).wait_for()
        assert page.url.endswith(f"?run={child}")
        context.close()


# --- seeds ---


def asked(seed: int = 0, parent: tuple[str, int] | None = None, **values) -> spec.Spec:
    begun = {"parent": {"run": parent[0], "iteration": parent[1]}} if parent else {}
    return spec.parse({"seed": seed, "step": STEPS, **begun, **values})


def test_groups_differ_in_nothing_but_seed_and_name():
    specs = {"d": asked(0, name="again"), "c": asked(2, name="c"), "b": asked(1, device="cpu"), "a": asked()}
    assert rivals.differ_only_in_seed(specs) == [["d", "c"]], "one run a seed: the newest"
    assert rivals.differ_only_in_seed({"a": asked()}) == []
    assert rivals.differ_only_in_seed({}) == []


def test_branches_belong_together_when_their_parents_do():
    specs = {
        "b1": asked(1, ("a1", 2)), "b0": asked(0, ("a0", 2)), "late": asked(3, ("a0", 1)), "a1": asked(1),
        "a0": asked(), "x": asked(4, ("gone", 2)), "ring1": asked(7, ("ring2", 0)), "ring2": asked(8, ("ring1", 0)),
    }  # fmt: skip
    assert rivals.differ_only_in_seed(specs)[:2] == [["b1", "b0"], ["a1", "a0"]]
    assert not any({"late", "x"} & set(group) for group in rivals.differ_only_in_seed(specs))


def test_the_spread_by_hand():
    results = pd.DataFrame({
        "accuracy": [0.97, 0.98, 0.99], "compression": [2.0, 3.0, None], "verification": [None, None, 0.8],
        "nothing": [None] * 3,
    })  # fmt: skip
    table = rivals.spread(results, list(results)).set_index("measure")
    assert table.loc["accuracy"].tolist() == pytest.approx([3, 0.98, 0.01, 0.97, 0.99])
    assert table.loc["compression"].tolist() == pytest.approx([2, 2.5, 0.5**0.5, 2.0, 3.0])
    assert table.loc["verification"].tolist()[:2] == [1, 0.8]
    assert np.isnan(table.loc["verification", "std"])
    assert "nothing" not in table.index


@settings(max_examples=40)
@given(st.lists(st.lists(st.tuples(st.floats(1, 9), st.floats(0, 1)), min_size=1, max_size=4), min_size=2, max_size=5))
def test_means_over_seeds_are_those_of_the_runs_that_came_so_far(lines):
    points = pd.DataFrame(
        [(f"r{k}", i, c, a / 2, a) for k, line in enumerate(lines) for i, (c, a) in enumerate(line)],
        columns=["run", "iteration", "compression", "accuracy_initial", "accuracy_final"],
    )
    means = rivals.mean_over_seeds(points, {f"r{k}": "all" for k in range(len(lines))})
    for row in means.itertuples():
        own = [line[row.iteration] for line in lines if len(line) > row.iteration]
        assert (row.run, row.seeds) == ("all", len(own))
        assert row.compression == pytest.approx(statistics.mean(c for c, _ in own))
        assert row.accuracy_final == pytest.approx(statistics.mean(a for _, a in own))
        if len(own) > 1:
            assert row.accuracy_std == pytest.approx(statistics.stdev([a for _, a in own]), abs=1e-9)
    assert set(means.iteration) == set(range(max(map(len, lines))))


def test_the_frontier_of_seeds_has_bars_and_single_runs_have_none():
    rows = [("a", 0, 1, 0.98), ("b", 0, 1, 0.96), ("a", 1, 2, 0.95), ("b", 1, 4, 0.91), ("lone", 0, 1, 0.9)]
    points = pd.DataFrame(rows, columns=["run", "iteration", "compression", "accuracy_final"])
    means = rivals.mean_over_seeds(points.assign(accuracy_initial=None), {"a": "two", "b": "two"})
    figure = charts.seed_frontier(means)
    two, lone = trace(figure, "two"), trace(figure, "lone")
    assert list(two.x) == [1, 3]
    assert list(two.y) == pytest.approx([97, 93])
    assert list(two.error_y.array) == pytest.approx([2**0.5, 8**0.5])
    assert list(two.error_x.array) == pytest.approx([0, 2**0.5])
    assert list(lone.error_y.array) == [0]
    assert "means over seeds" in figure.layout.meta["alt"]


def test_compare_sums_up_seeds(runs_folder):
    for seed, accuracy in enumerate([0.97, 0.98, 0.99]):
        fake_run(runs_folder, {"step": STEPS, "seed": seed, "name": "same"}, SMALLER[:2], [0.995, accuracy])
    app = page("compare")
    table = next(table.value for table in app.dataframe if "measure" in table.value).set_index("measure")
    assert table.loc["test accuracy"].tolist() == [3, "98.00%", "1.00%", "97.00%", "99.00%"]
    assert table.loc["compression", "mean"] == "1.25×"
    assert "seeds 0, 1, 2" in texts(app)
    app.toggle(key="sum_up_seeds").set_value(True).run()
    assert not app.exception
