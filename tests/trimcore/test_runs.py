"""Run folders: names that stay inside, states that are true, files that are never half written."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from trimcore import runs
from trimcore.errors import RunError
from trimcore.system import processes
from trimcore.system.files import read_json, write_atomic

ID = "20260101-093000-lenet5-1a2b"
OTHER_HOST = "another-" + socket.gethostname()


@pytest.fixture
def folder(runs_folder) -> Path:
    made = runs_folder / ID
    (made / "checkpoints").mkdir(parents=True)
    (made / "spec.toml").write_text("")
    return made


@pytest.fixture
def me() -> dict:
    return processes.identity()


@pytest.fixture
def dead() -> dict:
    """A process that has been, with a pid that nobody has now."""
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as process:
        found = processes.identity(process.pid)
    return found


def write(folder: Path, name: str, **values) -> None:
    (folder / name).write_text(json.dumps(values))


# --- names and places ---


def test_where_runs_are_kept(runs_folder, monkeypatch):
    assert runs.runs_folder("elsewhere") == Path("elsewhere")
    assert runs.runs_folder() == runs_folder
    monkeypatch.delenv("TRIMCORE_RUNS")
    assert runs.runs_folder() == Path("runs")


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "a/..", "a/b", "/etc", "a\\b", "a..b", ".hidden", "-x", "ü" * 3, "a b", "a\n", "a\0", "~",
     "x" * 101, "%2e%2e", "２０２６", ".locks"],
)  # fmt: skip
def test_a_name_that_is_no_run_id_is_refused(runs_folder, folder, name):
    with pytest.raises(RunError, match="is not a run id") as error:
        runs.open_run(runs_folder, name)
    assert repr(name) in str(error.value)


def test_a_run_is_opened_by_its_id_and_only_inside(runs_folder, folder, tmp_path):
    assert runs.open_run(runs_folder, ID) == folder
    with pytest.raises(RunError, match="there is no run 'nobody'"):
        runs.open_run(runs_folder, "nobody")
    (runs_folder / "empty").mkdir()
    with pytest.raises(RunError, match="there is no run 'empty'"):
        runs.open_run(runs_folder, "empty")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "spec.toml").write_text("")
    (runs_folder / "link").symlink_to(outside)
    with pytest.raises(RunError, match="lies outside"):
        runs.open_run(runs_folder, "link")
    (tmp_path / "shortcut").symlink_to(runs_folder)
    assert runs.open_run(tmp_path / "shortcut", ID) == tmp_path / "shortcut" / ID


def test_runs_are_listed_newest_first(runs_folder, folder):
    for name in ("20251231-235959-lenet5-ffff", "20260102-000000-vgg16-0000"):
        (runs_folder / name).mkdir()
        (runs_folder / name / "spec.toml").write_text("")
    (runs_folder / "no-run").mkdir()
    (runs_folder / ".locks").mkdir()
    assert runs.list_runs(runs_folder) == ["20260102-000000-vgg16-0000", ID, "20251231-235959-lenet5-ffff"]
    assert runs.list_runs(runs_folder / "nowhere") == []


def test_a_new_run_has_a_fresh_id_and_its_spec(runs_folder):
    made = {runs.create(runs_folder, "my/odd model", f"seed = {i}") for i in range(3)}
    assert len(made) == 3
    assert sorted((path / "spec.toml").read_text() for path in made) == ["seed = 0", "seed = 1", "seed = 2"]
    for path in made:
        assert runs.open_run(runs_folder, path.name) == path
        assert "-my-odd-model-" in path.name
        assert (path / "checkpoints").is_dir()


def test_a_runs_folder_that_cannot_be_used(tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(RunError, match="cannot create a run in .* choose another folder") as error:
            runs.create(place, "lenet5", "")
        assert str(place) in str(error.value)
    assert runs.list_runs(tmp_path / "file") == []


# --- files ---


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_whole(tmp_path, monkeypatch, failing):
    path = tmp_path / "status.json"
    write_atomic(path, "old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, failing, full)
    with pytest.raises(OSError, match="No space"):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["status.json"]


def test_a_write_is_exact_and_replaces_the_file(tmp_path):
    path = tmp_path / "a.csv"
    write_atomic(path, "old")
    with open(path) as reader:
        write_atomic(path, "größe\r\nx\n")
        assert reader.read() == "old"  # who had it open still reads the old one
    assert path.read_bytes() == "größe\r\nx\n".encode()


@pytest.mark.parametrize("content", [None, b"", b'{"a": 1', b"[1]", b"\xff\xfe", b"null"])
def test_json_that_cannot_be_read_is_empty(tmp_path, content):
    if content is not None:
        (tmp_path / "x.json").write_bytes(content)
    assert read_json(tmp_path / "x.json") == {}


def test_status_entries_are_changed_one_by_one(folder):
    runs.update_status(folder, state="queued", epoch=1)
    runs.update_status(folder, state="running")
    assert read_json(folder / "status.json") == {"state": "running", "epoch": 1}
    (folder / "status.json").write_text('{"state": "run')
    runs.update_status(folder, epoch=2)
    assert read_json(folder / "status.json") == {"epoch": 2}


def test_torn_lines_of_events_are_passed_over(folder):
    assert list(runs.read_events(folder)) == []
    lines = [b'{"seq": 1, "kind": "a"}', b'{"seq": 2, "ki', b"", b"17", b"\xff\xff", b'{"seq": 3, "kind": "c"}']
    (folder / "events.jsonl").write_bytes(b"\n".join([*lines, b'{"seq": 4, "kind"']))
    assert [event["seq"] for event in runs.read_events(folder)] == [1, 3]


def test_the_result_is_the_last_iteration_that_was_good_enough_also_before_the_end():
    events = [{"kind": "iteration", "iteration": 0, "result": 0}, {"kind": "iteration", "iteration": 1, "result": 0}]
    assert runs.result_in(events) == 0
    assert runs.result_in([*events[:1], {"kind": "iteration", "iteration": 1, "result": 1}]) == 1


def test_the_result_is_what_the_end_said_or_the_last_iteration(folder):
    assert runs.result_of(folder) == 0
    row = {"kind": "iteration", "layers_trimmed": [], "widths": {}, "parameters": 1, "compression": 1.0, "macs": 1,
           "macs_ratio": 1.0, "accuracy_final": 1.0}  # fmt: skip
    lines = [{"seq": i + 1, "iteration": i, **row} for i in range(3)]
    (folder / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert runs.result_of(folder) == 2
    lines.append({"seq": 4, "kind": "ended", "reason": "below min_accuracy", "result": 1})
    (folder / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert runs.result_of(folder) == 1
    assert runs.checkpoint_path(folder, 1) == folder / "checkpoints" / "iteration-01.pt"


def test_requests(folder):
    assert runs.requested(folder) == ""
    for action in ("stop", "pause", "finish"):
        runs.request(folder, action)
        assert runs.requested(folder) == action
    write(folder, "request.json", action="explode")
    assert runs.requested(folder) == ""


# --- life and death ---


@pytest.mark.parametrize("role", ["launcher", "supervisor", "trainer"])
@pytest.mark.parametrize("state", ["queued", "starting", "running"])
def test_a_run_is_active_while_a_process_of_it_lives(folder, me, role, state):
    write(folder, "status.json", state=state, fraction=0.25, **{role: me})
    status = runs.state_of(folder)
    assert (status.state, status.active, status.progress, status.run_id) == (state, True, 0.25, ID)
    assert not status.stalled


@pytest.mark.parametrize(
    ("living", "expected"),
    [
        ({"launcher"}, "lost"),  # the launcher is a page that lives for weeks: it vouches only until there is another
        ({"supervisor"}, "running"),
        ({"trainer"}, "running"),
        ({"launcher", "supervisor"}, "running"),
        ({"launcher", "trainer"}, "running"),
        (set(), "lost"),
    ],
)
def test_who_must_live_when_all_have_been_there(folder, me, dead, living, expected):
    roles = {role: me if role in living else dead for role in ("launcher", "supervisor", "trainer")}
    write(folder, "status.json", state="running", **roles)
    assert runs.state_of(folder).state == expected


@pytest.mark.parametrize("change", [{"started": 1.0, "ticks": 1}, {"host": OTHER_HOST}, {"pid": 0}])
def test_another_process_with_the_pid_means_lost(folder, me, change):
    write(folder, "status.json", state="running", trainer={**me, **change}, fraction=0.5)
    status = runs.state_of(folder)
    assert (status.state, status.active, status.progress) == ("lost", False, 0.5)
    assert "left no word" in status.reason


@pytest.mark.parametrize("state", ["stopped", "paused", "finished", "failed"])
def test_the_exit_file_has_the_last_word(folder, me, state):
    write(folder, "status.json", state="running", trainer=me, outcome={"state": "failed", "reason": "no"})
    write(folder, "exit.json", state=state, reason="because", code=0)
    status = runs.state_of(folder)
    assert (status.state, status.reason, status.active) == (state, "because", False)
    assert status.progress == (1.0 if state == "finished" else 0.0)


def test_an_outcome_counts_when_nobody_is_left_to_write_the_exit_file(folder, me, dead):
    said = {"state": "finished", "reason": "all steps are done"}
    write(folder, "status.json", state="running", trainer=dead, supervisor=dead, outcome=said)
    assert (runs.state_of(folder).state, runs.state_of(folder).reason) == ("finished", "all steps are done")
    write(folder, "status.json", state="running", trainer=dead, supervisor=me, outcome=said)
    assert runs.state_of(folder).state == "running"  # the supervisor has still to see that nothing is left
    write(folder, "status.json", state="running", trainer=me, supervisor=dead, outcome=said)
    assert runs.state_of(folder).state == "running"


def test_a_torn_exit_file_or_status_is_as_none(folder, me):
    write(folder, "status.json", state="running", trainer=me)
    (folder / "exit.json").write_text('{"state": "fin')
    assert runs.state_of(folder).state == "running"
    (folder / "status.json").write_text('{"state": "run')
    assert runs.state_of(folder).state == "lost"
    (folder / "exit.json").unlink()
    (folder / "status.json").unlink()
    assert runs.state_of(folder).state == "lost"
    write(folder, "exit.json", state="exploded")
    assert runs.state_of(folder).state == "lost"


@pytest.mark.parametrize(("action", "shown"), [("stop", "stopping"), ("pause", "pausing"), ("finish", "running")])
def test_a_request_shows_until_it_is_followed(folder, me, action, shown):
    write(folder, "status.json", state="running", trainer=me)
    runs.request(folder, action)
    assert runs.state_of(folder).state == shown
    write(folder, "exit.json", state="stopped")
    assert runs.state_of(folder).state == "stopped"


def test_an_old_heartbeat_is_a_warning_and_no_death(folder, me):
    now = time.time()
    for state, age, stalled in (("running", 1, False), ("running", 100, True), ("queued", 100, False)):
        write(folder, "status.json", state=state, trainer=me, heartbeat=now - age)
        assert (runs.state_of(folder).state, runs.state_of(folder).stalled) == (state, stalled)


def test_a_run_of_another_machine_lives_while_it_gives_signs_of_life(folder):
    """On a shared folder a second trainer must not be started beside it."""
    elsewhere = {"pid": 1, "started": 0.0, "host": "elsewhere"}
    runs.update_status(folder, state="running", trainer=elsewhere, heartbeat=time.time())
    assert runs.state_of(folder).state == "running"
    runs.update_status(folder, heartbeat=time.time() - 2 * runs.STALLED_AFTER)
    assert runs.state_of(folder).state == "lost"
