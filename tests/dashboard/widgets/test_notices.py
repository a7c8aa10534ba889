"""The notice that appears on any page when a run ends."""

import pytest

from dashboard.widgets import notices
from tests.dashboard.fakes import active_run, halved_run
from tests.dashboard.pages import page
from trimcore import runs


def events_of(folder, run_id) -> list[dict]:
    return list(runs.read_events(folder / run_id))


def test_result_text(runs_folder):
    events = events_of(runs_folder, halved_run(runs_folder))
    assert notices.result_text(events) == "2.50× smaller at 98.70% test accuracy"
    assert notices.result_text(events[:4]) == "99.00% test accuracy"  # the base only
    assert notices.result_text([]) == ""
    zeros = {"kind": "weights", "iteration": 1, "layers": {"fc1": {"weights": 100, "zeros": 50, "cut": []}}}
    pruned = [{**event, "nonzero_parameters": 11_400} if event.get("result") == 1 else event for event in events]
    assert notices.result_text([*pruned, zeros]) == "5.00× fewer non-zero parameters at 98.70% test accuracy"


@pytest.mark.parametrize("name", ["model", "run"])
def test_the_notice_appears_once_on_any_page(runs_folder, name):
    shown = halved_run(runs_folder)
    run_id = active_run(runs_folder, name="*bold*")
    app = page(name, run=shown)
    assert not app.toast
    runs.write_exit(runs_folder / run_id, "failed", "the disk is full")
    app.run()
    assert [toast.value for toast in app.toast] == [r"**\*bold\*** has failed: the disk is full."]
    app.run()
    assert not app.toast


def test_a_run_resumed_by_another_user_is_announced_again(runs_folder):
    run_id = active_run(runs_folder)
    app, counts = page("model"), []
    for state in ("paused", "", "finished", "finished"):
        if state:
            runs.write_exit(runs_folder / run_id, state, "some reason")
        else:
            (runs_folder / run_id / "exit.json").unlink()
        app.run()
        counts.append(len(app.toast))
    assert counts == [1, 0, 1, 0]


def test_a_run_that_ended_before_is_not_announced(runs_folder):
    app = page("model", run=halved_run(runs_folder))
    app.run()
    assert not app.toast


def test_a_deleted_run_is_not_announced(runs_folder):
    run_id = active_run(runs_folder)
    app = page("model")
    (runs_folder / run_id / "spec.toml").unlink()
    app.run()
    assert not app.exception
    assert (len(app.toast), app.session_state.awaited) == (0, {})


def test_the_notice_of_a_finished_run_has_its_result(runs_folder):
    status = runs.state_of(runs_folder / halved_run(runs_folder))
    assert notices.notice(status) == "**mine** has finished: 2.50× smaller at 98.70% test accuracy."
