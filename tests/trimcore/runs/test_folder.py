"""Run folders: ids cannot leave the runs folder, states are true, and files are never half written."""

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
    """The identity of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as process:
        found = processes.identity(process.pid)
    return found


def write(folder: Path, name: str, **values) -> None:
    (folder / name).write_text(json.dumps(values))


# --- ids and locations ---


def test_the_runs_folder_is_the_given_one_or_the_environments_or_the_default(runs_folder, monkeypatch):
    assert runs.runs_folder("elsewhere") == Path("elsewhere")
    assert runs.runs_folder() == runs_folder
    monkeypatch.delenv("TRIMCORE_RUNS")
    assert runs.runs_folder() == Path("runs")


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "a/..", "a/b", "/etc", "a\\b", "a..b", ".hidden", "-x", "ü" * 3, "a b", "a\n", "a\0", "~",
     "x" * 101, "%2e%2e", "２０２６", ".locks"],
)  # fmt: skip
def test_a_name_that_is_not_a_run_id_is_refused(runs_folder, folder, name):
    with pytest.raises(RunError, match="is not a run id") as error:
        runs.open_run(runs_folder, name)
    assert repr(name) in str(error.value)


def test_a_run_is_opened_by_id_only_inside_the_runs_folder(runs_folder, folder, tmp_path):
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
    with pytest.raises(RunError, match="is outside the runs folder"):
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


def test_a_new_run_has_a_unique_id_and_its_spec(runs_folder):
    made = {runs.create(runs_folder, "my/odd model", f"seed = {i}") for i in range(3)}
    assert len(made) == 3
    assert sorted((path / "spec.toml").read_text() for path in made) == ["seed = 0", "seed = 1", "seed = 2"]
    for path in made:
        assert runs.open_run(runs_folder, path.name) == path
        assert "-my-odd-model-" in path.name
        assert (path / "checkpoints").is_dir()


def test_an_unusable_runs_folder_is_reported(tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(RunError, match="cannot create a run in .* choose another folder") as error:
            runs.create(place, "lenet5", "")
        assert str(place) in str(error.value)
    assert runs.list_runs(tmp_path / "file") == []


# --- files ---


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file_intact(tmp_path, monkeypatch, failing):
    path = tmp_path / "status.json"
    write_atomic(path, "old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, failing, full)
    with pytest.raises(OSError, match="No space"):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["status.json"]


def test_a_write_is_byte_exact_and_replaces_the_file(tmp_path):
    path = tmp_path / "a.csv"
    write_atomic(path, "old")
    with open(path) as reader:
        write_atomic(path, "größe\r\nx\n")
        assert reader.read() == "old"  # a reader that had it open still sees the old content
    assert path.read_bytes() == "größe\r\nx\n".encode()


@pytest.mark.parametrize("content", [None, b"", b'{"a": 1', b"[1]", b"\xff\xfe", b"null"])
def test_unreadable_json_is_empty(tmp_path, content):
    if content is not None:
        (tmp_path / "x.json").write_bytes(content)
    assert read_json(tmp_path / "x.json") == {}


def test_status_entries_are_updated_individually(folder):
    runs.update_status(folder, state="queued", epoch=1)
    runs.update_status(folder, state="running")
    assert read_json(folder / "status.json") == {"state": "running", "epoch": 1}
    (folder / "status.json").write_text('{"state": "run')
    runs.update_status(folder, epoch=2)
    assert read_json(folder / "status.json") == {"epoch": 2}


def test_torn_event_lines_are_skipped(folder):
    assert list(runs.read_events(folder)) == []
    lines = [b'{"seq": 1, "kind": "a"}', b'{"seq": 2, "ki', b"", b"17", b"\xff\xff", b'{"seq": 3, "kind": "c"}']
    (folder / "events.jsonl").write_bytes(b"\n".join([*lines, b'{"seq": 4, "kind"']))
    assert [event["seq"] for event in runs.read_events(folder)] == [1, 3]


def test_before_the_end_the_result_is_the_last_good_enough_iteration():
    events = [{"kind": "iteration", "iteration": 0, "result": 0}, {"kind": "iteration", "iteration": 1, "result": 0}]
    assert runs.result_in(events) == 0
    assert runs.result_in([*events[:1], {"kind": "iteration", "iteration": 1, "result": 1}]) == 1


def test_the_result_is_that_of_the_ended_event_or_the_last_iteration(folder):
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


# --- state ---


@pytest.mark.parametrize("role", ["launcher", "supervisor", "trainer"])
@pytest.mark.parametrize("state", ["queued", "starting", "running"])
def test_a_run_is_active_while_one_of_its_processes_lives(folder, me, role, state):
    write(folder, "status.json", state=state, fraction=0.25, **{role: me})
    status = runs.state_of(folder)
    assert (status.state, status.active, status.progress, status.run_id) == (state, True, 0.25, ID)
    assert not status.stalled


@pytest.mark.parametrize(
    ("living", "expected"),
    [
        ({"launcher"}, "lost"),  # the launcher may be a dashboard that lives for weeks: it counts only at first
        ({"supervisor"}, "running"),
        ({"trainer"}, "running"),
        ({"launcher", "supervisor"}, "running"),
        ({"launcher", "trainer"}, "running"),
        (set(), "lost"),
    ],
)
def test_a_run_needs_a_live_supervisor_or_trainer(folder, me, dead, living, expected):
    roles = {role: me if role in living else dead for role in ("launcher", "supervisor", "trainer")}
    write(folder, "status.json", state="running", **roles)
    assert runs.state_of(folder).state == expected


@pytest.mark.parametrize("change", [{"started": 1.0, "ticks": 1}, {"host": OTHER_HOST}, {"pid": 0}])
def test_a_run_whose_pid_was_reused_is_lost(folder, me, change):
    write(folder, "status.json", state="running", trainer={**me, **change}, fraction=0.5)
    status = runs.state_of(folder)
    assert (status.state, status.active, status.progress) == ("lost", False, 0.5)
    assert "ended without a message" in status.reason


@pytest.mark.parametrize("state", ["stopped", "paused", "finished", "failed"])
def test_the_exit_file_overrides_everything_else(folder, me, state):
    write(folder, "status.json", state="running", trainer=me, outcome={"state": "failed", "reason": "no"})
    write(folder, "exit.json", state=state, reason="because", code=0)
    status = runs.state_of(folder)
    assert (status.state, status.reason, status.active) == (state, "because", False)
    assert status.progress == (1.0 if state == "finished" else 0.0)


def test_the_outcome_counts_if_no_process_is_left_to_write_the_exit_file(folder, me, dead):
    outcome = {"state": "finished", "reason": "all steps are done"}
    write(folder, "status.json", state="running", trainer=dead, supervisor=dead, outcome=outcome)
    assert (runs.state_of(folder).state, runs.state_of(folder).reason) == ("finished", "all steps are done")
    write(folder, "status.json", state="running", trainer=dead, supervisor=me, outcome=outcome)
    assert runs.state_of(folder).state == "running"  # the supervisor has yet to write exit.json
    write(folder, "status.json", state="running", trainer=me, supervisor=dead, outcome=outcome)
    assert runs.state_of(folder).state == "running"


def test_a_torn_exit_file_or_status_counts_as_missing(folder, me):
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
def test_a_request_shows_in_the_state_until_it_is_followed(folder, me, action, shown):
    write(folder, "status.json", state="running", trainer=me)
    runs.request(folder, action)
    assert runs.state_of(folder).state == shown
    write(folder, "exit.json", state="stopped")
    assert runs.state_of(folder).state == "stopped"


def test_an_old_heartbeat_means_stalled_not_lost(folder, me):
    now = time.time()
    for state, age, stalled in (("running", 1, False), ("running", 100, True), ("queued", 100, False)):
        write(folder, "status.json", state=state, trainer=me, heartbeat=now - age)
        assert (runs.state_of(folder).state, runs.state_of(folder).stalled) == (state, stalled)


def test_a_run_on_another_machine_is_alive_while_its_heartbeat_is_fresh(folder):
    """On a shared folder, a second trainer must not be started alongside it."""
    elsewhere = {"pid": 1, "started": 0.0, "host": "elsewhere"}
    runs.update_status(folder, state="running", trainer=elsewhere, heartbeat=time.time())
    assert runs.state_of(folder).state == "running"
    runs.update_status(folder, heartbeat=time.time() - 2 * runs.STALLED_AFTER)
    assert runs.state_of(folder).state == "lost"


def test_the_end_of_an_id_is_recognised(folder):
    """Pages show the ends of ids, and people type them."""
    (folder / "spec.toml").touch()
    for end in ("1a2b", "lenet5-1a2b"):
        with pytest.raises(RunError, match=f"there is no run '{end}' .*; did you mean {ID}\\?"):
            runs.open_run(folder.parent, end)
    with pytest.raises(RunError, match="`list` shows the existing ones"):
        runs.open_run(folder.parent, "2b")
