"""The box at the top of the page that shows how a run ended."""

import pytest

from dashboard.widgets import notices
from tests.dashboard.fakes import halved_run
from tests.dashboard.pages import page
from trimcore import runs


def test_a_failed_run_shows_the_reason(run):
    (run / "exit.json").write_text('{"state": "failed", "reason": "No space left on device", "code": 1}')
    app = page("run", run=run.name)
    assert "No space left on device" in app.error[0].value
    assert "Resume" in [button.label for button in app.button]


def test_a_lost_run_can_be_resumed(run):
    (run / "exit.json").unlink(missing_ok=True)
    dead = {"pid": 1, "started": 0.0, "host": "elsewhere"}
    others = {"outcome": None, "launcher": None, "supervisor": None}
    runs.update_status(run, state="running", trainer=dead, heartbeat=0.0, **others)
    app = page("run", run=run.name)
    assert "lost" in app.error[0].value
    assert "Resume" in [button.label for button in app.button]


def test_a_finished_run_shows_its_result_and_links_to_the_report(runs_folder):
    app = page("run", run=halved_run(runs_folder))
    assert app.success[0].value == "**Finished: 2.50× smaller at 98.70% test accuracy.** All steps are done."
    app.button(key="to_report_at_once").click().run()
    assert not app.exception
    assert app.title[0].value == "Report"


@pytest.mark.parametrize(("state", "kind"), [("failed", "error"), ("stopped", "info")])
def test_other_outcomes_show_the_reason(runs_folder, state, kind):
    run_id = halved_run(runs_folder)
    runs.write_exit(runs_folder / run_id, state, "the *disk* is full")
    app = page("run", run=run_id)
    assert notices.OUTCOMES[state] in getattr(app, kind)[0].value
    assert r"The \*disk\* is full." in getattr(app, kind)[0].value
    assert "Resume" in [button.label for button in app.button]
