"""Every page in its states: empty, with a profile, with a finished run, with a mistake. No browser, no server."""

import shutil
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from dashboard import frame, work
from tests.dashboard.fakes import fake_run, real_run
from trimcore import runs, spec, tables
from trimcore.jobs import control

APP = str(Path(__file__).parents[2] / "dashboard" / "app.py")
PAGES = ["model", "profile", "plan", "run", "compare", "report"]


def page(name: str, **session) -> AppTest:
    """The page as it is first shown, with these values in the session."""
    app = AppTest.from_file(APP, default_timeout=60)
    app.run()
    for key, value in session.items():
        app.session_state[key] = value
    app.switch_page(f"views/{name}.py").run()
    assert not app.exception, app.exception
    return app


def texts(app: AppTest) -> str:
    kinds = (app.markdown, app.caption, app.info, app.warning, app.error, app.success)
    return "\n".join(element.value for kind in kinds for element in kind)


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory) -> Path:
    """A real run of two iterations, made once."""
    folder = tmp_path_factory.mktemp("runs")
    asked = spec.parse({
        "name": "made by a test", "base": {"epochs": 1}, "retrain": {"epochs": 1}, "control": {"scratch": True},
        "step": [{"layers": ["conv2", "fc1"], "rule": "fraction", "value": 0.2, "iterations": 2}],
    })  # fmt: skip
    return real_run(folder, asked)


@pytest.fixture
def run(finished_run, tmp_path, monkeypatch) -> Path:
    """A copy of the run in a runs folder of its own, which the pages look at."""
    copy = tmp_path / "runs" / finished_run.name
    shutil.copytree(finished_run, copy)
    monkeypatch.setenv("TRIMCORE_RUNS", str(tmp_path / "runs"))
    return copy


@pytest.fixture
def no_runs(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("TRIMCORE_RUNS", str(tmp_path / "none"))
    return tmp_path / "none"


@pytest.mark.parametrize("name", PAGES)
def test_an_empty_page_says_what_to_do(no_runs, name):
    app = page(name)
    assert app.button, "nothing to do on this page"
    if name in ("run", "compare", "report"):
        assert "Model" in texts(app)
    if name == "profile":
        assert "No profile yet" in texts(app)
    assert not no_runs.exists(), "looking must not write"


def test_model_counts_lenet(no_runs):
    app = page("model")
    numbers = {metric.label: metric.value for metric in app.metric}
    assert numbers == {
        "Parameters": "431,080", "MACs": "2,293,000", "Trimmable neurons": "570", "Frozen neurons": "10",
    }  # fmt: skip
    table = app.dataframe[0].value
    assert list(table.layer) == ["conv1", "conv2", "fc1", "fc2"]
    assert table.note[3] == "it is an output of the network"


def test_model_counts_vgg16_without_building_it(no_runs):
    app = page("model")
    app.selectbox[0].set_value("vgg16").run()
    assert not app.exception
    assert {m.label: m.value for m in app.metric}["Parameters"] == "134,301,514"  # with ten classes


def test_data_that_is_not_there_is_one_line(no_runs, tmp_path, monkeypatch):
    app = page("model")
    app.selectbox[1].set_value("imagefolder:PATH").run()
    app.text_input[0].set_value(str(tmp_path / "nowhere")).run()
    assert not app.exception
    assert "nowhere" in app.error[0].value


def test_profile_shows_the_recorded_apoz(run):
    app = page("profile", run=run.name)
    event = tables.latest(list(runs.read_events(run)), "profiled")[0]
    every = [value for layer in event["layers"].values() for value in layer["apoz"]]
    shown = {metric.label: metric.value for metric in app.metric}
    assert shown["Mean APoZ"] == f"{sum(every) / len(every):.1%}"
    assert shown["Neurons above 90 %"] == f"{sum(v > 0.9 for v in every)} of 570"
    assert shown["Examples seen"] == "500"


def test_profile_threshold_moves_with_the_value(run):
    app = page("profile", run=run.name)
    before = app.dataframe[-1].value["would go"].tolist()
    app.slider[0].set_value(2.0).run()
    after = app.dataframe[-1].value["would go"].tolist()
    assert sum(after) < sum(before)


def test_plan_preview_is_what_the_cut_leaves(run):
    app = page("plan", run=run.name, draft={
        **spec.Spec().model_dump(exclude_none=True),
        "step": [spec.Step(layers=["conv2", "fc1"], rule="fraction", value=0.2, iterations=2).model_dump()],
    })  # fmt: skip
    last = tables.iterations(list(runs.read_events(run))).iloc[-1]
    shown = {metric.label: metric.value for metric in app.metric}
    assert shown["Parameters"] == f"{last.parameters:,}"
    assert shown["Compression"] == f"{last.compression:.2f}×"


def test_plan_changes_with_each_widget(run):
    app = page("plan", run=run.name)
    before = {m.label: m.value for m in app.metric}["Parameters"]
    steps = app.session_state.draft["step"]
    app.number_input[0].set_value(steps[0]["iterations"] + 2).run()
    assert not app.exception
    assert app.session_state.draft["step"][0]["iterations"] == steps[0]["iterations"]
    assert {m.label: m.value for m in app.metric}["Parameters"] != before


def test_plan_that_removes_nothing_says_so(run):
    app = page("plan", run=run.name, draft={
        **spec.Spec().model_dump(exclude_none=True),
        "step": [spec.Step(layers=["fc1"], rule="absolute", value=1.0).model_dump()],
    })  # fmt: skip
    assert "removes nothing" in texts(app)


@pytest.mark.parametrize("name", ["run", "report"])
def test_results_are_those_of_the_run_folder(run, name):
    app = page(name, run=run.name)
    last = tables.iterations(list(runs.read_events(run))).iloc[-1]
    shown = {metric.label: metric.value for metric in app.metric}
    assert shown["Parameters"] == f"{last.parameters:,}"
    assert shown["Test accuracy"] == f"{last.accuracy_final:.2%}"
    assert "new weights" in texts(app), "the control is part of an honest report"


def test_a_failed_run_says_why(run):
    (run / "exit.json").write_text('{"state": "failed", "reason": "No space left on device", "code": 1}')
    app = page("run", run=run.name)
    assert "No space left on device" in app.error[0].value
    assert "Resume" in [button.label for button in app.button]


def test_a_lost_run_says_so_and_can_be_resumed(run):
    (run / "exit.json").unlink(missing_ok=True)
    gone = {"pid": 1, "started": 0.0, "host": "elsewhere"}
    nobody = {"outcome": None, "launcher": None, "supervisor": None}
    runs.update_status(run, state="running", trainer=gone, heartbeat=0.0, **nobody)
    app = page("run", run=run.name)
    assert "lost" in app.error[0].value
    assert "Resume" in [button.label for button in app.button]


def test_a_mistake_in_the_draft_is_one_line_and_starts_nothing(run):
    app = page("plan", run=run.name, draft={
        **spec.Spec().model_dump(exclude_none=True),
        "step": [spec.Step(layers=["fc1"], rule="absolute", value=0.5).model_dump() | {"criterion": "l1"}],
    })  # fmt: skip
    assert "absolute" in app.error[0].value
    assert "\n" not in app.error[0].value
    assert "launch" not in [button.key for button in app.button]


def test_a_parent_that_has_vanished_is_one_line_and_loses_nothing(run):
    app = page("plan", run=run.name, draft={
        **spec.Spec().model_dump(exclude_none=True),
        "step": [spec.Step(layers=["fc1"], rule="fraction", value=0.5).model_dump()],
    })  # fmt: skip
    runs.checkpoint_path(run, 0).unlink()
    app.button(key="launch").click().run()
    assert not app.exception
    assert "no iteration 0" in app.error[0].value
    assert app.session_state.draft["step"][0]["layers"] == ["fc1"]
    assert runs.list_runs(run.parent) == [run.name]


def test_a_link_to_a_run_that_is_not_there(run):
    app = AppTest.from_file(APP, default_timeout=60)
    app.query_params["run"] = "../../etc"
    app.run()
    assert not app.exception
    assert "not a run id" in texts(app)


def test_compare_lists_the_run(run):
    app = page("compare", run=run.name)
    listed = app.dataframe[0].value
    assert listed.run[0].startswith("made by a test")
    assert listed.iterations[0] == 2


def field(app: AppTest, label: str):
    """The widget with that label."""
    kinds = (app.number_input, app.text_input, app.selectbox, app.toggle, app.slider)
    return next(widget for kind in kinds for widget in kind if widget.label == label)


@pytest.mark.parametrize(
    ("label", "values", "read"),
    [
        ("Epochs after each cut", [5, 6, 7], lambda draft: draft["retrain"]["epochs"]),
        ("Learning rate", [0.1, 0.2, 0.3], lambda draft: draft["retrain"]["lr"]),
        ("Name of the run", ["one", "two", "three"], lambda draft: draft["name"]),
        ("Also train the final widths from new weights", [True, False, True], lambda d: d["control"]["scratch"]),
        ("Iterations", [3, 5, 2], lambda draft: draft["step"][0]["iterations"]),
    ],
)
def test_every_edit_counts_not_only_each_second(run, label, values, read):
    app = page("plan", run=run.name, settings=True)
    for value in values:
        field(app, label).set_value(value).run()
        assert read(app.session_state.draft) == value


def test_an_edit_that_arrives_with_the_click_is_launched(run, monkeypatch):
    launched = []
    monkeypatch.setattr(control, "launch", lambda asked, folder: launched.append(asked) or run.name)
    app = page("plan", run=run.name, settings=True)
    field(app, "Iterations").set_value(7)
    field(app, "Epochs after each cut").set_value(9)
    app.button(key="launch").click().run()
    assert not app.exception
    assert (launched[0].step[0].iterations, launched[0].retrain.epochs) == (7, 9)
    assert launched[0].parent == spec.Parent(run=run.name, iteration=0)


def test_what_a_preset_says_of_training_stays_until_it_is_changed():
    def augments() -> tuple[str, str]:
        return tuple(app.session_state.draft[part]["augment"] for part in ("base", "retrain"))

    draft = work.draft_for("lenet5", "mnist-5k")
    draft["base"]["augment"], draft["retrain"]["augment"] = "affine", "shift"
    app = page("plan", draft=draft, settings=True)
    assert augments() == ("affine", "shift")
    field(app, "Augmentation").set_value("none").run()
    assert augments() == ("none", "none")


def test_closed_settings_and_single_values_keep_what_was_chosen(run):
    app = page("plan", run=run.name, settings=True)
    field(app, "Learning rate").set_value(0.3).run()
    app.session_state.settings = False
    app.run()
    assert not [widget for widget in app.number_input if widget.label == "Learning rate"]
    app.session_state.settings = True
    app.run()
    assert field(app, "Learning rate").value == app.session_state.draft["retrain"]["lr"] == 0.3


def test_plan_with_this_rule_reaches_a_plan_that_was_opened_before(run):
    app = page("plan", run=run.name)
    app.switch_page("views/profile.py").run()
    app.segmented_control(key="profile_rule").set_value("absolute").run()
    next(b for b in app.button if b.label == "Plan with this rule").click().run()
    assert not app.exception
    assert {step["rule"] for step in app.session_state.draft["step"]} == {"absolute"}


def test_plan_with_this_rule_takes_over_the_network_of_the_run(run):
    app = page("profile", run=run.name, draft=spec.Spec(model="vgg16-small").model_dump(exclude_none=True))
    next(b for b in app.button if b.label == "Plan with this rule").click().run()
    assert not app.exception
    assert app.session_state.draft["model"] == "lenet5"
    assert app.session_state.draft["step"]


def test_the_defaults_are_the_defaults_whatever_the_plan(run, monkeypatch):
    launched = []
    monkeypatch.setattr(control, "launch", lambda asked, folder: launched.append(asked) or run.name)
    app = page("plan", run=run.name)
    field(app, "Iterations").set_value(9).run()
    app.switch_page("views/model.py").run()
    next(b for b in app.button if b.label == "Trim it now with the defaults").click().run()
    assert launched[0].step[0].iterations == 4


def test_text_in_a_link_is_not_markdown(run):
    app = AppTest.from_file(APP, default_timeout=60)
    app.query_params["run"] = "![x](http://example.org/x.png)"
    app.run()
    assert "![x](http" not in texts(app)


def test_the_headline_is_the_result_not_the_iteration_that_fell_below(run):
    with open(run / "events.jsonl", "a") as file:
        file.write('{"seq": 9999, "kind": "ended", "reason": "fell", "result": 1}\n')
    rows = tables.iterations(list(runs.read_events(run)))
    for name in ("run", "report"):
        shown = {metric.label: metric.value for metric in page(name, run=run.name).metric}
        assert shown["Parameters"] == f"{rows.parameters[1]:,}"


class State(dict):
    __getattr__, __setattr__ = dict.__getitem__, dict.__setitem__


def test_a_click_from_before_the_run_ended_keeps_the_run_selected(runs_folder, monkeypatch):
    """The browser sends the label that it shows, which tells the state: where it has changed, it is no run's."""
    widths = {"conv1": 20, "conv2": 50, "fc1": 500}
    name, other = (fake_run(runs_folder, {"model": "lenet5"}, [widths], [0.9]) for _ in range(2))
    monkeypatch.setattr(frame.st, "session_state", State(run=name, run_choice=f"▶ {name}"))
    frame._choose()
    assert frame.st.session_state.run == name
    frame.st.session_state.run_choice = other
    frame._choose()
    assert frame.st.session_state.run == other


def test_a_run_from_elsewhere_says_so_and_offers_no_resume(runs_folder, finished_run):
    runs.pack(finished_run, runs_folder.parent / "run.zip")
    run_id, _ = runs.unpack(runs_folder.parent / "run.zip", runs_folder)
    (runs_folder / run_id / "exit.json").unlink()
    app = page("run", run=run_id)
    assert "Brought from another installation (trimcore 0.1.0, PyTorch" in texts(app).replace("\\", "")
    assert not [button for button in app.button if button.label == "Resume"]
    for name in ("profile", "plan", "compare", "report"):
        page(name, run=run_id)
