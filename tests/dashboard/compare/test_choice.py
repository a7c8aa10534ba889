"""The choice of runs to compare: the table, filtered by tags."""

from tests.dashboard.fakes import NARROWER, fake_run
from tests.dashboard.pages import page, texts
from trimcore import runs


def test_the_table_is_filtered_by_tags(run_id, runs_folder):
    other = fake_run(runs_folder, {"name": "other"}, NARROWER, [0.9, 0.8])
    assert not any(box.key == "tags_wanted" for box in page("compare").multiselect), "without tags there is no filter"
    runs.write_notes(runs_folder, run_id, runs.Notes(tags=("a", "b")))
    runs.write_notes(runs_folder, other, runs.Notes(tags=("b",)))
    app = page("compare")
    assert app.multiselect(key="tags_wanted").options == ["a", "b"]
    app.multiselect(key="tags_wanted").set_value(["b"]).run()
    assert len(app.dataframe[0].value) == 2
    app.multiselect(key="tags_wanted").set_value(["a", "b"]).run()
    assert [name.split(" · ")[0] for name in app.dataframe[0].value.run] == ["as launched"]
    runs.write_notes(runs_folder, run_id, runs.Notes(tags=("a",)))
    app.run()
    assert "No run has all of these tags" in texts(app)


def test_settings_that_are_the_same_in_all_runs_are_said_once(run_id, runs_folder):
    fake_run(runs_folder, {"name": "other", "seed": 7}, NARROWER, [0.9, 0.8])
    app = page("compare")
    table = app.dataframe[0].value
    assert "seed" in table
    assert not {"model", "data", "criterion"} & set(table)
    assert "The same in all runs: model lenet5, data mnist\\-5k." in texts(app)
