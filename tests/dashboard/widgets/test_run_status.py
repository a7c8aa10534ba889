"""What the panel shows of a run in each state."""

import time

import pytest

from dashboard.session import queue_reader
from dashboard.widgets import run_status
from tests.dashboard.fakes import RUNNING, active_run
from tests.dashboard.pages import page, texts
from trimcore import runs


def status_of(state="running", **values) -> runs.Status:
    return runs.Status("a-run", state, {**RUNNING, **values})


def test_the_panel_shows_state_time_left_rate_memory_and_device(runs_folder):
    app = page("run", run=active_run(runs_folder))
    text = texts(app)
    assert "**Running**: iteration 1 of 4, retraining, epoch 2 of 4" in text
    for value in ("**35 s**", "**2 min**", "**8,310**", "**1.3 of 24 GB**", "cpu, 2 threads, bf16"):
        assert value in text, value
    assert [bar.proto.value for bar in app.get("progress")] == [40, 25]
    assert not app.warning


def test_an_old_run_has_no_memory_and_no_time_left(runs_folder):
    old = dict.fromkeys(("memory", "iteration_eta_seconds", "eta_seconds", "device", "steps"))
    app = page("run", run=active_run(runs_folder, **old))
    assert "GB" not in texts(app)
    assert texts(app).count(f"**{run_status.UNKNOWN}**") == 2


@pytest.mark.parametrize(
    ("value", "text"), [(None, "—"), (0.2, "1 s"), (18.6, "19 s"), (33, "35 s"), (83, "85 s"), (3599, "60 min")]
)
def test_time_left(value, text):
    assert run_status.time_left(value) == text


@pytest.mark.parametrize(("value", "text"), [(None, "—"), (2.44, "2.4"), (12.6, "13"), (123_456.0, "123,000")])
def test_rate(value, text):
    assert run_status.rate(value) == text


def test_an_iteration_without_training_left_is_being_measured():
    assert dict(run_status.readings({"iteration_eta_seconds": 0.0}))["Iteration: time left"] == "measuring"


def test_gpu_memory_has_its_own_reading():
    memory = {"used": 2e9, "total": 128e9, "device_used": 1.26e9, "device_total": 8e9}
    found = dict(run_status.readings({"memory": memory}))
    assert (found["Memory"], found["GPU memory, peak"]) == ("2.0 of 128 GB", "1.3 of 8.0 GB")


def test_a_starting_run_does_not_show_values_of_an_earlier_process(runs_folder):
    app = page("run", run=active_run(runs_folder, state="starting"))
    assert "**Starting**: loading PyTorch" in texts(app)
    assert not app.get("progress")


def test_a_stalled_run_has_a_warning(runs_folder):
    app = page("run", run=active_run(runs_folder, heartbeat=time.time() - 60))
    assert "may be stuck" in app.warning[0].value


def test_a_queued_run_names_the_run_ahead(runs_folder):
    first, second, third, mine = (
        active_run(runs_folder, name=f"run *{number}*", queued_at=float(number), device_key="cpu", state="queued")
        for number in (1, 2, 3, 4)
    )
    assert "behind" not in texts(page("run", run=first))
    assert r"for the device, behind **run \*1\***" in texts(page("run", run=second))
    runs.update_status(runs_folder / second, state="running")  # it was resumed and overtook the first
    queue_reader.forget()
    assert r"behind **run \*2\*** and 2 more" in texts(page("run", run=mine))
    runs.update_status(runs_folder / third, device_key="cuda:0")
    queue_reader.forget()
    assert r"behind **run \*2\*** and 1 more" in texts(page("run", run=mine))


def test_a_branch_that_waits_for_its_base_says_so(runs_folder):
    """The name of a run comes from a person: it is shown as plain text."""
    parent = active_run(runs_folder, "my *base*")
    waiting = active_run(runs_folder, "branch", state="queued", awaits={"run": parent, "iteration": 0})
    assert r"waiting for the base network of **my \*base\***" in texts(page("run", run=waiting))
    runs.checkpoint_path(runs_folder / parent, 0).write_bytes(b"")
    assert "waiting for the device" in texts(page("run", run=waiting))
