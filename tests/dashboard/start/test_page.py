"""The page Start: the example at once, the newest runs, and the ways on."""

import pytest

from tests.dashboard.drafts import choose_goal
from tests.dashboard.fakes import NARROWER, active_run, fake_run
from tests.dashboard.pages import click, metrics, open_link, page, texts
from trimcore import runs


def test_the_example_is_shown_without_a_click(runs_folder):
    app = page("start")
    shown = metrics(app)
    assert shown["Parameters"] == "431,080 → 13,169"
    assert shown["Compression"] == "33×"
    assert len(app.get("plotly_chart")) == 1
    assert "Your newest runs" not in texts(app)


def test_the_way_to_ones_own_network_and_to_the_example(runs_folder):
    assert click(page("start"), "Trim your own network").title[0].value == "Model"
    app = click(page("start"), "Open the example")
    assert app.title[0].value == "Run"
    assert app.session_state.run == runs.EXAMPLE
    assert "the example that comes with trimcore" in texts(app)


@pytest.mark.parametrize("name", ["model", "profile", "plan", "run", "compare", "report"])
def test_every_page_shows_the_example(runs_folder, name):
    app = page(name, run=runs.EXAMPLE)
    assert not app.error
    assert not app.exception


def test_pages_without_a_run_lead_to_the_example(runs_folder):
    app = click(page("report"), "Look at the example")
    assert metrics(app)["Compression"].startswith("32.7")


def test_the_newest_runs_with_state_and_result(runs_folder):
    done = fake_run(runs_folder, {"name": "a *bold* plan"}, NARROWER, [0.97, 0.96])
    active_run(runs_folder, name="under way")
    app = page("start")
    shown = texts(app)
    assert "Your newest runs" in shown
    assert r"a \*bold\* plan" in shown
    assert "finished, 1.54× smaller at 96.0% test accuracy" in shown
    assert "running, 40%, 2 min left" in shown
    app.button(key=f"open_{done}").click().run()
    assert (app.session_state.run, app.title[0].value) == (done, "Run")


def test_only_the_newest_runs_are_shown(runs_folder):
    for number in range(8):
        fake_run(runs_folder, {"name": f"number {number}"}, NARROWER, [0.97, 0.96])
    assert texts(page("start")).count("finished, ") == 6


def test_a_link_to_a_model_still_opens_model(runs_folder):
    app = open_link("", model="vgg16-small")
    assert app.title[0].value == "Model"
    assert app.session_state.draft["model"] == "vgg16-small"


def test_what_the_pages_measure_of_the_example_is_kept_beside_the_runs(runs_folder):
    before = sorted(runs.open_run(runs_folder, runs.EXAMPLE).rglob("*"))
    choose_goal(page("plan", run=runs.EXAMPLE), "smaller", 2.0)
    assert list((runs_folder / ".example" / "sensitivity").iterdir())
    assert sorted(runs.open_run(runs_folder, runs.EXAMPLE).rglob("*")) == before
    assert runs.list_runs(runs_folder) == []
