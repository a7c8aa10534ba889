"""A sweep on the page Compare."""

import json

import pytest

from dashboard.compare import sweep
from tests.dashboard.fakes import active_run, fake_run, judge_by
from tests.dashboard.pages import open_link, page, texts
from trimcore import runs
from trimcore.jobs import sweeps as jobs
from trimcore.runs import sweeps
from trimcore.runs.sweeps import Member
from trimcore.tables import Metric

STEP = [{"layers": ["fc1"], "rule": "fraction", "value": 0.3, "iterations": 2}]
ID = "sweep-20261130-151607-48a9"
BEHIND = "behind run 20260101-0-x (value 0.2, seed 1) at the same size: 90.00% against 95.00%"


def widths(share: float) -> list[dict[str, int]]:
    return [{"conv1": 20, "conv2": 50, "fc1": round(500 * share**k)} for k in range(3)]


@pytest.fixture
def made(runs_folder) -> list[str]:
    """A sweep of two values and two seeds. The last run was stopped because it was behind."""
    found = []
    for point, (value, seed) in enumerate([(0.2, 0), (0.2, 1), (0.6, 0), (0.6, 1)]):
        accuracies, done = [0.99, 0.98 - 0.01 * seed, 0.97 - 0.1 * value], 2 if point == 3 else 3
        asked = {"name": f"mine · value {value:g}, seed {seed}", "step": STEP, "seed": seed}
        run_id = fake_run(runs_folder, asked, widths(1 - value)[:done], accuracies[:done])
        member = Member(ID, 4, point=point, settings={"step.value": value, "seed": seed}, stop_behind=0.01)
        sweeps.write_member(runs_folder / run_id, member)
        found.append(run_id)
    runs.write_exit(runs_folder / found[3], "stopped", BEHIND)
    sweeps.create_sweep(runs_folder, "")
    return found


def shown(**session):
    app = page("compare", **session)
    app.selectbox(key="sweep_shown").set_value(ID).run()
    assert not app.exception, app.exception
    return app


def table(app):
    return next(frame for frame in app.dataframe if "iterations" in frame.value.columns)


def test_without_sweeps_there_is_no_section(run_id):
    app = page("compare", run=run_id)
    assert "##### Sweep" not in texts(app)


def test_a_sweep_that_has_ended_is_not_shown_until_it_is_chosen(made):
    app = page("compare")
    assert app.selectbox(key="sweep_shown").value is None
    assert app.selectbox(key="sweep_shown").options == ["mine, value × seed: 4 runs, 11/30 15:16"]
    assert "change?" not in texts(app)


def test_the_state_the_charts_and_the_table(made):
    app = shown()
    text = texts(app)
    assert "**3 of 4 runs finished**, 1 stopped: behind." in text
    reason = "value 0.6, seed 1: behind value 0.2, seed 1 at the same size: 90.00% against 95.00%"
    assert reason in text.replace("\\", "")
    for question in ("keep the most accuracy at each size?", "What does value change?", "What does seed change?"):
        assert question in text
    alts = [chart.proto.alt for chart in app.get("plotly_chart")]
    assert sum("of a sweep" in alt or "compression by" in alt for alt in alts) == 3
    rows = table(app).value
    assert rows.value.tolist() == ["0.2", "0.2", "0.6", "0.6"]
    assert rows.state.tolist() == ["finished"] * 3 + ["stopped"]
    assert rows.iterations.tolist() == [2, 2, 2, 1]
    columns = json.loads(table(app).proto.columns)
    assert not [name for name in rows if not columns[name].get("help")]


def test_a_link_shows_the_sweep(made):
    app = open_link("compare", sweep=ID)
    assert "What does seed change?" in texts(app)
    assert "does not exist" in " ".join(toast.value for toast in open_link("compare", sweep="nowhere").toast)


def test_a_loss_is_kept_low(made, runs_folder):
    for run_id in made:
        judge_by(runs_folder / run_id, Metric("MAE", higher_is_better=False, percent=False))
    app = shown()
    assert "Which values keep MAE lowest at each size?" in texts(app)
    assert "validation MAE" in table(app).value.columns


def test_an_active_sweep_is_shown_at_once_and_can_be_stopped(made, runs_folder, monkeypatch):
    asked = []
    monkeypatch.setattr(jobs, "stop", lambda folder, sweep_id: asked.append(sweep_id))
    member = Member(ID, 5, point=4, settings={"step.value": 0.7, "seed": 0})
    sweeps.write_member(runs_folder / active_run(runs_folder), member)
    app = page("compare")
    assert "**3 of 5 runs finished**, 1 stopped: behind, 1 running." in texts(app)
    app.button(key="stop_sweep").click().run()
    assert "1 run will stop" in texts(app)
    assert not asked
    app.button(key="stop_sweep_now").click().run()
    assert asked == [ID]


def test_a_sweep_with_missing_runs_can_be_completed(made, runs_folder, monkeypatch):
    asked = []
    monkeypatch.setattr(jobs, "complete", lambda folder, sweep_id: asked.append(sweep_id))
    assert not [button for button in shown().button if button.key == "complete_sweep"]
    runs.delete(runs_folder, made[2])
    app = shown()
    assert "**2 of 4 runs finished**, 1 stopped: behind, 1 never launched." in texts(app)
    app.button(key="complete_sweep").click().run()
    assert asked == [ID]


def test_a_run_of_the_table_can_be_opened(made):
    app = shown()
    app.session_state.sweep_table = {"selection": {"rows": [2], "columns": [], "cells": []}}
    app.run()
    app.button(key="show_sweep_run").click().run()
    assert app.session_state.run == made[2]


@pytest.mark.parametrize("damage", [
    lambda folder: (folder / "sweep.json").write_text("{"), lambda folder: (folder / "events.jsonl").write_text("{"),
    lambda folder: (folder / "sweep.json").write_text('{"sweep": "' + ID + '", "points": "x"}'),
    lambda folder: (folder / "events.jsonl").unlink(), lambda folder: (folder / "status.json").unlink(),
    lambda folder: judge_by(folder, Metric("MAE", higher_is_better=False, percent=False)),
])  # fmt: skip
@pytest.mark.parametrize("number", [0, 3])
def test_a_damaged_run_does_not_spoil_the_page(made, runs_folder, damage, number):
    damage(runs_folder / made[number])
    assert "What does value change?" in texts(shown())


def test_before_the_first_iteration_there_is_nothing_to_draw(runs_folder):
    run_id = active_run(runs_folder)
    sweeps.write_member(runs_folder / run_id, Member(ID, 2, point=0, settings={"seed": 0}))
    app = page("compare")
    assert "No run has finished an iteration yet" in texts(app)
    assert len(table(app).value) == 1


def test_values_are_drawn_in_their_order(made):
    points = {run_id: Member(ID, 3, point=k, settings={"step.value": value})
              for k, (run_id, value) in enumerate(zip("abc", [10.0, 2.0, 1.5], strict=True))}  # fmt: skip
    results = sweep.pd.DataFrame({"step.value": ["10", "2", "1.5"]})
    assert sweep._in_order(results, points, "step.value")["step.value"].tolist() == ["1.5", "2", "10"]
