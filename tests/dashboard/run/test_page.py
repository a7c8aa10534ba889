"""The page Run: requests to a run, and two viewers at once."""

import json
import re
import time

import pytest

from tests.dashboard.fakes import active_run, halved_run
from tests.dashboard.pages import page, texts
from tests.dashboard.serving import ROOT, serving
from trimcore import runs


@pytest.mark.parametrize(
    ("asked", "text"),
    [("finish", "finishes after this iteration"), ("pause", "pauses after this epoch"),
     ("stop", "stops at the next batch")],
)  # fmt: skip
def test_a_request_is_shown_and_disables_its_button(runs_folder, asked, text):
    run_id = active_run(runs_folder)
    runs.request(runs_folder / run_id, asked)
    app = page("run", run=run_id)
    assert text in texts(app)
    disabled = {button.label for button in app.button if button.disabled}
    three = {"Pause", "Finish after this iteration", "Stop…"}
    assert disabled & three == {"finish": {"Finish after this iteration"}, "pause": {"Pause"}, "stop": three}[asked]


@pytest.mark.browser
def test_two_viewers_see_the_same(chromium, runs_folder, tmp_path):
    """The run has made-up events, so that both viewers see the same moment."""
    run_id = active_run(runs_folder)
    folder, finished = runs_folder / run_id, halved_run(runs_folder)
    (folder / "events.jsonl").write_text((runs_folder / finished / "events.jsonl").read_text("utf-8"), "utf-8")
    log = str(tmp_path / "server.log")
    with serving("dashboard/app.py", ROOT, TRIMCORE_RUNS=str(runs_folder), log=log) as (url, _):
        contexts = [chromium.new_context(viewport={"width": 1280, "height": 900}) for _ in range(3)]
        one, two, elsewhere = [context.new_page() for context in contexts]
        for watcher in (one, two):
            watcher.set_default_timeout(60_000)
            watcher.goto(f"{url}/run?run={run_id}")
            watcher.get_by_text("iteration 1 of 4, retraining, epoch 2 of 4").wait_for()
        elsewhere.set_default_timeout(60_000)
        elsewhere.goto(f"{url}/model")
        elsewhere.get_by_role("heading", name="Model", exact=True).wait_for()

        runs.write_exit(folder, "paused", "paused on request")
        for watcher in (one, two):
            watcher.get_by_role("button", name="Resume").wait_for()
        elsewhere.get_by_test_id("stToast").filter(has_text="mine is paused").wait_for()
        (folder / "exit.json").unlink()  # another user resumes it, and both viewers see that it is running
        runs.update_status(folder, iteration=2, epoch=3, heartbeat=time.time())
        for watcher in (one, two):
            watcher.get_by_text("iteration 2 of 4, retraining, epoch 3 of 4").wait_for()

        one.get_by_role("button", name="Finish after this iteration").click()
        two.get_by_text("; finishes after this iteration").wait_for()
        assert runs.requested(folder) == "finish"
        two.locator("button:disabled", has_text="Finish after this iteration").wait_for()

        runs.write_exit(folder, "finished", "finished on request after iteration 2")
        for watcher in (one, two):
            box = watcher.get_by_test_id("stAlert").filter(has_text="Finished: 2.50× smaller at 98.70% test accuracy.")
            box.wait_for()
            watcher.get_by_role("button", name="Open report").first.wait_for()
        for viewer in (one, two, elsewhere):  # also on other pages
            viewer.get_by_test_id("stToast").filter(has_text=re.compile("mine has finished: 2.50×")).wait_for()
        for context in contexts:
            context.close()
        assert json.loads((folder / "status.json").read_text("utf-8"))["iteration"] == 2, "the page only reads"
