"""Packing a run and unpacking it elsewhere, where it can be viewed and branched from but not resumed. Bad archives."""

import json
import os
import stat
import zipfile

import pytest

from tests.dashboard.fakes import real_run
from trimcore import runs, tables
from trimcore.errors import RunError
from trimcore.files import checkpoint
from trimcore.jobs import control, worker


@pytest.fixture(scope="module")
def packed(tmp_path_factory, make_spec):
    """A finished run and its archive."""
    folder = tmp_path_factory.mktemp("here")
    run = real_run(folder / "runs", make_spec())
    runs.write_notes(folder / "runs", run.name, runs.Notes(name="mine", note="a note"))
    runs.pack(run, folder / "run.zip")
    return run, folder / "run.zip"


def test_unpacking_restores_the_same_run(packed, tmp_path):
    run, archive = packed
    run_id, left = runs.unpack(archive, tmp_path / "there")
    there = runs.open_run(tmp_path / "there", run_id)
    assert (run_id, left) == (run.name, [])
    assert runs.list_runs(tmp_path / "there") == [run_id]
    assert runs.state_of(there).state == "finished"
    assert runs.notes_of(there).name == "mine"
    events = [list(runs.read_events(folder)) for folder in (run, there)]
    assert events[0] == events[1]
    assert tables.csv_texts(events[0]) == tables.csv_texts(events[1])
    for iteration in range(3):
        one, other = (checkpoint.load(runs.checkpoint_path(folder, iteration)) for folder in (run, there))
        assert one.widths == other.widths
    assert not list((there / "checkpoints").glob("resume*"))


def test_an_unpacked_run_can_be_branched_from_but_not_resumed(packed, tmp_path, make_spec):
    there = tmp_path / "there"
    run_id, _ = runs.unpack(packed[1], there)
    (there / run_id / "exit.json").unlink()
    status = runs.state_of(there / run_id)
    assert (status.state, status.active) == ("lost", False)
    assert "imported from another installation" in status.reason
    with pytest.raises(RunError, match="branch from one of its iterations"):
        control.resume(there, run_id)
    branch = control.prepare_run(make_spec(parent={"run": run_id, "iteration": 1}), there)
    assert worker.carry_out(branch)["state"] == "finished"


def test_a_run_packed_while_active_is_lost_after_unpacking(packed, tmp_path):
    """Its processes, if they still run, are on another machine."""
    run_id, _ = runs.unpack(packed[1], tmp_path)
    (tmp_path / run_id / "exit.json").unlink()
    alive = {"pid": os.getpid(), "started": 0, "host": "another"}
    runs.update_status(tmp_path / run_id, state="running", trainer=alive, heartbeat=2e9, outcome=None)
    assert runs.state_of(tmp_path / run_id).state == "lost"


def test_an_active_run_cannot_be_packed(tmp_path, make_spec):
    run = control.prepare_run(make_spec(), tmp_path / "runs")
    with pytest.raises(RunError, match="is queued: pack it after it has ended"):
        runs.pack(run, tmp_path / "x.zip")


def test_a_run_folder_zipped_by_hand_can_be_unpacked(packed, tmp_path):
    run, _ = packed
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for path in run.rglob("*"):
            archive.write(path, path.relative_to(run.parent))
    run_id, left = runs.unpack(tmp_path / "x.zip", tmp_path / "there")
    assert run_id == run.name
    assert left == [f"{run.name}/checkpoints/resume-before.pt", f"{run.name}/checkpoints/resume.pt"]


def test_unpacking_does_not_overwrite_a_run(packed, tmp_path):
    run_id, _ = runs.unpack(packed[1], tmp_path)
    with pytest.raises(RunError, match="already exists"):
        runs.unpack(packed[1], tmp_path)
    runs.delete(tmp_path, run_id)
    assert runs.unpack(packed[1], tmp_path)[0] == run_id


SPEC = 'model = "lenet5"\n'
ARCHIVES = {
    "no run": ({"a.txt": "x"}, "contains no runs"), "a run without a folder": ({"spec.toml": SPEC}, "contains no runs"),
    "two runs": ({"a/spec.toml": SPEC, "b/spec.toml": SPEC}, "contains 2 runs"),
    "a run that leads out": ({"../spec.toml": SPEC}, "is not a run id"),
    "an absolute run": ({"/etc/spec.toml": SPEC}, "contains no runs"),
    "a newer version": ({"a/spec.toml": SPEC, "a/packed.json": '{"format": 2, "trimcore": "9.0"}'}, "a newer version"),
    "a megabyte as name": ({f"{'a' * 60_000}/spec.toml": SPEC}, "is not a run id"),
}  # fmt: skip


@pytest.mark.parametrize(("files", "message"), ARCHIVES.values(), ids=ARCHIVES)
def test_archives_without_a_packed_run_are_refused(tmp_path, files, message):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    with pytest.raises(RunError, match=message) as error:
        runs.unpack(tmp_path / "x.zip", tmp_path / "runs")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 1000
    assert sorted(os.listdir(tmp_path)) in (["runs", "x.zip"], ["x.zip"])
    assert not (tmp_path / "runs").exists() or not os.listdir(tmp_path / "runs")


def test_members_outside_the_run_are_not_extracted(tmp_path):
    """Path traversal, links and files that no run has are not extracted."""
    link = zipfile.ZipInfo("a/events.jsonl")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a/spec.toml", SPEC)
        archive.writestr(link, "/etc/passwd")
        for name in ("a/../../evil", "/abs/evil", "a/checkpoints/../../evil", "a/run.sh", "b/spec.txt",
                     "a/brought.json", "a/checkpoints/iteration-00.pt.exe"):  # fmt: skip
            archive.writestr(name, "evil")
    run_id, left = runs.unpack(tmp_path / "x.zip", tmp_path / "runs")
    assert (run_id, len(left)) == ("a", 7)
    found = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert found == ["runs/a/brought.json", "runs/a/events.jsonl", "runs/a/spec.toml", "x.zip"]
    assert not (tmp_path / "runs" / "a" / "events.jsonl").is_symlink()
    assert json.loads((tmp_path / "runs" / "a" / "brought.json").read_text())["format"] == 1


def test_a_zip_bomb_is_refused_before_extraction(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/spec.toml", SPEC)
        archive.writestr("a/log.txt", b"\0" * 50_000_000)
    with pytest.raises(RunError, match="times its size"):
        runs.unpack(tmp_path / "x.zip", tmp_path / "runs")
    assert os.listdir(tmp_path / "runs") == []


@pytest.mark.parametrize("content", [b"", b"PK\3\4 torn", b"text"])
def test_files_that_are_not_zip_files_are_refused(tmp_path, content):
    (tmp_path / "x.zip").write_bytes(content)
    with pytest.raises(RunError, match="is not a readable zip file"):
        runs.unpack(tmp_path / "x.zip", tmp_path / "runs")
    with pytest.raises(RunError, match="there is no file"):
        runs.unpack(tmp_path / "y.zip", tmp_path / "runs")


def test_a_damaged_member_leaves_nothing(packed, tmp_path):
    content = bytearray(packed[1].read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "x.zip").write_bytes(content)
    with pytest.raises(RunError, match="is not a readable zip file"):
        runs.unpack(tmp_path / "x.zip", tmp_path / "runs")
    assert os.listdir(tmp_path / "runs") == []
