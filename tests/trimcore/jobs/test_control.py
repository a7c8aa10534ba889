"""Runs in their own processes: launched, paused, resumed, queued and killed. Their reported state is always true."""

import json
import os
import signal
import subprocess
import sys
import threading

import psutil
import pytest
import torch
from filelock import FileLock

from trimcore import runs
from trimcore.errors import RunError, SpecError
from trimcore.jobs import control
from trimcore.jobs.locks import lock_path
from trimcore.jobs.worker import carry_out
from trimcore.runs import requests, status
from trimcore.system import processes
from trimcore.system.files import read_json

LONG = {"base": {"epochs": 1_000_000}}  # the test ends it long before that


@pytest.fixture
def state(runs_folder, eventually):
    """state(run_id) is the current state; state(run_id, wanted) waits for it."""

    def find(run_id: str, *wanted: str) -> runs.Status:
        folder = runs_folder / run_id
        if wanted:
            eventually(lambda: runs.state_of(folder).state in wanted)
        return runs.state_of(folder)

    return find


@pytest.fixture
def training(runs_folder, make_spec, eventually):
    """A launched run that has trained one epoch and would train for days."""
    run_id = control.launch(make_spec(**LONG), runs_folder)
    eventually(lambda: any(e["kind"] == "epoch" for e in runs.read_events(runs_folder / run_id)))
    return run_id


def kill(status: runs.Status, *roles: str) -> None:
    """SIGKILL the processes of a run with these roles in status.json."""
    for role in roles:
        process = psutil.Process(status.values[role]["pid"])
        process.kill()
        if role == "supervisor":
            process.wait()


def exit_of(folder) -> dict:
    return read_json(folder / "exit.json")


# --- with real processes ---


def test_a_paused_and_resumed_run_has_the_tables_of_an_uninterrupted_run(runs_folder, tiny, state, csvs_of):
    whole = control.prepare_run(tiny, runs_folder / "whole")
    carry_out(whole)
    run_id = control.launch(tiny, runs_folder)
    folder = runs_folder / run_id
    control.ask(runs_folder, run_id, "pause")
    reason = "paused on request; `resume` continues from here"
    assert state(run_id, "paused").reason == exit_of(folder)["reason"] == reason
    assert [e["kind"] for e in runs.read_events(folder)] == ["started", "epoch"]
    control.resume(runs_folder, run_id)
    assert state(run_id).active
    with pytest.raises(RunError, match="it can be resumed if it is paused, stopped, failed, lost"):
        control.resume(runs_folder, run_id)
    finished = state(run_id, "finished")
    assert (finished.progress, finished.reason) == (1.0, "all steps are done")
    assert exit_of(folder).items() >= {"state": "finished", "code": 0}.items()
    assert csvs_of(folder) == csvs_of(whole)
    assert "Traceback" not in (folder / "log.txt").read_text()


def test_runs_on_one_device_are_served_in_order(runs_folder, tiny, make_spec, state):
    """The second run fails, the third is stopped while queued; neither blocks the runs behind it."""
    bad = make_spec(base={"weights": "no/such/file.pt"})
    with FileLock(lock_path(runs_folder, "cpu", "trainer")):  # another trainer is using the device
        ids = [control.launch(spec, runs_folder) for spec in (tiny, bad, tiny, tiny)]
        assert [state(run_id).state for run_id in ids] == ["queued"] * 4
        control.ask(runs_folder, ids[2], "stop")
        assert state(ids[2], "stopped").reason == "stopped while queued"
        assert not any(list(runs.read_events(runs_folder / run_id)) for run_id in ids)
    ends = [state(run_id, "finished", "failed", "stopped", "lost") for run_id in ids]
    assert [end.state for end in ends] == ["finished", "failed", "stopped", "finished"]
    assert ends[1].reason == "there is no checkpoint 'no/such/file.pt'"
    first, failed, _, last = (exit_of(runs_folder / run_id) for run_id in ids)
    begin = next(runs.read_events(runs_folder / ids[3]))["time"]
    assert first["time"] < failed["time"] <= begin + 0.001 < last["time"]  # events have milliseconds
    assert failed["code"] == 1


def test_without_its_supervisor_a_run_continues_and_can_be_stopped(runs_folder, training, state):
    kill(state(training, "running"), "supervisor")
    alone = state(training)
    assert (alone.state, processes.is_alive(alone.values["trainer"])) == ("running", True)
    with FileLock(lock_path(runs_folder, "cpu", "turn")).acquire(timeout=0):  # the turn is free, the device is not
        held = subprocess.run([sys.executable, "-c", TRY_LOCK, str(lock_path(runs_folder, "cpu", "trainer"))])
        assert held.returncode == 3
    control.ask(runs_folder, training, "stop")
    ended = state(training, "stopped", "lost")
    assert (ended.state, ended.reason) == ("stopped", "stopped on request; `resume` continues from the last epoch")
    assert not (runs_folder / training / "exit.json").exists()
    assert not processes.is_alive(alone.values["trainer"])


TRY_LOCK = """
import sys
from filelock import FileLock, Timeout
try:
    FileLock(sys.argv[1]).acquire(timeout=0)
except Timeout:
    sys.exit(3)
"""


def test_a_run_without_processes_is_lost_and_can_be_resumed(runs_folder, training, state, eventually):
    """Its launcher, this process, stays alive, as a web server would."""
    kill(state(training, "running"), "supervisor", "trainer")
    lost = state(training, "lost")
    assert "killed" in lost.reason
    epochs = sum(e["kind"] == "epoch" for e in runs.read_events(runs_folder / training))
    control.resume(runs_folder, training)
    eventually(lambda: sum(e["kind"] == "epoch" for e in runs.read_events(runs_folder / training)) > epochs)
    numbers = [e["epoch"] for e in runs.read_events(runs_folder / training) if e["kind"] == "epoch"]
    assert numbers[:epochs] == list(range(1, epochs + 1))
    assert numbers[epochs] in (epochs, epochs + 1)  # from the last saved epoch, not from the beginning
    control.ask(runs_folder, training, "stop")
    state(training, "stopped")


def test_a_killed_trainer_is_a_failure_with_a_reason(training, state, runs_folder):
    kill(state(training, "running"), "trainer")
    assert state(training, "failed").reason == "the trainer was killed by the system: out of memory?"
    assert exit_of(runs_folder / training)["code"] == -signal.SIGKILL


# --- without real processes ---


@pytest.fixture
def folder(runs_folder, tiny):
    """A run with a folder but no process."""
    return control.prepare_run(tiny, runs_folder)


@pytest.fixture
def no_supervisor(monkeypatch):
    started = []
    monkeypatch.setattr(control, "_start_supervisor", started.append)
    return started


def test_a_launched_run_is_queued_before_anything_starts(runs_folder, tiny, no_supervisor):
    run_id = control.launch(tiny, runs_folder)
    assert no_supervisor == [runs_folder / run_id]
    values = read_json(runs_folder / run_id / "status.json")
    assert (values["state"], values["device_key"], values["launcher"]) == ("queued", "cpu", processes.identity())


@pytest.mark.parametrize("state", ["paused", "stopped", "failed", "lost"])
def test_resume_clears_the_traces_of_the_end(runs_folder, folder, no_supervisor, state):
    runs.request(folder, "pause")
    runs.update_status(folder, supervisor={"pid": 1}, trainer={"pid": 2}, outcome={"state": state}, epoch=4)
    (folder / "exit.json").write_text(json.dumps({"state": state}))
    control.resume(runs_folder, folder.name)
    assert (runs.state_of(folder).state, runs.requested(folder)) == ("queued", "")
    values = read_json(folder / "status.json")
    assert (values["supervisor"], values["trainer"], values["outcome"], values["epoch"]) == (None, None, None, 4)
    assert no_supervisor == [folder]


def test_requests_that_do_not_fit_the_state_are_refused(runs_folder, folder):
    with pytest.raises(RunError, match="is queued; it can be resumed if it is paused"):
        control.resume(runs_folder, folder.name)
    (folder / "exit.json").write_text('{"state": "finished"}')
    with pytest.raises(RunError, match="is finished; it can be resumed if it is paused"):
        control.resume(runs_folder, folder.name)
    for action in runs.REQUESTS:
        with pytest.raises(RunError, match="is already finished"):
            control.ask(runs_folder, folder.name, action)
    assert runs.requested(folder) == ""


@pytest.mark.parametrize("action", [control.resume, lambda *a: control.ask(*a, "stop")])
def test_requests_only_reach_runs_in_the_runs_folder(runs_folder, action):
    with pytest.raises(RunError, match="is not a run id"):
        action(runs_folder, "../elsewhere")
    with pytest.raises(RunError, match="there is no run"):
        action(runs_folder, "elsewhere")


def test_a_branch_needs_its_parents_iteration(runs_folder, make_spec, folder):
    for run, iteration, message in (("gone", 0, "there is no run 'gone'"), (folder.name, 3, "has no iteration 3"),
                                    ("../x", 0, "is not a run id")):  # fmt: skip
        with pytest.raises(RunError, match=message):
            control.prepare_run(make_spec(parent={"run": run, "iteration": iteration}), runs_folder)
    assert runs.list_runs(runs_folder) == [folder.name]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_an_unwritable_folder_is_reported_in_one_line(runs_folder, folder, monkeypatch):
    def read_only(*_):
        raise OSError(30, "Read-only file system", str(folder))

    for module in (status, requests):
        monkeypatch.setattr(module, "write_atomic", read_only)
    resume, stop = control.resume, lambda *run: control.ask(*run, "stop")
    for ask in (stop, resume):
        if ask is resume:
            (folder / "exit.json").write_text('{"state": "failed"}')
        with pytest.raises(RunError, match="Read-only file system") as error:
            ask(runs_folder, folder.name)
        assert "\n" not in str(error.value)


def test_only_one_of_two_simultaneous_resumes_succeeds(runs_folder, folder, monkeypatch):
    started, both = [], threading.Barrier(2)

    def start(run):
        started.append(run)
        runs.update_status(run, state="queued", supervisor=processes.identity())

    def resume():
        both.wait()
        try:
            control.resume(runs_folder, folder.name)
        except RunError as error:
            refused.append(str(error))

    refused = []
    runs.write_exit(folder, "failed", "x")
    monkeypatch.setattr(control, "_start_supervisor", start)
    threads = [threading.Thread(target=resume) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(started) == 1
    (line,) = refused
    assert "is queued; it can be resumed if it is" in line


def test_a_missing_device_leaves_no_folder(runs_folder, make_spec):
    with pytest.raises(SpecError, match="'cuda:1' is not available"):
        control.launch(make_spec(device="cuda:1"), runs_folder)
    assert not runs_folder.exists()


def test_an_unwritable_runs_folder_is_reported(tmp_path, tiny):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot create a run"):
        control.launch(tiny, tmp_path / "file")


def test_a_supervisor_that_cannot_start_leaves_a_failed_run(runs_folder, tiny, tmp_path, monkeypatch):
    (tmp_path / "python").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(RunError, match="exited at once; see .*log.txt"):
        control.launch(tiny, runs_folder)
    folder = runs_folder / runs.list_runs(runs_folder)[0]
    status = runs.state_of(folder)
    assert status.state == read_json(folder / "status.json")["state"] == "failed"
    assert "exited at once" in status.reason


def test_an_unresponsive_trainer_without_supervisor_is_killed_and_the_run_is_stopped(runs_folder, folder, monkeypatch):
    wait, patience = psutil.Process.wait, [0, 60]  # actual timeouts in seconds: none at first, then until it is dead
    monkeypatch.setattr(psutil.Process, "wait", lambda self, timeout: wait(self, patience.pop(0)))
    deaf = [sys.executable, "-c", "import signal; signal.signal(15, signal.SIG_IGN); print(flush=True); signal.pause()"]
    with subprocess.Popen(deaf, stdout=subprocess.PIPE, start_new_session=True) as process:
        process.stdout.readline()
        runs.update_status(folder, state="running", trainer=processes.identity(process.pid))
        control.ask(runs_folder, folder.name, "stop")
        assert not psutil.pid_exists(process.pid)
    assert runs.state_of(folder).state == "stopped"


def test_waiting_for_a_state_times_out(runs_folder, folder):
    assert control.wait_for(runs_folder, folder.name, lambda status: False, 0).state == "queued"
    assert control.wait_for(runs_folder, folder.name, lambda status: status.active, 60).state == "queued"
    assert os.listdir(folder.parent) == [folder.name]
