"""A run that is packed, and opened somewhere else: looked at, branched from, not carried on; and archives that lie."""

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
    """A finished run, and its archive."""
    folder = tmp_path_factory.mktemp("here")
    run = real_run(folder / "runs", make_spec())
    runs.write_notes(folder / "runs", run.name, runs.Notes(name="mine", note="a note"))
    runs.pack(run, folder / "run.zip")
    return run, folder / "run.zip"


def test_it_is_the_same_run_there(packed, tmp_path):
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


def test_it_is_not_carried_on_but_branched_from(packed, tmp_path, make_spec):
    there = tmp_path / "there"
    run_id, _ = runs.unpack(packed[1], there)
    (there / run_id / "exit.json").unlink()
    status = runs.state_of(there / run_id)
    assert (status.state, status.active) == ("lost", False)
    assert "brought here from another installation" in status.reason
    with pytest.raises(RunError, match="branch from one of its iterations"):
        control.resume(there, run_id)
    branch = control.prepare_run(make_spec(parent={"run": run_id, "iteration": 1}), there)
    assert worker.carry_out(branch)["state"] == "finished"


def test_a_run_that_was_active_is_not_active_there(packed, tmp_path):
    """Its processes live on another machine, if at all."""
    run_id, _ = runs.unpack(packed[1], tmp_path)
    (tmp_path / run_id / "exit.json").unlink()
    alive = {"pid": os.getpid(), "started": 0, "host": "another"}
    runs.update_status(tmp_path / run_id, state="running", trainer=alive, heartbeat=2e9, outcome=None)
    assert runs.state_of(tmp_path / run_id).state == "lost"


def test_an_active_run_is_not_packed(tmp_path, make_spec):
    run = control.prepare_run(make_spec(), tmp_path / "runs")
    with pytest.raises(RunError, match="is queued: pack it when it has ended"):
        runs.pack(run, tmp_path / "x.zip")


def test_a_folder_that_was_zipped_by_hand_is_opened(packed, tmp_path):
    run, _ = packed
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for path in run.rglob("*"):
            archive.write(path, path.relative_to(run.parent))
    run_id, left = runs.unpack(tmp_path / "x.zip", tmp_path / "there")
    assert run_id == run.name
    assert left == [f"{run.name}/checkpoints/resume-before.pt", f"{run.name}/checkpoints/resume.pt"]


def test_it_is_not_written_over(packed, tmp_path):
    run_id, _ = runs.unpack(packed[1], tmp_path)
    with pytest.raises(RunError, match="is here already"):
        runs.unpack(packed[1], tmp_path)
    runs.delete(tmp_path, run_id)
    assert runs.unpack(packed[1], tmp_path)[0] == run_id


SPEC = 'model = "lenet5"\n'
ARCHIVES = {
    "no run": ({"a.txt": "x"}, "holds no runs"), "a run without a folder": ({"spec.toml": SPEC}, "holds no runs"),
    "two runs": ({"a/spec.toml": SPEC, "b/spec.toml": SPEC}, "holds 2 runs"),
    "a run that leads out": ({"../spec.toml": SPEC}, "is not a run id"),
    "an absolute run": ({"/etc/spec.toml": SPEC}, "holds no runs"),
    "a newer version": ({"a/spec.toml": SPEC, "a/packed.json": '{"format": 2, "trimcore": "9.0"}'}, "a newer version"),
    "a megabyte as name": ({f"{'a' * 60_000}/spec.toml": SPEC}, "is not a run id"),
}  # fmt: skip


@pytest.mark.parametrize(("files", "message"), ARCHIVES.values(), ids=ARCHIVES)
def test_what_is_no_packed_run_is_refused(tmp_path, files, message):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    with pytest.raises(RunError, match=message) as error:
        runs.unpack(tmp_path / "x.zip", tmp_path / "runs")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 1000
    assert sorted(os.listdir(tmp_path)) in (["runs", "x.zip"], ["x.zip"])
    assert not (tmp_path / "runs").exists() or not os.listdir(tmp_path / "runs")


def test_what_leads_out_is_left_out(tmp_path):
    """Names that climb, links, and files that no run has: none of it is written anywhere."""
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


def test_a_bomb_is_refused_before_it_goes_off(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/spec.toml", SPEC)
        archive.writestr("a/log.txt", b"\0" * 50_000_000)
    with pytest.raises(RunError, match="times as large"):
        runs.unpack(tmp_path / "x.zip", tmp_path / "runs")
    assert os.listdir(tmp_path / "runs") == []


@pytest.mark.parametrize("content", [b"", b"PK\3\4 torn", b"text"])
def test_what_is_no_zip_file_is_refused(tmp_path, content):
    (tmp_path / "x.zip").write_bytes(content)
    with pytest.raises(RunError, match="is no zip file that can be read"):
        runs.unpack(tmp_path / "x.zip", tmp_path / "runs")
    with pytest.raises(RunError, match="there is no file"):
        runs.unpack(tmp_path / "y.zip", tmp_path / "runs")


def test_a_damaged_member_leaves_nothing(packed, tmp_path):
    content = bytearray(packed[1].read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "x.zip").write_bytes(content)
    with pytest.raises(RunError, match="no zip file that can be read"):
        runs.unpack(tmp_path / "x.zip", tmp_path / "runs")
    assert os.listdir(tmp_path / "runs") == []
