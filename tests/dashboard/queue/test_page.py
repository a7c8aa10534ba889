"""The page Queue: what it shows of working, waiting, held and lost runs, and what its buttons do."""

import os
import time
from datetime import UTC, datetime

import pytest
from filelock import FileLock

from dashboard.queue import times
from dashboard.session import queue_reader
from dashboard.text import clock
from tests.dashboard.fakes import active_run, halved_run
from tests.dashboard.pages import button, click, page, texts
from tests.dashboard.serving import ROOT, serving
from trimcore import runs
from trimcore.jobs import control, queue, reordering
from trimcore.jobs.locks import lock_path
from trimcore.runs.place import place_of
from trimcore.system.files import read_json


@pytest.fixture(autouse=True)
def always_fresh(monkeypatch):
    monkeypatch.setattr(queue_reader, "FRESH", 0.0)


@pytest.fixture
def three(runs_folder) -> list[str]:
    """Three runs that wait for the CPU behind one that works, in order."""
    active_run(runs_folder, name="at work", queued_at=1.0, started_at=time.time() - 60, eta_seconds=600.0)
    return [active_run(runs_folder, name=name, queued_at=float(at), state="queued", started_at=None)
            for at, name in enumerate(("one", "two", "three"), 2)]  # fmt: skip


def rows(app) -> list[str]:
    """The names of the waiting runs as the page lists them."""
    found = [element.value.partition("  \n")[0] for element in app.markdown if element.value.startswith("**")]
    return [text.split("** ")[1].split(" ·")[0].split(": ")[-1] for text in found if text[2].isdigit()]


def press(app, label: str, run_id: str, device: str = "cpu"):
    key = f"{label} {device} {run_id}".replace(" ", "_").lower()
    app.button(key=key).click().run()
    assert not app.exception
    return app


def test_without_runs_it_says_what_to_do(no_runs):
    app = page("queue")
    assert "Nothing runs and nothing waits." in app.info[0].value
    assert button(app, "Open Model")
    assert not no_runs.exists()


def test_ended_runs_are_not_in_the_queue(runs_folder):
    halved_run(runs_folder)
    assert "Nothing runs and nothing waits." in page("queue").info[0].value


def test_it_shows_what_works_and_what_waits_in_order_with_times(three, runs_folder):
    app = page("queue")
    assert rows(app) == ["one", "two", "three"]
    shown = texts(app)
    assert "**Running**: iteration 1 of 4, retraining, epoch 2 of 4" in shown
    assert "ends about " in shown
    assert ", in 10 min" in shown
    assert shown.count("starts about ") == 1, "only the next one is known to start when the working run ends"
    assert shown.count("start not known yet") == 2
    assert "3 runs waiting" in shown
    assert [bar.proto.value for bar in app.get("progress")] == [40]


def test_the_buttons_change_the_order(three, runs_folder):
    app = page("queue")
    assert rows(press(app, "Up", three[2])) == ["one", "three", "two"]
    assert rows(press(app, "Down", three[0])) == ["three", "one", "two"]
    assert rows(press(app, "First", three[1])) == ["two", "three", "one"]
    for label, run_id, idle in (("up", three[1], True), ("first", three[1], True), ("down", three[0], True),
                                ("down", three[1], False), ("first", three[0], False)):  # fmt: skip
        assert app.button(key=f"{label}_cpu_{run_id}".lower()).disabled == idle
    assert "held until it is released" in texts(press(app, "Hold", three[2]))
    assert place_of(runs_folder / three[2], 0.0).held
    press(app, "Release", three[2])
    assert not place_of(runs_folder / three[2], 0.0).held
    press(app, "Take out", three[0])
    assert runs.requested(runs_folder / three[0]) == "stop"
    assert "being taken out" in texts(app)
    assert app.button(key=f"hold_cpu_{three[0]}".lower()).disabled


def test_a_button_that_comes_too_late_says_so(three, runs_folder):
    app = page("queue")
    runs.update_status(runs_folder / three[0], state="running")
    press(app, "Hold", three[0])
    assert f"run '{three[0]}' does not wait in the queue: it is running" in app.error[0].value.replace("\\", "")
    assert rows(app) == ["two", "three"]


def test_the_run_that_works_can_be_opened(three, runs_folder):
    app = click(page("queue"), "Open")
    assert "at work" in texts(app)
    assert app.title[0].value == "Run"


def test_a_run_on_two_devices_stands_at_both(runs_folder):
    both = active_run(runs_folder, name="both", state="queued", device_key="cuda:0", more_devices=["cuda:1"])
    app = page("queue")
    assert rows(app) == ["both", "both"]
    assert "also on cuda:1" in texts(app).replace("\\", "")
    assert texts(app).count("No run works on this device.") == 2
    press(app, "Hold", both, "cuda-1")
    assert place_of(runs_folder / both, 0.0).held


def test_long_lines_are_shown_in_parts(runs_folder):
    for at in range(25):
        active_run(runs_folder, name=f"run {at}", state="queued", queued_at=float(at))
    app = page("queue")
    assert rows(app) == [f"run {at}" for at in range(10)]
    click(app, "Show 10 more of 15")
    assert len(rows(app)) == 20
    click(app, "Show 5 more of 5")
    assert len(rows(app)) == 25


def test_lost_runs_are_put_back_in_order(three, runs_folder, monkeypatch):
    reordering.move(runs_folder, three[2], "first")
    for run_id in runs.list_runs(runs_folder):
        runs.update_status(runs_folder / run_id, supervisor=None, trainer={"pid": 1}, launcher=None)
    me = queue.processes.identity()
    monkeypatch.setattr(control, "_start_supervisor", lambda folder: runs.update_status(folder, supervisor=me))
    app = page("queue")
    assert "**3 runs lost while they waited**" in texts(app)
    click(app, "Put back in order")
    assert rows(app) == ["three", "one", "two"]
    assert "lost while" not in texts(app)


def test_the_run_page_says_that_a_run_is_held(three, runs_folder):
    reordering.hold(runs_folder, three[0])
    assert "it is held until somebody releases it on **Queue**" in texts(page("run", run=three[0]))
    assert "behind **at work**" in texts(page("run", run=three[1]))


def test_all_viewers_share_one_reading(three, monkeypatch):
    monkeypatch.setattr(queue_reader, "FRESH", 60.0)
    queue_reader.forget()
    first = queue_reader.read()
    assert queue_reader.read() is first
    queue_reader.forget()
    assert queue_reader.read() is not first


@pytest.mark.parametrize(("then", "text"), [(0, "10:00"), (50_400, "2 Mar, 00:00"), (-86_400, "28 Feb, 10:00")])
def test_a_time_of_another_day_has_its_date(then, text):
    now = datetime(2026, 3, 1, 10, tzinfo=UTC).timestamp()
    assert clock(now + then, now, UTC) == text


def test_an_unknown_zone_is_this_machines(monkeypatch):
    for name in ("", None, "../../etc/passwd", "Nowhere/Land", "x" * 5000):
        monkeypatch.setattr(times.st, "context", type("Context", (), {"timezone": name}))
        assert times.zone() is None


@pytest.mark.browser
def test_a_queue_of_five_runs_in_the_order_made_on_the_page(chromium, runs_folder, make_spec, tmp_path, eventually):
    """One is moved to the front, one up, one is held and released, one taken out; then the device becomes free."""
    log, context = str(tmp_path / "server.log"), chromium.new_context(viewport={"width": 420, "height": 900})
    try:
        with FileLock(lock_path(runs_folder, "cpu", "trainer")):  # somebody else uses the device
            specs = [make_spec(name=f"run {n}", base={"epochs": 0}, step=[]) for n in range(5)]
            ids = [control.launch(one, runs_folder) for one in specs]
            with serving("dashboard/app.py", ROOT, TRIMCORE_RUNS=str(runs_folder), log=log) as (url, _):
                view = context.new_page()
                view.set_default_timeout(120_000)
                view.goto(f"{url}/queue")

                def act(number: int, name: str) -> None:
                    row = view.locator(f".st-key-waiting_cpu_{ids[number]}")
                    row.get_by_role("button", name=name, exact=True).click()

                def order() -> list[int]:
                    return [ids.index(entry.run_id) for entry in queue.waiting(runs_folder)]

                act(4, "First")
                eventually(lambda: order() == [4, 0, 1, 2, 3])
                act(3, "Up")
                eventually(lambda: order() == [4, 0, 1, 3, 2])
                act(1, "Take out")
                eventually(lambda: order() == [4, 0, 3, 2])
                act(0, "Hold")
                view.get_by_text("held until it is released").wait_for()
                names = view.locator("[class*=st-key-waiting_cpu_] p", has_text="run ")
                eventually(lambda: [text.split("run ")[1][0] for text in names.all_text_contents()] == list("4032"))
        free = [ids[4], ids[3], ids[2]]
        for run_id in free:
            eventually(lambda run_id=run_id: runs.state_of(runs_folder / run_id).state == "finished", 240)
        assert runs.state_of(runs_folder / ids[0]).state == "queued", "held, although the server has stopped"
        reordering.release(runs_folder, ids[0])
        eventually(lambda: runs.state_of(runs_folder / ids[0]).state == "finished")
    finally:
        context.close()
        for entry in queue.waiting(runs_folder):  # only after a failure
            reordering.take_out(runs_folder, entry.run_id)
    began = {run_id: next(runs.read_events(runs_folder / run_id))["time"] for run_id in (*free, ids[0])}
    assert sorted(began, key=began.__getitem__) == [*free, ids[0]]
    assert read_json(runs_folder / ids[1] / "status.json")["state"] == "stopped"
    assert not os.path.exists(runs_folder / ids[1] / "events.jsonl")
