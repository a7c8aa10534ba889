"""A link shows what its sender saw; what it asks for and is not there is one line, never a traceback."""

import re
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from dashboard import exports
from tests.dashboard.fakes import fake_run, real_run
from tests.dashboard.serving import ROOT, idle, insist, serving
from trimcore import spec

APP = str(ROOT / "dashboard" / "app.py")
WIDTHS = [{"conv2": 12, "fc1": 6}, {"conv2": 10, "fc1": 5}, {"conv2": 8, "fc1": 4}]


@pytest.fixture
def run(runs_folder) -> str:
    return fake_run(runs_folder, {"name": "shared"}, WIDTHS, [0.99, 0.98, 0.97])


def opened(page: str, **asked: str) -> AppTest:
    """The page as somebody sees it who opens a link in a new browser."""
    app = AppTest.from_file(APP, default_timeout=60)
    app.switch_page(f"views/{page}.py")
    app.query_params.update(asked)
    app.run()
    assert not app.exception, app.exception
    return app


def said(app: AppTest) -> list[str]:
    return [toast.value for toast in app.toast]


def select(app: AppTest, label: str):
    return next(box for box in app.selectbox if box.label == label)


def profile_view(app: AppTest) -> tuple:
    iteration = next(one.value for one in app.segmented_control if one.label == "Iteration")
    neuron = next(one.value for one in app.number_input if one.label == "Look at neuron")
    return iteration, select(app, "Layer").value, neuron


def test_a_link_opens_the_iteration_the_layer_the_rule_and_the_neuron(run):
    app = opened("profile", run=run, iteration="1", layer="fc1", neuron="3", rule="absolute", value="0.25")
    assert profile_view(app) == (1, "fc1", 3)
    assert (app.segmented_control(key="profile_rule").value, app.slider[0].value) == ("absolute", 0.25)
    assert app.query_params == {
        "run": run, "iteration": "1", "layer": "fc1", "neuron": "3", "rule": "absolute", "value": "0.25",
    }  # fmt: skip
    assert not said(app)


def test_what_is_chosen_stands_in_the_url_and_what_is_as_it_begins_does_not(run):
    app = opened("profile", run=run)
    assert app.query_params == {"run": run}
    select(app, "Layer").set_value("fc1").run()
    app.slider[0].set_value(1.5).run()
    assert app.query_params == {"run": run, "layer": "fc1", "value": "1.5"}
    select(app, "Layer").set_value("conv2").run()  # the highest mean: 11/24 against 5/12
    assert app.query_params == {"run": run, "value": "1.5"}


def test_a_link_leads_once_and_then_the_widgets_do(run):
    app = opened("profile", run=run, layer="fc1", neuron="2")
    select(app, "Layer").set_value("conv2").run()
    assert profile_view(app) == (0, "conv2", None)
    assert app.query_params == {"run": run}
    assert profile_view(app.run())[1] == "conv2"


def test_a_link_is_for_its_page_only(run):
    app = opened("run", run=run, iteration="1", layer="fc1")  # Run asks for nothing of this
    app.switch_page("views/profile.py").run()
    assert profile_view(app) == (0, "conv2", None)


@pytest.mark.parametrize(
    ("name", "value"),
    [("iteration", "99"), ("iteration", ""), ("layer", "<script>alert(1)</script>"), ("layer", "![x](http://x.org/y)"),
     ("neuron", "12"), ("neuron", "-1"), ("neuron", "٣"), ("rule", "maxout"), ("value", "nan"), ("value", "1e999"),
     ("layer", "x" * 100_000), ("layer", "a\nb")],
)  # fmt: skip
def test_what_is_not_there_is_one_line(run, name, value):
    app = opened("profile", run=run, **{name: value})
    assert profile_view(app) == (0, "conv2", None)
    (line,) = said(app)
    assert name in line
    assert len(line) < 250
    assert "\n" not in line
    assert "<script" not in line.replace("\\<", "")
    assert "![x]" not in line
    assert app.query_params == {"run": run}, "nor is it passed on"
    assert not said(app.run()), "said once"


def test_the_neuron_of_a_layer_that_is_not_there_is_not_that_of_another(run):
    assert profile_view(opened("profile", run=run, layer="fc9", neuron="3")) == (0, "conv2", None)


def test_nothing_is_taken_from_a_link_to_a_run_that_is_gone(run):
    app = opened("profile", run="20200101-000000-gone-0000", layer="fc1")
    assert "names another run" in app.warning[0].value
    assert len(opened("profile", run="r" * 100_000).warning[0].value) < 400


def test_a_link_to_a_file_of_a_report(run):
    last = list(exports.LABELS)[-1]
    app = opened("report", run=run, iteration="1", format=last)
    assert (select(app, "Iteration").value, select(app, "Format").value) == (1, last)
    select(app, "Iteration").set_value(2).run()  # the result
    assert app.query_params == {"run": run, "format": last}
    assert said(opened("report", run=run, format="pickle"))


def test_a_link_to_a_network_and_data(run):
    app = opened("model", model="vgg16-small", data="mnist-5k")
    assert (select(app, "Model").value, app.session_state.draft["model"]) == ("vgg16-small", "vgg16-small")
    assert app.query_params["model"] == "vgg16-small"
    select(app, "Model").set_value("lenet5").run()
    assert "model" not in app.query_params


@pytest.mark.parametrize("asked", [{"model": "os:system"}, {"data": "imagefolder:/etc"}, {"data": "lfw:PATH"}])
def test_no_code_and_no_folder_is_read_because_a_link_says_so(run, asked):
    app = opened("model", **asked)
    assert (app.session_state.draft["model"], app.session_state.draft["data"]) == ("lenet5", "mnist-5k")
    assert len(said(app)) == 1


def test_a_link_to_runs_that_are_ticked_and_two_side_by_side(run, runs_folder):
    other = fake_run(runs_folder, {"name": "other"}, WIDTHS, [0.99, 0.9, 0.8])
    third = fake_run(runs_folder, {"name": "third", "seed": 4}, WIDTHS, [0.9, 0.9, 0.8])
    app = opened("compare", runs=f"{run}~{other}", a=f"{other}~1", b=f"{run}~0")
    assert (select(app, "A").value, select(app, "B").value) == ((other, 1), (run, 0))
    assert {re.search(r"of (\w+) ·", option)[1] for option in select(app, "A").options} == {"shared", "other"}
    asked = dict(app.query_params)
    assert set(asked.pop("runs").split("~")) == {run, other}
    assert asked == {"a": f"{other}~1", "b": f"{run}~0"}
    assert said(opened("compare", runs=f"{run}~{third}", a=f"{other}~1")), "that run is not among them"
    assert said(opened("compare", runs="x" * 10_000))


@pytest.fixture(scope="module")
def seen_run(tmp_path_factory) -> Path:
    """A run with networks and data, so that a neuron can be looked at."""
    asked = spec.parse({
        "name": "real", "base": {"epochs": 1}, "retrain": {"epochs": 1}, "profile": {"examples": 100},
        "step": [{"layers": ["conv2", "fc1"], "rule": "fraction", "value": 0.2}],
    })  # fmt: skip
    return real_run(tmp_path_factory.mktemp("runs"), asked)


@pytest.mark.browser
def test_a_link_opens_the_same_view_in_another_browser_and_reload_and_back_keep_it(seen_run, chromium, tmp_path):
    log = str(tmp_path / "server.log")

    def shows(page, neuron: int, layer: str) -> None:
        page.get_by_role("heading", name=f"What does neuron {neuron} of {layer} do?").wait_for()
        page.get_by_role("radio", name="after 1", checked=True).wait_for()
        page.get_by_text(re.compile(rf"\d+ of \d+ neurons of {layer} would go")).wait_for()

    with serving("dashboard/app.py", ROOT, TRIMCORE_RUNS=str(seen_run.parent), log=log) as (url, _):
        contexts = [chromium.new_context() for _ in range(2)]
        try:
            mine, theirs = (context.new_page() for context in contexts)
            for page in (mine, theirs):
                page.set_default_timeout(60_000)
            mine.goto(f"{url}/profile?run={seen_run.name}")
            mine.get_by_role("radio", name="after 1").click()
            mine.wait_for_url(re.compile("iteration=1"))
            idle(mine)

            def choose_layer() -> None:
                mine.get_by_role("combobox", name="Layer").click()
                mine.get_by_role("option", name="conv2").click(timeout=5_000)

            def choose_neuron(number: int) -> None:
                field = mine.get_by_role("spinbutton", name="Look at neuron")
                field.fill(str(number))
                field.press("Enter")

            insist(choose_layer, mine.get_by_text(re.compile(r"\d+ of \d+ neurons of conv2 would go")))
            insist(lambda: choose_neuron(7), mine.get_by_role("heading", name="What does neuron 7 of conv2 do?"))
            shows(mine, 7, "conv2")
            mine.wait_for_url(re.compile("neuron=7"))

            theirs.goto(mine.url)
            shows(theirs, 7, "conv2")
            theirs.reload()
            shows(theirs, 7, "conv2")
            assert theirs.url == mine.url

            insist(lambda: choose_neuron(3), mine.get_by_role("heading", name="What does neuron 3 of conv2 do?"))
            mine.wait_for_url(re.compile("neuron=3"))
            mine.go_back()
            shows(mine, 7, "conv2")
            mine.wait_for_url(re.compile("neuron=7"))
        finally:
            for context in contexts:
                context.close()
