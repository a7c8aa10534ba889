"""The supervisor, with shell scripts in place of the trainer: turns, enforced stops, and the recorded outcome."""

import json
import subprocess
import sys
import threading

import psutil
import pytest
from filelock import FileLock

from trimcore import runs
from trimcore.jobs import supervisor, turn
from trimcore.jobs.locks import lock_path
from trimcore.jobs.supervisor import supervise
from trimcore.system import logs, processes
from trimcore.system.files import read_json

ME = 'echo $$ > "$3/pid"\n'  # $3 is the run folder
WAIT = "while :; do sleep 0.01; done\n"
ASK_STOP = """echo '{"action": "stop"}' > "$3/request.json"\n"""


@pytest.fixture
def folder(runs_folder):
    made = runs.create(runs_folder, "lenet5", "")
    runs.update_status(made, device_key="cpu", queued_at=1.0)
    return made


@pytest.fixture
def trainer_is(tmp_path, monkeypatch):
    """trainer_is(script) sets the shell script that supervisors start instead of Python."""

    def set_script(script: str) -> None:
        path = tmp_path / "trainer.sh"
        path.write_text(f"#!/bin/sh\n{script}")
        path.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(path))

    monkeypatch.setattr(supervisor, "GRACE", 0.2)
    monkeypatch.setattr(supervisor, "TERM_GRACE", 0.2)
    monkeypatch.setattr(supervisor, "POLL", 0.02)
    monkeypatch.setattr(turn, "POLL", 0.02)
    return set_script


def says(state: str, reason: str) -> str:
    """The script of a trainer that records an outcome."""
    status = json.dumps({"outcome": {"state": state, "reason": reason}})
    return f"echo '{status}' > \"$3/status.json\"\n"


def exit_of(folder) -> tuple[str, str, int]:
    ended = read_json(folder / "exit.json")
    return ended["state"], ended["reason"], ended["code"]


def test_the_trainers_outcome_is_recorded(folder, trainer_is):
    trainer_is(says("finished", "all steps are done") + "exit 0")
    assert supervise(folder)["state"] == "finished"
    assert exit_of(folder) == ("finished", "all steps are done", 0)
    assert runs.state_of(folder).state == "finished"


@pytest.mark.parametrize(
    ("script", "reason", "code"),
    [
        ("exit 3", "the trainer exited with code 3 without a message; see the log", 3),
        ("kill -TERM $$", "the trainer exited with code -15 without a message; see the log", -15),
        ("kill -KILL $$", "the trainer was killed by the system: out of memory?", -9),
        (says("failed", "no such layer") + "exit 1", "no such layer", 1),
    ],
)
def test_a_trainer_that_fails_has_a_reason(folder, trainer_is, script, reason, code):
    trainer_is(script)
    supervise(folder)
    assert exit_of(folder) == ("failed", reason, code)


def test_the_trainer_runs_in_its_own_session_and_logs_to_a_file(folder, trainer_is):
    """Its own process group and session, an empty stdin, and threads that do not spin."""
    trainer_is('echo "$1 $2 $OMP_WAIT_POLICY"; echo error >&2; cat; ps -o sess= -p $$ > "$3/session"' + "\n" + ME)
    supervise(folder)
    assert (folder / "log.txt").read_text() == "-m trimcore.jobs.worker PASSIVE\nerror\n"
    assert (folder / "session").read_text().strip() == (folder / "pid").read_text().strip()


def test_a_log_that_grows_without_end_keeps_only_its_end(folder, trainer_is, monkeypatch):
    """Otherwise a network that prints fills the disk."""
    monkeypatch.setattr(logs, "LARGEST", 5_000)
    monkeypatch.setattr(logs, "KEPT", 500)
    trainer_is("for i in $(seq 400); do echo all is well; sleep 0.001; echo line $i; done\nsleep 0.2\necho the end\n")
    supervise(folder)
    log = (folder / "log.txt").read_text()
    assert len(log) < 5_500
    assert log.startswith("the log had more than 5,000 bytes: this is the end of it\n")
    assert log.endswith("line 400\nthe end\n")


def test_the_state_is_starting_until_the_trainer_reports(folder, trainer_is):
    trainer_is('cp "$3/status.json" "$3/then.json"')
    supervise(folder)
    then = read_json(folder / "then.json")
    assert (then["state"], then["supervisor"]) == ("starting", processes.identity())


@pytest.mark.parametrize(
    ("script", "code"),
    [
        (ME + ASK_STOP + WAIT, -15),  # ignores the request: SIGTERM
        (ME + "trap 'echo term > \"$3/term\"' TERM\n" + ASK_STOP + WAIT, -9),  # ignores SIGTERM too
    ],
)
def test_a_trainer_that_ignores_a_stop_is_killed(folder, trainer_is, script, code):
    trainer_is(script)
    supervise(folder)
    assert exit_of(folder) == ("stopped", "stopped on request", code)
    assert not psutil.pid_exists(int((folder / "pid").read_text()))
    assert (folder / "term").exists() == (code == -9)


def test_a_trainer_that_stops_by_itself_is_not_signalled(folder, trainer_is):
    trainer_is(ASK_STOP + "trap 'echo term > \"$3/term\"' TERM\n" + says("stopped", "stopped on request; resume"))
    supervise(folder)
    assert exit_of(folder) == ("stopped", "stopped on request; resume", 0)
    assert not (folder / "term").exists()


def test_child_processes_of_the_trainer_do_not_outlive_it(folder, trainer_is, eventually):
    """A surviving data loader worker would hold the device."""
    trainer_is('sleep 1000 &\necho $! > "$3/child"\n' + says("finished", "done"))
    supervise(folder)
    child = int((folder / "child").read_text())
    eventually(lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE)


# --- turns ---


def test_a_run_stopped_while_queued_starts_no_trainer(folder, trainer_is):
    trainer_is(ME)
    runs.request(folder, "stop")
    with FileLock(lock_path(folder.parent, "cpu", "turn")):
        supervise(folder)
    assert exit_of(folder) == ("stopped", "stopped while queued", 0)
    assert not (folder / "pid").exists()


@pytest.mark.parametrize("role", ["turn", "trainer"])
def test_it_waits_for_the_device(folder, trainer_is, eventually, role):
    """Only `trainer` is held if the supervisor of the previous run has died."""
    trainer_is(ME + says("finished", "done"))
    queue = threading.Thread(target=supervise, args=(folder,))
    with FileLock(lock_path(folder.parent, "cpu", role)):
        queue.start()
        eventually(lambda: read_json(folder / "status.json").get("state") == "queued")
        queue.join(0.3)  # long enough for about 15 polls of the lock
        assert queue.is_alive()
        assert not (folder / "pid").exists()
    eventually(lambda: not queue.is_alive())
    assert exit_of(folder)[0] == "finished"


def test_runs_that_came_first_go_first(folder, trainer_is, eventually):
    """The device is free, but the run ahead has not taken it yet."""
    trainer_is(ME + says("finished", "done"))
    before = runs.create(folder.parent, "lenet5", "")
    runs.update_status(before, device_key="cpu", queued_at=0.5, state="queued", supervisor=processes.identity())
    queue = threading.Thread(target=supervise, args=(folder,))
    queue.start()
    queue.join(0.3)
    still_waits = queue.is_alive() and not (folder / "pid").exists()
    (before / "exit.json").write_text("{}")
    eventually(lambda: not queue.is_alive())
    assert still_waits
    assert exit_of(folder)[0] == "finished"


def test_another_device_is_not_waited_for(folder, trainer_is):
    trainer_is(says("finished", "done"))
    with FileLock(lock_path(folder.parent, "cuda:0", "turn")):
        assert supervise(folder)["state"] == "finished"


def test_the_turn_is_released(folder, trainer_is):
    trainer_is("exit 1")
    supervise(folder)
    with FileLock(lock_path(folder.parent, "cpu", "turn")).acquire(timeout=0) as lock:
        assert lock.lock_counter == 1


def test_it_imports_no_torch():
    """Ten queued runs must not use ten times the memory of PyTorch."""
    code = "import sys, trimcore.jobs.supervisor; print('torch' in sys.modules, 'numpy' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False", "False"]
