"""All pages in their states: empty, with a run, with an imported run, with large networks. No browser, no server."""

import pytest

import trimcore
from tests.dashboard.drafts import plan_for
from tests.dashboard.fakes import fake_run
from tests.dashboard.large import fake_vgg16
from tests.dashboard.networks import NAMES
from tests.dashboard.pages import PAGES, page, texts
from trimcore import runs, tables

HALF = [dict.fromkeys(NAMES, 8), {name: 4 if k < 12 else 8 for k, name in enumerate(NAMES)}]  # of the network `deep`


@pytest.mark.parametrize("name", PAGES)
def test_an_empty_page_shows_what_to_do(no_runs, name):
    app = page(name)
    assert app.button, "there is something to do on every page"
    if name in ("run", "compare", "report"):
        assert "Model" in texts(app)
        assert "sidebar" not in app.info[0].value, "there is no run to select"
    if name == "profile":
        assert "No profile yet" in texts(app)
    assert not no_runs.exists(), "reading must not write"


@pytest.mark.parametrize("name", ["run", "report"])
def test_results_equal_those_in_the_run_folder(run, name):
    app = page(name, run=run.name)
    last = tables.iterations(list(runs.read_events(run))).iloc[-1]
    shown = {metric.label: metric.value for metric in app.metric}
    assert shown["Parameters"] == f"{last.parameters:,}"
    assert shown["Test accuracy"] == f"{last.accuracy_final:.2%}"
    assert "trained from scratch" in texts(app), "the control is reported"


def test_the_metrics_show_the_result_and_not_the_last_iteration(run):
    with open(run / "events.jsonl", "a") as file:
        file.write('{"seq": 9999, "kind": "ended", "reason": "fell", "result": 1}\n')
    rows = tables.iterations(list(runs.read_events(run)))
    for name in ("run", "report"):
        shown = {metric.label: metric.value for metric in page(name, run=run.name).metric}
        assert shown["Parameters"] == f"{rows.parameters[1]:,}"


def test_an_imported_run_is_labelled_and_cannot_be_resumed(runs_folder, finished_run):
    runs.pack(finished_run, runs_folder.parent / "run.zip")
    run_id, _ = runs.unpack(runs_folder.parent / "run.zip", runs_folder)
    (runs_folder / run_id / "exit.json").unlink()
    app = page("run", run=run_id)
    origin = f"Imported from another installation (trimcore {trimcore.__version__}, PyTorch"
    assert origin in texts(app).replace("\\", "")
    assert not [button for button in app.button if button.label == "Resume"]
    for name in ("profile", "plan", "compare", "report"):
        page(name, run=run_id)


@pytest.mark.parametrize("name", ["profile", "plan", "run", "compare", "report"])
def test_a_run_of_a_deep_network_is_shown(deep, runs_folder, name):
    run_id = fake_run(runs_folder, {"model": deep, "step": [{"layers": ["all"]}]}, HALF, [0.9, 0.8])
    app = page(name, run=run_id, draft=plan_for(deep, ["all"]))
    if name in ("run", "report"):
        assert list(app.dataframe[0].value.configuration) == [
            "0.0 8 · 1.0 8 · 2.0 8 · 3.0 8 · +26 unchanged",
            "0.0 4 · 1.0 4 · 2.0 4 · 3.0 4 · +8 trimmed · +18 unchanged",
        ]


def test_figures_of_twelve_thousand_neurons_are_light(runs_folder):
    run_id = fake_vgg16(runs_folder)
    for name in ("profile", "run", "compare"):
        sizes = [len(chart.proto.spec.encode()) for chart in page(name, run=run_id).get("plotly_chart")]
        assert len(sizes) > 2
        assert max(sizes) < 500_000
