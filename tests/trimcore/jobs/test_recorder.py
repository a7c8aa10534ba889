"""The recorder: an event is recorded only after its files, and what it has written survives a crash."""

import json
import os
from types import SimpleNamespace

import pytest
import torch

from trimcore import runs, tables
from trimcore.compute import memory
from trimcore.files import checkpoint
from trimcore.jobs import recorder, resume_points
from trimcore.jobs.recorder import Recorder
from trimcore.runs.events import Event
from trimcore.system.files import read_json
from trimcore.training.loop import trim


@pytest.fixture
def folder(runs_folder):
    return runs.create(runs_folder, "lenet5", "")


def record_all(folder, events) -> None:
    kept = Recorder(folder)
    for event in events:
        kept.record(event)
    kept.close()


def numbers(folder) -> list[int]:
    return [event["seq"] for event in runs.read_events(folder)]


def test_an_events_files_are_complete_before_the_event_is_recorded(folder, tiny):
    """Checks, after each event, what a reader would find if everything stopped there."""
    kept = Recorder(folder)
    for event in trim(tiny):
        before = numbers(folder)
        made = event.payload() if event.payload else None
        if made:
            at_that_time = Event(event.kind, event.data, lambda made=made: made)
            kept.record(at_that_time)
            snapshot = made[1] if event.kind == "iteration" else made
            resume = checkpoint.read(folder / "checkpoints" / "resume.pt")
            assert (resume["phase"], resume["iteration"], resume["epoch"]) == tuple(
                snapshot[key] for key in ("phase", "iteration", "epoch")
            )
        else:
            kept.record(event)
        assert numbers(folder) == (before + [len(before) + 1] if event.recorded else before)
        if event.kind == "iteration":
            number = event.data["iteration"]
            state = checkpoint.load(runs.checkpoint_path(folder, number)).state
            assert all(torch.equal(tensor, made[0].state[name]) for name, tensor in state.items())
            for name, text in tables.csv_texts(list(runs.read_events(folder))).items():
                assert (folder / name).read_bytes() == text.encode()
    kept.close()
    assert sorted(os.listdir(folder / "checkpoints")) == [
        "iteration-00.pt", "iteration-01.pt", "iteration-02.pt", "resume-before.pt", "resume.pt",
    ]  # fmt: skip
    assert not [name for name in os.listdir(folder) if name.startswith(".")]


MADE = checkpoint.Checkpoint("lenet5", {}, {}, {})


def test_the_event_is_not_written_before_its_checkpoint(folder, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_atomic", full)
    with pytest.raises(OSError, match="No space"):
        record_all(folder, [Event("started"), Event("iteration", {"iteration": 0}, lambda: (MADE, {"epoch": 1}))])
    assert [event["kind"] for event in runs.read_events(folder)] == ["started"]


def test_the_resume_point_is_not_written_before_its_event(folder, monkeypatch):
    """A crash between the two repeats an epoch. In the other order, its row would be lost."""
    written = []
    monkeypatch.setattr(
        resume_points, "save", lambda snapshot, run, events: written.extend(e["kind"] for e in runs.read_events(run))
    )
    record_all(folder, [Event("note", {"text": "grouped"}, lambda: {"epoch": 1})])
    assert written == ["note"]


def test_an_event_is_one_line_with_its_number_time_and_data(folder):
    record_all(folder, [Event("note", {"text": "größer\nals"}), Event("ended", {"reason": "done", "result": 0})])
    lines = (folder / "events.jsonl").read_bytes().split(b"\n")
    assert [json.loads(line).keys() for line in lines[:2]] == [
        {"seq", "time", "kind", "text"}, {"seq", "time", "kind", "reason", "result"},
    ]  # fmt: skip
    assert json.loads(lines[0])["text"] == "größer\nals"
    assert lines[2:] == [b""]


def test_numbering_continues_after_a_resume_and_a_torn_line(folder):
    record_all(folder, [Event("note", {"text": text}) for text in "abc"])
    with open(folder / "events.jsonl", "ab") as file:
        file.write(b'{"seq": 4, "time": 1, "kind": "no')
    record_all(folder, [Event("note", {"text": text}) for text in "de"])
    assert [(event["seq"], event["text"]) for event in runs.read_events(folder)] == [
        (1, "a"), (2, "b"), (3, "c"), (4, "d"), (5, "e"),
    ]  # fmt: skip
    whole = (folder / "events.jsonl").read_bytes()
    record_all(folder, [])
    assert (folder / "events.jsonl").read_bytes() == whole  # no empty line if the last one was complete


def test_partial_files_of_a_killed_process_are_removed(folder):
    for name in (".resume.pt.12345", ".iteration-01.pt.12345"):
        (folder / "checkpoints" / name).write_bytes(b"half of it")
    resume_points.save({"epoch": 1}, folder, 0)
    Recorder(folder).close()
    assert os.listdir(folder / "checkpoints") == ["resume.pt"]


def test_progress_is_shown_but_not_recorded(folder, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(recorder.time, "time", lambda: now[0])
    monkeypatch.setattr(recorder.time, "monotonic", lambda: now[0])
    kept = Recorder(folder)

    def progress(seconds: float, fraction: float) -> dict:
        now[0] += seconds
        kept.record(Event("progress", {"fraction": fraction, "epoch": 1}, recorded=False))
        return read_json(folder / "status.json")

    first = progress(0, 0.20)
    assert (first["state"], first["fraction"], first["eta_seconds"], first["heartbeat"]) == ("running", 0.2, None, 1000)
    assert progress(0.1, 0.21)["fraction"] == 0.2  # too soon for another write
    later = progress(9.9, 0.40)
    assert (later["fraction"], later["heartbeat"]) == (0.4, 1010)
    assert later["eta_seconds"] == pytest.approx(10 * 0.6 / 0.2)  # 10 s for a fifth: the remaining three take 30 s
    kept.close()
    assert numbers(folder) == []


def test_status_has_time_left_rate_and_memory(folder, tiny):
    kept = Recorder(folder)
    for event in trim(tiny):
        kept.record(event)
    kept.close()
    status = read_json(folder / "status.json")
    assert status["images_per_second"] > 0
    assert {"eta_seconds", "iteration_eta_seconds"} < set(status)
    assert set(status["memory"]) == {"used", "total"}  # on a CPU
    assert 5e7 < status["memory"]["used"] < status["memory"]["total"]


def test_a_resumed_run_does_not_show_its_earlier_pace(folder):
    before = {"eta_seconds": 5.0, "iteration_eta_seconds": 1.0, "images_per_second": 9.0}
    runs.update_status(folder, **before)
    record_all(folder, [Event("started", {"iterations": 3, "device": "a CPU"})])
    status = read_json(folder / "status.json")
    assert {key: status[key] for key in before} == dict.fromkeys(before)
    assert (status["iterations"], status["device"]) == (3, "a CPU")


def test_gpu_memory_is_the_peak_of_allocated_tensors(monkeypatch):
    properties = SimpleNamespace(total_memory=24_000)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", {"cuda:1": 1_300}.get)
    monkeypatch.setattr(torch.cuda, "get_device_properties", {"cuda:1": properties}.get)
    assert memory.in_use("cuda:1").items() >= {"device_used": 1_300, "device_total": 24_000}.items()
    assert "device_used" not in memory.in_use("cpu")


def test_status_says_where_the_run_is(folder, tiny):
    kept = Recorder(folder)
    for event in trim(tiny):
        kept.record(event)
        status = read_json(folder / "status.json")
        if event.kind == "epoch":
            assert {key: status[key] for key in ("phase", "iteration", "epoch")} == {
                key: event.data[key] for key in ("phase", "iteration", "epoch")
            }
    kept.close()
    assert (status["iterations"], status["state"]) == (2, "running")
    assert status["device"].startswith("cpu")
