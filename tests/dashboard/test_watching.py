"""Watching a run: what the panel says in each state, the notice when it ends, and two people at once."""

import json
import re
import time

import pytest

from dashboard import ending, live
from tests.dashboard.fakes import fake_run
from tests.dashboard.serving import ROOT, serving
from tests.dashboard.test_pages import page, texts
from trimcore import runs, spec
from trimcore.jobs import control
from trimcore.system import processes

WIDTHS = [{"conv1": 20, "conv2": 50, "fc1": 500}, {"conv1": 20, "conv2": 30, "fc1": 178}]  # 570 and 228: 2.5 times
AT_WORK = {
    "state": "running", "phase": "retrain", "iteration": 1, "iterations": 4, "epoch": 2, "epochs": 4, "step": 8,
    "steps": 32, "fraction": 0.4, "eta_seconds": 130.0, "iteration_eta_seconds": 33.0, "images_per_second": 8312.4,
    "memory": {"used": 1_310_000_000, "total": 24_200_000_000}, "device": "cpu, 2 threads, bf16",
}  # fmt: skip


def at_work(folder, name="mine", **values) -> str:
    """A run that is said to be active: this very process is its trainer."""
    made = control.prepare_run(spec.parse({"device": "cpu", "name": name}), folder)
    me = processes.identity()
    runs.update_status(made, **AT_WORK | {"supervisor": me, "trainer": me, "heartbeat": time.time(), **values})
    return made.name


def fake(folder, **values) -> str:
    return fake_run(folder, {"name": "mine", **values}, WIDTHS, [0.99, 0.987])


def status_of(state="running", **values) -> runs.Status:
    return runs.Status("a-run", state, {**AT_WORK, **values})


# --- the panel ---


def test_the_panel_tells_state_time_left_rate_memory_and_device(runs_folder):
    app = page("run", run=at_work(runs_folder))
    said = texts(app)
    assert "**Running** — iteration 1 of 4: retraining, epoch 2 of 4" in said
    for value in ("**35 s**", "**2 min**", "**8,310**", "**1.3 of 24 GB**", "cpu, 2 threads, bf16"):
        assert value in said, value
    assert [bar.proto.value for bar in app.get("progress")] == [40, 25]
    assert not app.warning


def test_a_run_of_before_has_no_memory_and_no_time_left(runs_folder):
    old = dict.fromkeys(("memory", "iteration_eta_seconds", "eta_seconds", "device", "steps"))
    app = page("run", run=at_work(runs_folder, **old))
    assert "GB" not in texts(app)
    assert texts(app).count(f"**{live.UNKNOWN}**") == 2


@pytest.mark.parametrize(
    ("value", "said"), [(None, "—"), (0.2, "1 s"), (18.6, "19 s"), (33, "35 s"), (83, "85 s"), (3599, "60 min")]
)
def test_time_left_can_be_read(value, said):
    assert live.left(value) == said


@pytest.mark.parametrize(("value", "said"), [(None, "—"), (2.44, "2.4"), (12.6, "13"), (123_456.0, "123,000")])
def test_a_rate_can_be_read(value, said):
    assert live.rate(value) == said


def test_an_iteration_without_training_left_is_measured():
    assert dict(live.cells({"iteration_eta_seconds": 0.0}))["Iteration: time left"] == "measuring"


def test_memory_of_a_gpu_has_its_own_cell():
    found = dict(live.cells({"memory": {"used": 2e9, "total": 128e9, "device_used": 1.26e9, "device_total": 8e9}}))
    assert (found["Memory"], found["GPU memory, peak"]) == ("2.0 of 128 GB", "1.3 of 8.0 GB")


@pytest.mark.parametrize(
    ("asked", "said"),
    [("finish", "finishes after this iteration"), ("pause", "pauses at the end"), ("stop", "stops at its next batch")],
)
def test_what_was_asked_is_said_and_is_not_asked_twice(runs_folder, asked, said):
    run_id = at_work(runs_folder)
    runs.request(runs_folder / run_id, asked)
    app = page("run", run=run_id)
    assert said in texts(app)
    off = {button.label for button in app.button if button.disabled}
    three = {"Pause", "Finish after this iteration", "Stop…"}
    assert off & three == {"finish": {"Finish after this iteration"}, "pause": {"Pause"}, "stop": three}[asked]


def test_a_starting_run_does_not_show_what_an_earlier_process_said(runs_folder):
    app = page("run", run=at_work(runs_folder, state="starting"))
    assert "**Starting** — loading PyTorch" in texts(app)
    assert not app.get("progress")


def test_a_stalled_run_is_a_warning(runs_folder):
    app = page("run", run=at_work(runs_folder, heartbeat=time.time() - 60))
    assert "may hang" in app.warning[0].value


def test_a_queued_run_says_behind_whom(runs_folder):
    first, second, third, mine = (
        at_work(runs_folder, name=f"run *{number}*", queued_at=float(number), device_key="cpu", state="queued")
        for number in (1, 2, 3, 4)
    )
    assert "behind" not in texts(page("run", run=first))
    assert r"on the device, behind **run \*1\***" in texts(page("run", run=second))
    runs.update_status(runs_folder / second, state="running")  # it was resumed, and went first
    assert r"behind **run \*2\*** and 2 more" in texts(page("run", run=mine))
    runs.update_status(runs_folder / third, device_key="cuda:0")
    assert r"behind **run \*2\*** and 1 more" in texts(page("run", run=mine))


# --- the end ---


def test_a_finished_run_says_what_came_of_it_and_leads_to_the_report(runs_folder):
    app = page("run", run=fake(runs_folder))
    assert app.success[0].value == "**Finished: 2.50× smaller at 98.70% test accuracy.** All steps are done."
    app.button(key="to_report_at_once").click().run()
    assert not app.exception
    assert app.title[0].value == "Report"


@pytest.mark.parametrize(("state", "kind"), [("failed", "error"), ("stopped", "info")])
def test_other_ends_say_why(runs_folder, state, kind):
    run_id = fake(runs_folder)
    runs.write_exit(runs_folder / run_id, state, "the *disk* is full")
    app = page("run", run=run_id)
    assert ending.SAID[state] in getattr(app, kind)[0].value
    assert r"The \*disk\* is full." in getattr(app, kind)[0].value
    assert "Resume" in [button.label for button in app.button]


def events_of(folder, run_id) -> list[dict]:
    return list(runs.read_events(folder / run_id))


def test_the_result_in_words(runs_folder):
    events = events_of(runs_folder, fake(runs_folder))
    assert ending.result_in_words(events) == "2.50× smaller at 98.70% test accuracy"
    assert ending.result_in_words(events[:4]) == "99.00% test accuracy"  # only the base
    assert ending.result_in_words([]) == ""
    zeros = {"kind": "weights", "iteration": 1, "layers": {"fc1": {"weights": 100, "zeros": 50, "cut": []}}}
    held = [{**event, "nonzero_parameters": 11_400} if event.get("result") == 1 else event for event in events]
    assert ending.result_in_words([*held, zeros]) == "5.00× smaller without its zeros at 98.70% test accuracy"


@pytest.mark.parametrize("name", ["model", "run"])
def test_the_notice_comes_once_on_whatever_page_a_person_is(runs_folder, name):
    shown = fake(runs_folder)
    run_id = at_work(runs_folder, name="*bold*")
    app = page(name, run=shown)
    assert not app.toast
    runs.write_exit(runs_folder / run_id, "failed", "the disk is full")
    app.run()
    assert [toast.value for toast in app.toast] == [r"**\*bold\*** has failed: the disk is full."]
    app.run()
    assert not app.toast


def test_what_is_paused_and_resumed_by_somebody_else_is_told_of_again(runs_folder):
    run_id = at_work(runs_folder)
    app, told = page("model"), []
    for state in ("paused", "", "finished", "finished"):
        if state:
            runs.write_exit(runs_folder / run_id, state, "so it is")
        else:
            (runs_folder / run_id / "exit.json").unlink()
        app.run()
        told.append(len(app.toast))
    assert told == [1, 0, 1, 0]


def test_a_run_that_had_ended_before_is_no_news(runs_folder):
    app = page("model", run=fake(runs_folder))
    app.run()
    assert not app.toast


def test_a_run_that_was_deleted_meanwhile_is_no_news(runs_folder):
    run_id = at_work(runs_folder)
    app = page("model")
    (runs_folder / run_id / "spec.toml").unlink()
    app.run()
    assert not app.exception
    assert (len(app.toast), app.session_state.awaited) == (0, {})


def test_the_notice_of_a_finished_run_has_its_result(runs_folder):
    status = runs.state_of(runs_folder / fake(runs_folder))
    assert ending.notice(status) == "**mine** has finished: 2.50× smaller at 98.70% test accuracy."


# --- two people ---


@pytest.mark.browser
def test_two_who_watch_see_the_same(chromium, runs_folder, tmp_path):
    """The run is written by hand, so that both can be asked about the same moment."""
    run_id = at_work(runs_folder)
    folder, finished = runs_folder / run_id, fake(runs_folder)
    (folder / "events.jsonl").write_text((runs_folder / finished / "events.jsonl").read_text("utf-8"), "utf-8")
    log = str(tmp_path / "server.log")
    with serving("dashboard/app.py", ROOT, TRIMCORE_RUNS=str(runs_folder), log=log) as (url, _):
        contexts = [chromium.new_context(viewport={"width": 1280, "height": 900}) for _ in range(3)]
        one, two, elsewhere = [context.new_page() for context in contexts]
        for watcher in (one, two):
            watcher.set_default_timeout(60_000)
            watcher.goto(f"{url}/run?run={run_id}")
            watcher.get_by_text("iteration 1 of 4: retraining, epoch 2 of 4").wait_for()
        elsewhere.set_default_timeout(60_000)
        elsewhere.goto(url)
        elsewhere.get_by_role("heading", name="Model", exact=True).wait_for()

        runs.write_exit(folder, "paused", "paused on request")
        for watcher in (one, two):
            watcher.get_by_role("button", name="Resume").wait_for()
        elsewhere.get_by_test_id("stToast").filter(has_text="mine is paused").wait_for()
        (folder / "exit.json").unlink()  # somebody resumes it: both see that it runs again
        runs.update_status(folder, iteration=2, epoch=3, heartbeat=time.time())
        for watcher in (one, two):
            watcher.get_by_text("iteration 2 of 4: retraining, epoch 3 of 4").wait_for()

        one.get_by_role("button", name="Finish after this iteration").click()
        two.get_by_text("it finishes after this iteration").wait_for()
        assert runs.requested(folder) == "finish"
        two.locator("button:disabled", has_text="Finish after this iteration").wait_for()

        runs.write_exit(folder, "finished", "finished on request after iteration 2")
        for watcher in (one, two):
            said = watcher.get_by_test_id("stAlert").filter(has_text="Finished: 2.50× smaller at 98.70% test accuracy.")
            said.wait_for()
            watcher.get_by_role("button", name="See the report").wait_for()
        for person in (one, two, elsewhere):  # who does not look at it learns of it too
            person.get_by_test_id("stToast").filter(has_text=re.compile("mine has finished: 2.50×")).wait_for()
        for context in contexts:
            context.close()
        assert json.loads((folder / "status.json").read_text("utf-8"))["iteration"] == 2, "the page only reads"
