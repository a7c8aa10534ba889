"""Names, notes and tags on the pages, shown as they were written; and deleting, which asks and says why it cannot."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest

from dashboard import notes, repeating, store
from tests.dashboard.fakes import fake_run
from tests.dashboard.test_pages import APP, page, texts
from trimcore import runs, spec
from trimcore.errors import RunError
from trimcore.jobs import control
from trimcore.system import processes

WIDTHS = [{"conv1": 20, "conv2": 50, "fc1": width} for width in (500, 300)]
MARKUP = "<b>x</b> *y* [z](http://example.org) www.example.org\n    # not a heading\n1. no list"


@pytest.fixture
def run(runs_folder) -> str:
    return fake_run(runs_folder, {"name": "as launched"}, WIDTHS, [0.99, 0.98])


def branch_of(folder, parent: str, iteration: int) -> str:
    made = fake_run(folder, {}, WIDTHS[1:], [0.98])
    asked = spec.load(folder / made / "spec.toml")
    begun = asked.model_copy(update={"parent": spec.Parent(run=parent, iteration=iteration)})
    (folder / made / "spec.toml").write_text(spec.dumps(begun), "utf-8")
    return made


def field(widgets, label: str):
    return next(widget for widget in widgets if widget.label == label)


def test_the_form_shows_what_is_there(run, runs_folder):
    for name, tags in (("one", ("a",)), ("two", ())):
        runs.write_notes(runs_folder, run, runs.Notes(name, f"note {name}", tags))
        app = page("compare", run=run)
        assert field(app.text_input, "Name").value == name
        assert field(app.text_area, "Note").value == f"note {name}"
        assert field(app.multiselect, "Tags").value == list(tags)
        assert field(app.text_input, "Name").proto.default == name, "the form may be opened much later"


def test_the_form_writes_and_every_list_shows_the_name(run, runs_folder):
    app = page("compare", run=run)
    field(app.text_input, "Name").set_value("best so far")
    field(app.text_area, "Note").set_value(MARKUP)
    field(app.multiselect, "Tags").set_value(["paper", "lenet"])
    next(button for button in app.button if button.label == "Save").click().run()
    assert not app.exception
    assert runs.notes_of(runs_folder / run) == runs.Notes("best so far", MARKUP, ("paper", "lenet"))
    assert app.dataframe[0].value.run[0].startswith("best so far · ")
    assert list(app.dataframe[0].value.tags[0]) == ["paper", "lenet"]
    assert any("best so far" in option for option in app.selectbox(key="run_choice").options)
    report = page("report", run=run)
    assert "best so far" in report.caption[0].value or "best so far" in texts(report)
    assert "Tags: paper, lenet" in texts(report)


def test_a_note_is_text_and_nothing_else(run, runs_folder):
    runs.write_notes(runs_folder, run, runs.Notes("*n* <i>", MARKUP, ("[t](http://example.org)",)))
    for name in ("compare", "report"):
        app = page(name, run=run)
        assert [text.value for text in app.text] == [MARKUP], "as a text element, which knows no Markdown"
        assert MARKUP not in texts(app)
        assert "[t](http" not in texts(app)
    assert "*n* <i>" not in texts(app)


def test_what_is_refused_is_a_notice_and_nothing_changes(run, runs_folder):
    app = page("compare", run=run)
    field(app.multiselect, "Tags").set_value(["x" * 41])
    next(button for button in app.button if button.label == "Save").click().run()
    assert "a tag has at most 40 characters" in app.error[0].value.replace("\\", "")
    assert runs.notes_of(runs_folder / run) == runs.Notes()


def test_a_name_that_is_taken_away_leaves_that_of_the_spec(run, runs_folder):
    runs.write_notes(runs_folder, run, runs.Notes("other"))
    assert store.title(run).startswith("other · ")
    runs.write_notes(runs_folder, run, runs.Notes(""))
    assert store.title(run).startswith("as launched · ")
    assert store.short_title(run) == "as launched"


def test_the_table_is_filtered_by_tags(run, runs_folder):
    other = fake_run(runs_folder, {"name": "other"}, WIDTHS, [0.9, 0.8])
    assert not any(box.key == "tags_wanted" for box in page("compare").multiselect), "no tags, no filter"
    runs.write_notes(runs_folder, run, runs.Notes(tags=("a", "b")))
    runs.write_notes(runs_folder, other, runs.Notes(tags=("b",)))
    app = page("compare")
    assert app.multiselect(key="tags_wanted").options == ["a", "b"]
    app.multiselect(key="tags_wanted").set_value(["b"]).run()
    assert len(app.dataframe[0].value) == 2
    app.multiselect(key="tags_wanted").set_value(["a", "b"]).run()
    assert [name.split(" · ")[0] for name in app.dataframe[0].value.run] == ["as launched"]
    runs.write_notes(runs_folder, run, runs.Notes(tags=("a",)))
    app.run()
    assert "No run has all of these tags" in texts(app)


# --- deleting ---


@pytest.mark.parametrize("state", ["finished", "failed", "lost", "running"])
@pytest.mark.parametrize("heirs", [0, 2])
def test_the_page_knows_when_the_shelf_would_refuse(run, runs_folder, state, heirs):
    for _ in range(heirs):
        branch_of(runs_folder, run, 1)
    if state == "running":
        (runs_folder / run / "exit.json").unlink()
        runs.update_status(runs_folder / run, state="running", trainer=processes.identity())
    else:
        runs.write_exit(runs_folder / run, state, "")
    reason = notes.why_it_stays(run)
    app = page("compare", run=run)
    assert app.button(key="delete").disabled is bool(reason)
    if not reason:
        runs.delete(runs_folder, run)
        return
    assert reason.split(",")[0] in texts(app).replace("\\", "")
    with pytest.raises(RunError):
        runs.delete(runs_folder, run)


def test_deleting_asks_first_then_leaves_no_trace(run, runs_folder):
    (runs_folder / run / "checkpoints").mkdir(exist_ok=True)
    (runs_folder / run / "checkpoints" / "iteration-00.pt").write_bytes(b"x" * 2_000_000)
    other = fake_run(runs_folder, {"name": "other"}, WIDTHS, [0.9, 0.8])
    app = AppTest.from_file(APP, default_timeout=60)
    app.query_params["run"] = run
    app.run()
    app.switch_page("views/compare.py").run()
    app.button(key="delete").click().run()
    assert not app.exception
    asked = texts(app).replace("\\", "")
    assert "as launched" in asked
    assert f"`{run}`: 2 iterations with all networks, tables and notes, 2.0 MB on disk" in asked
    assert set(runs.list_runs(runs_folder)) == {run, other}, "not before it is confirmed"
    app.button(key="delete_it").click().run()
    assert not app.exception
    assert runs.list_runs(runs_folder) == [other]
    assert app.session_state.run is None
    assert "run" not in app.query_params
    assert "Deleted: as launched" in app.success[0].value.replace("\\", "")
    app.run()
    assert not app.exception
    assert not app.success, "it is said once"
    assert not app.warning


def test_a_run_that_began_to_be_used_meanwhile_stays(run, runs_folder):
    app = page("compare", run=run)
    app.button(key="delete").click().run()
    branch_of(runs_folder, run, 1)
    app.button(key="delete_it").click().run()
    assert not app.exception
    assert "delete that first" in app.error[0].value.replace("\\", "")
    assert run in runs.list_runs(runs_folder)
    assert app.session_state.run == run


@pytest.mark.parametrize(
    ("size", "said"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (99_499, "99.5 kB"), (150_000, "150 kB"),
     (999_600, "1.0 MB"), (2_000_000, "2.0 MB"), (3_400_000_000, "3.4 GB"), (5e15, "5000 TB")],
)  # fmt: skip
def test_sizes_in_words(size, said):
    assert notes.in_bytes(size) == said


# --- the command line that repeats a run ---


def code(app) -> list[str]:
    return app.code[0].value.splitlines()


def test_the_commands_of_a_run_and_of_a_branch(run, runs_folder):
    branch = branch_of(runs_folder, run, 1)
    there = f" --runs {runs_folder}"
    assert code(page("report", run=run))[0] == f"python -m trimcore run spec.toml{there}"
    lines = code(page("report", run=branch))
    assert lines[0].startswith("#")
    assert lines[1] == f"python -m trimcore branch {run} --iteration 1 spec.toml{there}"
    assert all(line.endswith(there) for line in lines[1:])


def test_what_else_a_repetition_needs_is_said():
    assert repeating.repeat({"model": "lenet5-maxout", "options": {"k": 2}}) == "python -m trimcore run spec.toml"
    own = repeating.repeat({"model": "my.nets:tiny", "base": {"weights": "weights file.pt\nrm -r ~"}})
    assert own.splitlines() == [
        "# in the folder of my.py", "# it begins with the weights in weights file.pt rm -r ~",
        "python -m trimcore run spec.toml",
    ]  # fmt: skip
    assert "weights" not in repeating.repeat({"base": {"weights": "pretrained"}})


@given(st.text(min_size=1), st.text())
def test_nothing_that_is_in_a_spec_becomes_a_command(run, weights):
    import shlex

    spec = {"parent": {"run": run, "iteration": 3}, "model": f"{weights}:x", "base": {"weights": weights}}
    words = shlex.split(repeating.repeat(spec), comments=True)
    assert words == ["python", "-m", "trimcore", "branch", run, "--iteration", "3", "spec.toml"]


def test_the_whole_line_of_a_branch_of_a_branch():
    line = [("a", {}), ("b", {"parent": {"run": "a", "iteration": 2}}), ("c", {"parent": {"run": "b", "iteration": 1}})]
    told = [text for text in repeating.repeat_line(line).splitlines() if not text.startswith("#")]
    assert told == [
        "python -m trimcore run a.toml", "python -m trimcore branch a --iteration 2 b.toml",
        "python -m trimcore branch b --iteration 1 spec.toml",
    ]  # fmt: skip


def test_the_command_is_what_the_command_line_takes(run, runs_folder, tmp_path, monkeypatch):
    """The printed lines, given to the command line itself."""
    import shlex

    from click.testing import CliRunner

    from trimcore.cli.main import cli

    branch = branch_of(runs_folder, run, 1)
    asked = []
    monkeypatch.setattr(control, "launch", lambda spec, folder: asked.append((spec, folder)) or "new")
    monkeypatch.chdir(tmp_path)
    text = (runs_folder / branch / "spec.toml").read_text("utf-8")
    (tmp_path / "spec.toml").write_text(text, "utf-8")
    line = code(page("report", run=branch))[1]
    result = CliRunner().invoke(cli, shlex.split(line)[3:], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert asked == [(spec.loads(text), runs_folder)], "the same spec, the same beginning"
