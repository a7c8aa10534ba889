"""A link shows what its sender saw. A value that does not exist is one notice, never a traceback."""

import re
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from dashboard.report import exports
from tests.dashboard.fakes import fake_run, real_run
from tests.dashboard.pages import open_link
from tests.dashboard.serving import ROOT, idle, retry, serving
from trimcore import spec

WIDTHS = [{"conv2": 12, "fc1": 6}, {"conv2": 10, "fc1": 5}, {"conv2": 8, "fc1": 4}]


@pytest.fixture
def run(runs_folder) -> str:
    return fake_run(runs_folder, {"name": "shared"}, WIDTHS, [0.99, 0.98, 0.97])


def notices(app: AppTest) -> list[str]:
    return [toast.value for toast in app.toast]


def select(app: AppTest, label: str):
    return next(box for box in app.selectbox if box.label == label)


def profile_view(app: AppTest) -> tuple:
    iteration = next(one.value for one in app.segmented_control if one.label == "Iteration")
    neuron = next(one.value for one in app.number_input if one.label == "Inspect neuron")
    return iteration, select(app, "Layer").value, neuron


def test_a_link_opens_the_iteration_the_layer_the_rule_and_the_neuron(run):
    app = open_link("profile", run=run, iteration="1", layer="fc1", neuron="3", rule="absolute", value="0.25")
    assert profile_view(app) == (1, "fc1", 3)
    assert (app.segmented_control(key="profile_rule").value, app.slider[0].value) == ("absolute", 0.25)
    assert app.query_params == {
        "run": run, "iteration": "1", "layer": "fc1", "neuron": "3", "rule": "absolute", "value": "0.25",
    }  # fmt: skip
    assert not notices(app)


def test_the_url_contains_only_values_that_are_not_defaults(run):
    app = open_link("profile", run=run)
    assert app.query_params == {"run": run}
    select(app, "Layer").set_value("fc1").run()
    app.slider[0].set_value(1.5).run()
    assert app.query_params == {"run": run, "layer": "fc1", "value": "1.5"}
    select(app, "Layer").set_value("conv2").run()  # the highest mean: 11/24 against 5/12
    assert app.query_params == {"run": run, "value": "1.5"}


def test_a_link_is_applied_once(run):
    app = open_link("profile", run=run, layer="fc1", neuron="2")
    select(app, "Layer").set_value("conv2").run()
    assert profile_view(app) == (0, "conv2", None)
    assert app.query_params == {"run": run}
    assert profile_view(app.run())[1] == "conv2"


def test_a_link_applies_only_to_its_page(run):
    app = open_link("run", run=run, iteration="1", layer="fc1")  # the page Run has none of these
    app.switch_page("profile/page.py").run()
    assert profile_view(app) == (0, "conv2", None)


@pytest.mark.parametrize(
    ("name", "value"),
    [("iteration", "99"), ("iteration", ""), ("layer", "<script>alert(1)</script>"), ("layer", "![x](http://x.org/y)"),
     ("neuron", "12"), ("neuron", "-1"), ("neuron", "٣"), ("rule", "maxout"), ("value", "nan"), ("value", "1e999"),
     ("layer", "x" * 100_000), ("layer", "a\nb")],
)  # fmt: skip
def test_a_value_that_does_not_exist_is_one_notice(run, name, value):
    app = open_link("profile", run=run, **{name: value})
    assert profile_view(app) == (0, "conv2", None)
    (line,) = notices(app)
    assert name in line
    assert len(line) < 250
    assert "\n" not in line
    assert "<script" not in line.replace("\\<", "")
    assert "![x]" not in line
    assert app.query_params == {"run": run}, "the value is removed from the URL"
    assert not notices(app.run()), "the notice appears once"


def test_the_neuron_of_a_missing_layer_is_ignored(run):
    assert profile_view(open_link("profile", run=run, layer="fc9", neuron="3")) == (0, "conv2", None)


def test_a_link_to_a_missing_run_is_ignored(run):
    app = open_link("profile", run="20200101-000000-gone-0000", layer="fc1")
    assert "names a run that does not exist" in app.warning[0].value
    assert len(open_link("profile", run="r" * 100_000).warning[0].value) < 400


def test_a_link_to_an_export_format(run):
    last = list(exports.LABELS)[-1]
    app = open_link("report", run=run, iteration="1", format=last)
    assert (select(app, "Iteration").value, select(app, "Format").value) == (1, last)
    select(app, "Iteration").set_value(2).run()  # the result
    assert app.query_params == {"run": run, "format": last}
    assert notices(open_link("report", run=run, format="pickle"))


def test_a_link_to_a_network_and_data(run):
    app = open_link("model", model="vgg16-small", data="mnist-5k")
    assert (select(app, "Model").value, app.session_state.draft["model"]) == ("vgg16-small", "vgg16-small")
    assert app.query_params["model"] == "vgg16-small"
    select(app, "Model").set_value("lenet5").run()
    assert "model" not in app.query_params


@pytest.mark.parametrize("asked", [{"model": "os:system"}, {"data": "imagefolder:/etc"}, {"data": "lfw:PATH"}])
def test_a_link_cannot_load_code_or_folders(run, asked):
    app = open_link("model", **asked)
    assert (app.session_state.draft["model"], app.session_state.draft["data"]) == ("lenet5", "mnist-5k")
    assert len(notices(app)) == 1


def test_a_link_to_selected_runs_and_two_results(run, runs_folder):
    other = fake_run(runs_folder, {"name": "other"}, WIDTHS, [0.99, 0.9, 0.8])
    third = fake_run(runs_folder, {"name": "third", "seed": 4}, WIDTHS, [0.9, 0.9, 0.8])
    app = open_link("compare", runs=f"{run}~{other}", a=f"{other}~1", b=f"{run}~0")
    assert (select(app, "A").value, select(app, "B").value) == ((other, 1), (run, 0))
    assert {re.search(r"of (\w+) ·", option)[1] for option in select(app, "A").options} == {"shared", "other"}
    asked = dict(app.query_params)
    assert set(asked.pop("runs").split("~")) == {run, other}
    assert asked == {"a": f"{other}~1", "b": f"{run}~0"}
    assert notices(open_link("compare", runs=f"{run}~{third}", a=f"{other}~1")), "this run is not among the selected"
    assert notices(open_link("compare", runs="x" * 10_000))


@pytest.fixture(scope="module")
def seen_run(tmp_path_factory) -> Path:
    """A run with checkpoints and data, so that neurons can be inspected."""
    asked = spec.parse({
        "name": "real", "base": {"epochs": 1}, "retrain": {"epochs": 1}, "profile": {"examples": 100},
        "step": [{"layers": ["conv2", "fc1"], "rule": "fraction", "value": 0.2}],
    })  # fmt: skip
    return real_run(tmp_path_factory.mktemp("runs"), asked)


@pytest.mark.browser
def test_a_link_opens_the_same_view_in_another_browser_after_reload_and_back(seen_run, chromium, tmp_path):
    log = str(tmp_path / "server.log")

    def shows(page, neuron: int, layer: str) -> None:
        page.get_by_role("heading", name=f"Neuron {neuron} of {layer}").wait_for()
        page.get_by_role("radio", name="after 1", checked=True).wait_for()
        page.get_by_text(re.compile(rf"removes \d+ of \d+ neurons of {layer}")).wait_for()

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
                field = mine.get_by_role("spinbutton", name="Inspect neuron")
                field.fill(str(number))
                field.press("Enter")

            retry(choose_layer, mine.get_by_text(re.compile(r"removes \d+ of \d+ neurons of conv2")))
            retry(lambda: choose_neuron(7), mine.get_by_role("heading", name="Neuron 7 of conv2"))
            shows(mine, 7, "conv2")
            mine.wait_for_url(re.compile("neuron=7"))

            theirs.goto(mine.url)
            shows(theirs, 7, "conv2")
            theirs.reload()
            shows(theirs, 7, "conv2")
            assert theirs.url == mine.url

            retry(lambda: choose_neuron(3), mine.get_by_role("heading", name="Neuron 3 of conv2"))
            mine.wait_for_url(re.compile("neuron=3"))
            mine.go_back()
            shows(mine, 7, "conv2")
            mine.wait_for_url(re.compile("neuron=7"))
        finally:
            for context in contexts:
                context.close()
