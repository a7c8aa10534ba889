"""The run tree on the page Compare."""

import re
import shutil

import pandas as pd
import pytest

from tests.dashboard.drafts import FC1_STEPS
from tests.dashboard.fakes import FC1_CUT, fake_run
from tests.dashboard.pages import page, texts
from tests.dashboard.serving import ROOT, idle, serving
from trimcore import runs, spec


def family(folder, extra: int = 0) -> list[str]:
    """A run, a branch, a branch of the branch, and another network."""
    root = fake_run(folder, {"step": FC1_STEPS, "name": "root"}, FC1_CUT, [0.99, 0.98, 0.97])
    child = fake_run(folder, {"step": FC1_STEPS, "name": "child"}, FC1_CUT[1:], [0.98, 0.96])
    grandchild = fake_run(folder, {"step": FC1_STEPS, "name": "grandchild"}, FC1_CUT[2:], [0.96])
    for run, parent, iteration in ((child, root, 1), (grandchild, child, 1)):
        asked = spec.load(folder / run / "spec.toml").model_copy(
            update={"parent": spec.Parent(run=parent, iteration=iteration)}
        )
        (folder / run / "spec.toml").write_text(spec.dumps(asked), "utf-8")
    other = fake_run(folder, {"step": FC1_STEPS, "name": "other"}, FC1_CUT, [0.9, 0.8, 0.7])
    return [root, child, grandchild, other]


def listed(app) -> pd.DataFrame:
    """The tree as a table."""
    return next(table.value for table in app.dataframe if "branched from" in table.value)


def test_the_page_shows_the_tree_of_the_selected_run_or_all_runs(runs_folder):
    root, child, grandchild, other = family(runs_folder)
    app = page("compare", run=child)
    table = listed(app)
    assert list(dict.fromkeys(table.run)) == ["root", "child", "grandchild"]
    assert list(dict.fromkeys(table["branched from"])) == ["", "root, iteration 1", "child, iteration 1"]
    assert list(table["test accuracy"]) == [0.99, 0.98, 0.97, 0.98, 0.96, 0.96]
    app.toggle(key="tree_all").set_value(True).run()
    assert set(listed(app).run) == {"root", "child", "grandchild", "other"}
    assert set(listed(page("compare")).run) == {"root", "child", "grandchild", "other"}


def test_at_most_25_runs_are_drawn_and_the_others_counted(runs_folder):
    for number in range(27):
        fake_run(runs_folder, {"name": f"n{number}"}, FC1_CUT[:1], [0.9])
    app = page("compare", run=runs.list_runs(runs_folder)[-1])
    app.toggle(key="tree_all").set_value(True).run()
    assert listed(app).run.nunique() == 25
    assert "2 oldest runs of 27 are not shown" in texts(app)


def start_from(app):
    return next(box for box in app.selectbox if box.label == "Start from")


def test_plan_from_here_starts_from_the_iteration(runs_folder, launched):
    root, child, _, _ = family(runs_folder)
    app = page("compare", run=root)
    app.selectbox(key="tree_node").set_value((child, 1)).run()
    app.button(key="plan_from_here").click().run()
    assert not app.exception
    assert app.title[0].value == "Plan"
    assert start_from(app).value == (child, 1)
    assert app.session_state.run == child
    app.switch_page("plan/page.py").run()  # AppTest does not follow a switch by the app
    assert start_from(app).value == (child, 1)
    start_from(app).set_value((child, 0)).run()
    assert start_from(app).value == (child, 0)
    app.button(key="launch").click().run()
    assert launched[0].parent == spec.Parent(run=child, iteration=0)


def test_the_result_of_the_selected_run_is_the_default_choice(runs_folder):
    root, child, *_ = family(runs_folder)
    app = page("compare", run=root)
    assert app.selectbox(key="tree_node").value == (root, 2)
    app.selectbox(key="tree_node").set_value((child, 0)).run()
    app.button(key="show_run").click().run()
    assert not app.exception
    assert (app.title[0].value, app.session_state.run) == ("Run", child)


def test_a_missing_parent_and_a_run_without_iterations(runs_folder):
    root, child, grandchild, other = family(runs_folder)
    shutil.rmtree(runs_folder / root)
    (runs_folder / other / "events.jsonl").write_text("")
    app = page("compare", run=other)
    app.toggle(key="tree_all").set_value(True).run()
    assert not app.exception
    table = listed(app)
    assert set(table.run) == {"child", "grandchild", "other"}
    assert not table[table.run == "child"]["branched from"].any()
    assert table[table.run == "other"].iteration.isna().all()
    assert runs.parents(runs_folder)[child] == (root, 1)


@pytest.mark.browser
def test_a_click_on_a_node_chooses_its_iteration(runs_folder, tmp_path, chromium):
    root, child, *_ = family(runs_folder)
    with serving("dashboard/app.py", ROOT, TRIMCORE_RUNS=str(runs_folder), log=str(tmp_path / "log")) as (url, _):
        context = chromium.new_context(viewport={"width": 1280, "height": 1400})
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.goto(f"{url}/compare?run={root}")
        label = page.locator(".st-key-tree svg text", has_text=re.compile(r"\schild"))  # above its last iteration
        label.wait_for()
        idle(page)
        label.scroll_into_view_if_needed()
        box = label.bounding_box()
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] + 12)
        choice = page.get_by_role("combobox", name="Iteration")
        choice.and_(page.locator("[value^='child']")).wait_for()
        page.get_by_role("button", name="Plan from here").click()
        page.get_by_role("heading", name="Plan", exact=True).wait_for()
        page.get_by_role("combobox", name="Start from").and_(page.locator("[value*='iteration 1 of child']")).wait_for()
        assert page.url.endswith(f"?run={child}")
        context.close()
