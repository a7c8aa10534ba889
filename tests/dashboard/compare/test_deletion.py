"""Deleting a run: the confirmation, and the reasons why a run cannot be deleted."""

import pytest
from streamlit.testing.v1 import AppTest

from dashboard.compare import deletion
from tests.dashboard.fakes import NARROWER, fake_branch, fake_run
from tests.dashboard.pages import APP, page, texts
from trimcore import runs
from trimcore.errors import RunError
from trimcore.system import processes


@pytest.mark.parametrize("state", ["finished", "failed", "lost", "running"])
@pytest.mark.parametrize("branches", [0, 2])
def test_the_button_is_disabled_if_deleting_would_fail(run_id, runs_folder, state, branches):
    for _ in range(branches):
        fake_branch(runs_folder, run_id, 1)
    if state == "running":
        (runs_folder / run_id / "exit.json").unlink()
        runs.update_status(runs_folder / run_id, state="running", trainer=processes.identity())
    else:
        runs.write_exit(runs_folder / run_id, state, "")
    reason = deletion.blocking_reason(run_id)
    app = page("compare", run=run_id)
    assert app.button(key="delete").disabled is bool(reason)
    if not reason:
        runs.delete(runs_folder, run_id)
        return
    assert reason.split(";")[0] in texts(app).replace("\\", "")
    with pytest.raises(RunError):
        runs.delete(runs_folder, run_id)


def test_deleting_asks_for_confirmation_and_removes_everything(run_id, runs_folder):
    (runs_folder / run_id / "checkpoints").mkdir(exist_ok=True)
    (runs_folder / run_id / "checkpoints" / "iteration-00.pt").write_bytes(b"x" * 2_000_000)
    other = fake_run(runs_folder, {"name": "other"}, NARROWER, [0.9, 0.8])
    app = AppTest.from_file(APP, default_timeout=60)
    app.query_params["run"] = run_id
    app.run()
    app.switch_page("compare/page.py").run()
    app.button(key="delete").click().run()
    assert not app.exception
    dialog = texts(app).replace("\\", "")
    assert "as launched" in dialog
    assert f"`{run_id}`: 2 iterations with all checkpoints, tables and notes, 2.0 MB on disk" in dialog
    assert set(runs.list_runs(runs_folder)) == {run_id, other}, "not before the confirmation"
    app.button(key="delete_it").click().run()
    assert not app.exception
    assert runs.list_runs(runs_folder) == [other]
    assert app.session_state.run is None
    assert "run" not in app.query_params
    assert "Deleted as launched" in app.success[0].value.replace("\\", "")
    app.run()
    assert not app.exception
    assert not app.success, "the notice appears once"
    assert not app.warning


def test_a_run_that_got_a_branch_in_the_meantime_is_not_deleted(run_id, runs_folder):
    app = page("compare", run=run_id)
    app.button(key="delete").click().run()
    fake_branch(runs_folder, run_id, 1)
    app.button(key="delete_it").click().run()
    assert not app.exception
    assert "has branches: delete" in app.error[0].value.replace("\\", "")
    assert run_id in runs.list_runs(runs_folder)
    assert app.session_state.run == run_id
