"""Names, notes and tags of runs; parents and branches; and deletion, which spares runs that are in use."""

import json
import os

import pytest

from trimcore import runs
from trimcore.errors import RunError
from trimcore.system import processes


@pytest.fixture
def run(runs_folder):
    """run("lenet5", parent=("id", 2), state="finished") creates a run folder and returns its id."""

    def make(model: str = "lenet5", parent: tuple[str, int] | None = None, state: str = "finished") -> str:
        spec = f'model = "{model}"\n'
        if parent:
            spec += f'[parent]\nrun = "{parent[0]}"\niteration = {parent[1]}\n'
        folder = runs.create(runs_folder, model, spec)
        if state == "running":
            runs.update_status(folder, state="running", trainer=processes.identity())
        else:
            runs.write_exit(folder, state, "")
        return folder.name

    return make


def test_notes_can_be_written_and_changed(run, runs_folder):
    run_id = run(state="running")  # running runs can be annotated too
    assert runs.notes_of(runs_folder / run_id) == runs.Notes()
    runs.write_notes(runs_folder, run_id, runs.Notes("  best so far ", "line one\nline two ü", (" a", "b", "a", " ")))
    assert runs.notes_of(runs_folder / run_id) == runs.Notes("best so far", "line one\nline two ü", ("a", "b"))
    runs.write_notes(runs_folder, run_id, runs.Notes("other"))
    assert runs.notes_of(runs_folder / run_id) == runs.Notes("other")


@pytest.mark.parametrize(
    ("notes", "line"),
    [
        (runs.Notes("x" * 81), "a name has at most 80 characters, not 81"),
        (runs.Notes(note="x" * 4_001), "a note has at most 4000 characters"),
        (runs.Notes(tags=("x" * 41,)), "a tag has at most 40 characters"),
        (runs.Notes(tags=tuple(map(str, range(21)))), "at most 20 tags, not 21"),
        (runs.Notes("two\nlines"), "a name or tag has to be a single line"),
        (runs.Notes(tags=("two\nlines",)), "a name or tag has to be a single line"),
    ],
)
def test_invalid_notes_are_refused_and_nothing_changes(run, runs_folder, notes, line):
    run_id = run()
    runs.write_notes(runs_folder, run_id, runs.Notes("kept"))
    with pytest.raises(RunError, match=line):
        runs.write_notes(runs_folder, run_id, notes)
    assert runs.notes_of(runs_folder / run_id) == runs.Notes("kept")


@pytest.mark.parametrize("content", ["", "[]", '{"name": 3}', '{"tags": "a"}', "{"])
def test_damaged_notes_count_as_empty(run, runs_folder, content):
    run_id = run()
    (runs_folder / run_id / "notes.json").write_text(content)
    assert runs.notes_of(runs_folder / run_id) == runs.Notes()


def test_notes_of_a_missing_run_are_refused(runs_folder):
    with pytest.raises(RunError, match="there is no run 'gone'"):
        runs.write_notes(runs_folder, "gone", runs.Notes("x"))
    with pytest.raises(RunError, match="is not a run id"):
        runs.write_notes(runs_folder, "../gone", runs.Notes("x"))


def test_parents_and_children(run, runs_folder):
    root, other = run(), run("vgg16-small")
    child = run(parent=(root, 2))
    grandchild, sibling = run(parent=(child, 1)), run(parent=(root, 0))
    (runs_folder / other / "spec.toml").write_text("not = [toml")
    assert runs.parents(runs_folder) == {
        root: None, other: None, child: (root, 2), grandchild: (child, 1), sibling: (root, 0),
    }  # fmt: skip
    assert runs.children(runs_folder, root) == sorted([child, sibling])
    assert runs.children(runs_folder, grandchild) == []
    assert runs.parents(runs_folder / "nowhere") == {}


def test_deleting_a_run_removes_all_its_files(run, runs_folder):
    keep, gone = run(), run()
    (runs_folder / gone / "checkpoints" / "iteration-00.pt").write_bytes(b"x")
    runs.delete(runs_folder, gone)
    assert runs.list_runs(runs_folder) == [keep]
    assert os.listdir(runs_folder) == [keep]


@pytest.mark.parametrize("state", ["stopped", "paused", "failed", "lost"])
def test_an_ended_run_can_be_deleted(run, runs_folder, state):
    runs.delete(runs_folder, run(state=state))
    assert runs.list_runs(runs_folder) == []


def test_active_runs_and_runs_with_branches_cannot_be_deleted(run, runs_folder):
    root = run()
    child = run(parent=(root, 1))
    with pytest.raises(RunError, match=f"run '{root}' has branches: delete '{child}' first"):
        runs.delete(runs_folder, root)
    running = run(state="running")
    with pytest.raises(RunError, match=f"run '{running}' is running: stop it first"):
        runs.delete(runs_folder, running)
    assert set(runs.list_runs(runs_folder)) == {root, child, running}
    runs.delete(runs_folder, child)
    runs.delete(runs_folder, root)


def test_only_runs_can_be_deleted(run, runs_folder, tmp_path):
    run()
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "spec.toml").write_text("")
    (runs_folder / "linked").symlink_to(tmp_path / "precious")
    for name in ("..", "../precious", "gone", "linked", ""):
        with pytest.raises(RunError):
            runs.delete(runs_folder, name)
    assert (tmp_path / "precious" / "spec.toml").exists()


def test_notes_are_stored_as_plain_json(run, runs_folder):
    run_id = run()
    runs.write_notes(runs_folder, run_id, runs.Notes("n", "m", ("t",)))
    assert json.loads((runs_folder / run_id / "notes.json").read_text()) == {"name": "n", "note": "m", "tags": ["t"]}
