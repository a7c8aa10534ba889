"""The trainer of a run folder, in this process: outcomes, requests, and what it saves for a resume."""

import io
import sys
import threading

import pytest
import torch
from filelock import FileLock

from trimcore import runs
from trimcore.jobs import control
from trimcore.jobs.lines import log_line
from trimcore.jobs.locks import lock_path
from trimcore.jobs.worker import carry_out
from trimcore.runs.events import Event
from trimcore.system import environment, processes
from trimcore.system.files import read_json


@pytest.fixture
def prepare(runs_folder):
    """prepare(spec): a fresh run folder."""
    return lambda spec: control.prepare_run(spec, runs_folder)


@pytest.fixture
def whole(prepare, tiny, csvs_of):
    """The CSVs of an uninterrupted run of the quick spec."""
    folder = prepare(tiny)
    carry_out(folder)
    return csvs_of(folder)


def kinds(folder) -> list[str]:
    return [event["kind"] for event in runs.read_events(folder)]


class Watch:
    """Records the kind of every event, and calls `action` after event number `number` of `kind`."""

    def __init__(self, kind: str = "", number: int = 0, action=None):
        self.kind, self.number, self.action, self.seen = kind, number, action, []

    def __call__(self, event: Event) -> None:
        self.seen.append(event.kind)
        if event.kind == self.kind and self.seen.count(self.kind) == self.number:
            self.action()


def test_a_run_finishes(prepare, tiny, capsys):
    folder, watch = prepare(tiny), Watch()
    assert carry_out(folder, watch) == {"state": "finished", "reason": "all steps are done"}
    assert [kind for kind in watch.seen if kind != "progress"] == kinds(folder)
    assert watch.seen.count("progress") == 4 * 5 + 3  # training batches and profiling batches
    status = read_json(folder / "status.json")
    assert (status["outcome"]["state"], status["trainer"]) == ("finished", processes.identity())
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(kinds(folder))
    assert "started: lenet5" in lines[0]
    assert not (folder / "log.txt").exists()


def test_the_log_goes_to_a_file_if_one_is_given(prepare, tiny, capsys):
    folder = prepare(tiny)
    carry_out(folder, log=folder / "log.txt")
    assert capsys.readouterr().out == ""
    assert len((folder / "log.txt").read_text("utf-8").splitlines()) == len(kinds(folder))


@pytest.mark.parametrize(("level", "kinds_of_lines"), [
    ("debug", {"DEBUG", "INFO"}), ("info", {"INFO"}), ("", {"INFO"}), ("nonsense", {"INFO"}), ("error", set()),
])  # fmt: skip
def test_the_log_has_levels(prepare, tiny, monkeypatch, capsys, level, kinds_of_lines):
    monkeypatch.setenv("TRIMCORE_LOG", level)
    carry_out(prepare(tiny))
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[1] for line in lines} == kinds_of_lines
    if level == "debug":
        assert any("iteration-01.pt: " in line and " bytes in " in line for line in lines)
        assert any("base of iteration 0: step 1 of 5" in line for line in lines)


def test_a_stop_takes_effect_at_the_next_batch(prepare, tiny):
    folder = prepare(tiny)
    watch = Watch("progress", 7, lambda: runs.request(folder, "stop"))
    outcome = carry_out(folder, watch)
    assert outcome["state"] == "stopped"
    assert watch.seen.count("progress") == 7
    assert kinds(folder) == ["started", "epoch"]


def test_a_stop_after_the_end_has_no_effect(prepare, tiny):
    folder = prepare(tiny)
    assert carry_out(folder, Watch("ended", 1, lambda: runs.request(folder, "stop")))["state"] == "finished"


def test_a_pause_waits_for_the_end_of_the_epoch(prepare, tiny):
    folder = prepare(tiny)
    watch = Watch("progress", 7, lambda: runs.request(folder, "pause"))
    assert carry_out(folder, watch)["state"] == "paused"
    assert watch.seen.count("progress") == 10
    assert kinds(folder) == ["started", "epoch", "epoch"]


def test_finish_waits_for_the_end_of_the_iteration(prepare, tiny):
    folder = prepare(tiny)
    outcome = carry_out(folder, Watch("initial", 1, lambda: runs.request(folder, "finish")))
    assert outcome == {"state": "finished", "reason": "finished on request after iteration 1"}
    assert kinds(folder)[-1] == "iteration"
    assert runs.result_of(folder) == 1


@pytest.mark.parametrize(
    ("action", "kind", "number"),
    [("stop", "progress", 8), ("stop", "pruned", 1), ("stop", "iteration", 2), ("pause", "progress", 1),
     ("pause", "initial", 2), ("pause", "iteration", 3), ("stop", "profiled", 1)],
)  # fmt: skip
def test_a_resumed_run_writes_the_same_tables(prepare, tiny, whole, csvs_of, action, kind, number):
    folder = prepare(tiny)
    first = carry_out(folder, Watch(kind, number, lambda: runs.request(folder, action)))
    assert first["state"] == {"stop": "stopped", "pause": "paused"}[action]
    (folder / "request.json").unlink()
    assert carry_out(folder)["state"] == "finished"
    assert kinds(folder).count("started") == 2
    assert csvs_of(folder) == whole
    numbers = [event["seq"] for event in runs.read_events(folder)]
    assert numbers == list(range(1, len(numbers) + 1))


# --- failures ---


def test_a_user_error_is_one_line(prepare, make_spec, capfd):
    folder = prepare(make_spec(base={"weights": "no/such/file.pt"}))
    outcome = carry_out(folder)
    assert outcome == {"state": "failed", "reason": "there is no checkpoint 'no/such/file.pt'"}
    assert read_json(folder / "status.json")["outcome"] == outcome
    assert "Traceback" not in capfd.readouterr().err


def test_an_unknown_layer_fails_before_training(prepare, make_spec):
    folder = prepare(make_spec(step=[{"layers": ["conv7"]}]))
    outcome = carry_out(folder)
    assert (outcome["state"], kinds(folder)) == ("failed", [])
    assert "conv7" in outcome["reason"]


def test_a_bug_leaves_a_traceback_and_a_one_line_reason(prepare, tiny, capfd):
    def broken():
        raise ZeroDivisionError("first line\nsecond line")

    outcome = carry_out(prepare(tiny), Watch("epoch", 1, broken))
    assert outcome == {"state": "failed", "reason": "ZeroDivisionError: first line"}
    assert "ERROR   an unexpected error: a bug in trimcore, or in code of your own\nTraceback" in capfd.readouterr().out


def test_code_that_ends_the_process_ends_the_run_with_a_line(prepare, tiny):
    folder = prepare(tiny)
    outcome = carry_out(folder, Watch("epoch", 1, lambda: sys.exit("enough\nof it")))
    assert outcome == {"state": "failed", "reason": "code of the run's own ended the process: SystemExit: enough"}
    assert carry_out(folder)["state"] == "finished", "when the code has been mended, the run continues"


def test_a_loader_that_dies_between_two_batches_is_no_bug(prepare, tiny, capfd):
    """torch raises this in a signal handler, wherever the training is."""

    def died():
        raise RuntimeError("DataLoader worker (pid 12) is killed by signal: Killed. ")

    outcome = carry_out(prepare(tiny), Watch("epoch", 1, died))
    reason = "a process that loads items died (DataLoader worker (pid 12) is killed by signal: Killed.)"
    assert outcome == {"state": "failed", "reason": reason}
    assert "Traceback" not in capfd.readouterr().out


@pytest.mark.parametrize("error", [
    MemoryError(), torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory: you tried to"),
    OSError(12, "Cannot allocate memory"), RuntimeError("could not create a primitive"),
])  # fmt: skip
def test_out_of_memory_ends_with_advice(prepare, tiny, capfd, error):
    def exhausted():
        raise error

    folder = prepare(tiny)
    outcome = carry_out(folder, Watch("epoch", 1, exhausted))
    assert outcome["state"] == "failed"
    assert outcome["reason"].startswith("out of memory (")
    assert "smaller batch_size" in outcome["reason"]
    assert "Traceback" not in capfd.readouterr().err
    assert carry_out(folder)["state"] == "finished", "with enough memory, the run continues"


def test_a_full_disk_is_reported(prepare, tiny, monkeypatch):
    """PyTorch's writer replaces the error with its own."""
    real = open

    def nearly_full(path, mode="r", *args, **settings):
        file = real(path, mode, *args, **settings)
        if mode == "wb" and ".pt." in str(path):
            file.close()
            return NearlyFull(path, mode)
        return file

    folder = prepare(tiny)
    monkeypatch.setattr("builtins.open", nearly_full)
    outcome = carry_out(folder)
    assert outcome["reason"].startswith("No space left on device")
    assert not list((folder / "checkpoints").iterdir()), "no partial file is left"


class NearlyFull(io.FileIO):
    """A file on a disk with only a few thousand bytes left."""

    room = 5000

    def write(self, data) -> int:
        self.room -= len(data)
        if self.room < 0:
            raise OSError(28, "No space left on device")
        return super().write(data)


def test_an_unwritable_folder_is_reported(prepare, tiny):
    folder = prepare(tiny)
    (folder / "checkpoints").rmdir()
    outcome = carry_out(folder)
    assert outcome["state"] == "failed"
    assert outcome["reason"].startswith("No such file or directory (")
    assert str(folder / "checkpoints") in outcome["reason"]


@pytest.mark.parametrize("damage", ["torn", "one bit", "empty"])
def test_a_damaged_resume_point_is_skipped_and_reported(prepare, tiny, whole, csvs_of, damage):
    folder = prepare(tiny)
    carry_out(folder, Watch("epoch", 3, lambda: runs.request(folder, "pause")))
    (folder / "request.json").unlink()
    newest = folder / "checkpoints" / "resume.pt"
    newest.write_bytes(damaged(newest.read_bytes(), damage))
    assert carry_out(folder)["state"] == "finished"
    (note,) = (event["text"] for event in runs.read_events(folder, ("note",)))
    assert "the newest resume point is damaged; resuming from the previous one" in note
    assert csvs_of(folder) == whole


def damaged(content: bytes, how: str) -> bytes:
    """The content truncated, with one bit of its largest tensor flipped, or empty."""
    if how == "one bit":
        weights = torch.load(io.BytesIO(content), weights_only=True)["checkpoint"]["state"].values()
        matrices = [tensor for tensor in weights if tensor.dim() == 2]  # stored in this order on every machine
        largest = max(matrices, key=torch.numel).numpy().tobytes()
        middle = content.index(largest) + len(largest) // 2
        return content[:middle] + bytes([content[middle] ^ 4]) + content[middle + 1 :]
    return content[: len(content) // 3] if how == "torn" else b""


@pytest.mark.parametrize(("kind", "advice"), [("epoch", "launch its spec.toml again"), ("initial", "the last is 0")])
def test_if_no_resume_point_is_intact_the_error_says_what_to_do(prepare, tiny, kind, advice):
    folder = prepare(tiny)
    carry_out(folder, Watch(kind, 1, lambda: runs.request(folder, "pause")))
    (folder / "request.json").unlink()
    for file in (folder / "checkpoints").glob("resume*.pt"):
        file.write_bytes(b"PK\3\4 torn")
    outcome = carry_out(folder)
    assert outcome["state"] == "failed"
    assert outcome["reason"].startswith("no resume point of this run can be read; ")
    assert advice in outcome["reason"]
    assert "\n" not in outcome["reason"]


def test_a_run_interrupted_from_the_keyboard_can_be_resumed(prepare, tiny, whole, csvs_of):
    def interrupt():
        raise KeyboardInterrupt

    folder = prepare(tiny)
    assert carry_out(folder, Watch("epoch", 3, interrupt))["state"] == "stopped"
    assert carry_out(folder)["state"] == "finished"
    assert csvs_of(folder) == whole


# --- the device ---


def test_a_trainer_is_queued_until_the_device_is_free(prepare, tiny, runs_folder, eventually):
    folder, outcome = prepare(tiny), {}
    with FileLock(lock_path(runs_folder, "cpu", "trainer")):
        waiting = threading.Thread(target=lambda: outcome.update(carry_out(folder)))
        waiting.start()
        eventually(lambda: read_json(folder / "status.json").get("trainer"))
        assert runs.state_of(folder).state == "queued"
        assert kinds(folder) == []
    waiting.join(120)
    assert outcome["state"] == "finished"
    with FileLock(lock_path(runs_folder, "cpu", "trainer")).acquire(timeout=0):  # it is free again
        assert kinds(folder)[-1] == "ended"


def test_each_device_has_its_own_locks(runs_folder):
    paths = {
        lock_path(runs_folder, device, role) for device in ("cpu", "cuda:0", "cuda:1") for role in ("turn", "trainer")
    }
    assert len(paths) == 6
    assert runs_folder / ".locks" / "cuda-1.turn.lock" in paths
    assert runs.list_runs(runs_folder) == []


def test_waiting_threads_do_not_spin():
    assert environment.SETTINGS["OMP_WAIT_POLICY"] == "PASSIVE"


# --- log lines ---

LINES = {
    "epoch": ({"phase": "retrain", "iteration": 2, "epoch": 1, "epochs": 4, "loss": 0.12345,
               "images_per_second": 1234.5, "validation_accuracy": 0.98765},
              "retrain iteration 2 epoch 1/4: loss 0.1235, validation 98.77%, 1,234 images/s"),
    "profiled": ({"iteration": 0, "examples": 500, "layers": {"conv1": {"apoz": [0.25, 0.75]}, "fc1": {"apoz": [0.1]}}},
                 "APoZ after iteration 0 on 500 examples: conv1 50.0%, fc1 10.0%"),
    "pruned": ({"iteration": 1, "parameters": 12345, "layers": {"conv1": {"cut": [1, 2]}, "fc1": {"cut": []}}},
               "iteration 1 cuts conv1 −2, fc1 −0: 12,345 parameters left"),
    "weights": ({"iteration": 3, "layers": {"conv1": {"zeros": 1200}, "fc1": {"zeros": 34}}},
                "iteration 3 holds 1,234 weights at zero in conv1, fc1"),
    "initial": ({"iteration": 1, "accuracy": 0.5}, "iteration 1: accuracy before retraining 50.00%"),
    "iteration": ({"iteration": 1, "compression": 2.346, "accuracy_final": 0.75},
                  "iteration 1 done: 2.35x smaller, test accuracy 75.00%"),
    "control": ({"accuracy": 0.5, "epochs": 7}, "control from new weights: test accuracy 50.00% after 7 epochs"),
    "started": ({"resumed": True, "model": "lenet5", "data": "mnist-5k", "device": "cpu", "torch": "2"},
                "resumed: lenet5 on mnist-5k, cpu, torch 2"),
    "note": ({"text": "three images are skipped"}, "three images are skipped"),
    "ended": ({"reason": "all steps are done", "result": 3}, "ended: all steps are done, result is iteration 3"),
}  # fmt: skip


@pytest.mark.parametrize("kind", LINES)
def test_each_event_is_one_log_line(kind):
    data, line = LINES[kind]
    assert log_line(Event(kind, data)) == line
