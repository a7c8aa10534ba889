"""Runs whose supervisors died while they waited, as after a restart of the machine, go back to their places."""

import os
import signal
import socket

import pytest

from tests.trimcore.jobs.waiting_runs import shown, wait_in
from trimcore import runs
from trimcore.errors import RunError, SpecError
from trimcore.jobs import control, queue, reordering, restoring
from trimcore.system import processes
from trimcore.system.files import read_json

DEAD = {"pid": 1, "started": 0.0, "host": socket.gethostname()}


@pytest.fixture
def restarted(monkeypatch):
    """New supervisors are not started, only recorded as if they were this process."""
    started = []

    def start(folder):
        started.append(folder.name)
        runs.update_status(folder, supervisor=processes.identity())

    monkeypatch.setattr(control, "_start_supervisor", start)
    return started


def crash(runs_folder) -> None:
    for run_id in runs.list_runs(runs_folder):
        runs.update_status(runs_folder / run_id, supervisor=DEAD, launcher=DEAD)


@pytest.fixture
def crashed(runs_folder) -> list[str]:
    """Four runs that waited, in their order when the machine crashed: the last one was moved to the front, and the
    second is held. One run more was working, and one had been taken out."""
    made = [wait_in(runs_folder, float(at)).name for at in range(4)]
    reordering.move(runs_folder, made[3], "first")
    reordering.hold(runs_folder, made[1])
    wait_in(runs_folder, -5.0, state="running")
    reordering.take_out(runs_folder, wait_in(runs_folder, 9.0).name)
    crash(runs_folder)
    return [made[3], *made[:3]]


@pytest.mark.parametrize("recorded", [False, True])
def test_lost_runs_that_waited_go_back_in_their_order(runs_folder, crashed, restarted, recorded):
    assert shown(runs_folder) == []
    assert restoring.restorable(runs_folder) == crashed
    if recorded:  # `doctor` has noticed them before
        assert set(restoring.record_ends(runs_folder)) > set(crashed)
        assert restoring.restorable(runs_folder) == crashed
    assert restoring.restore(runs_folder) == restarted == crashed
    assert shown(runs_folder) == crashed
    assert [e.place.held for e in queue.waiting(runs_folder)] == [False, False, True, False]
    assert restoring.restorable(runs_folder) == restoring.restore(runs_folder) == []


def test_a_single_resume_goes_to_the_end_and_is_not_held(runs_folder, crashed, restarted):
    control.resume(runs_folder, crashed[2])
    restoring.restore(runs_folder)
    assert shown(runs_folder) == [*crashed[:2], crashed[3], crashed[2]]
    assert not any(e.place.held for e in queue.waiting(runs_folder))


def test_what_cannot_be_carried_out_here_is_not_put_back(runs_folder, crashed, restarted):
    (runs_folder / crashed[0] / "brought.json").write_text("{}")
    (runs_folder / crashed[1] / "spec.toml").write_text('model = "object:Net"\n')
    assert restoring.restore(runs_folder) == crashed[2:]


def test_a_run_that_cannot_be_put_back_does_not_keep_the_others_out(runs_folder, crashed, restarted, monkeypatch):
    def check(folder):
        if folder.name == crashed[1]:
            raise SpecError("its model is not there")

    monkeypatch.setattr(control, "_check_allowed", check)
    with pytest.raises(RunError, match="^3 of 4 runs are back in the queue; its model is not there$"):
        restoring.restore(runs_folder)
    assert shown(runs_folder) == [crashed[0], *crashed[2:]]


def test_ends_are_recorded_only_for_runs_of_this_machine_whose_processes_are_gone(runs_folder, tmp_path):
    alive, ended = wait_in(runs_folder, 1.0), wait_in(runs_folder, 2.0)
    runs.write_exit(ended, "paused", "x")
    elsewhere = wait_in(runs_folder, 3.0, state="running", supervisor={**DEAD, "host": "elsewhere"})
    alone = wait_in(runs_folder, 4.0, state="running", supervisor=DEAD, outcome={"state": "finished", "reason": "done"})
    lost = wait_in(runs_folder, 5.0, state="running", supervisor=DEAD)
    before = {folder: read_json(folder / "status.json") for folder in (alive, ended, elsewhere)}
    assert set(restoring.record_ends(runs_folder)) == {lost.name, alone.name}
    assert {folder: read_json(folder / "status.json") for folder in before} == before
    assert read_json(alone / "status.json")["state"] == "finished"
    values = read_json(lost / "status.json")
    assert (values["state"], values["lost_from"], values["outcome"]["state"]) == ("lost", "running", "lost")
    assert (runs.state_of(lost).state, runs.state_of(alone).state) == ("lost", "finished")
    assert restoring.record_ends(runs_folder) == []


def test_real_supervisors_are_killed_and_the_queue_is_restored(runs_folder, tiny, make_spec, eventually):
    """What a restart of the machine leaves behind; then every run finishes, in the order that was shown."""
    long = control.launch(make_spec(base={"epochs": 1_000_000}), runs_folder)
    eventually(lambda: runs.state_of(runs_folder / long).state == "running")
    ids = [control.launch(tiny, runs_folder) for _ in range(3)]
    reordering.move(runs_folder, ids[2], "first")
    reordering.hold(runs_folder, ids[0])
    for run_id in (*ids, long):
        values = read_json(runs_folder / run_id / "status.json")
        for process in filter(None, (values["supervisor"], values.get("trainer"))):
            os.kill(process["pid"], signal.SIGKILL)
    eventually(lambda: {runs.state_of(runs_folder / run_id).state for run_id in (*ids, long)} == {"lost"})
    assert restoring.restore(runs_folder) == [ids[2], ids[0], ids[1]]
    eventually(lambda: runs.state_of(runs_folder / ids[1]).state == "finished")
    assert runs.state_of(runs_folder / ids[0]).state == "queued"
    reordering.release(runs_folder, ids[0])
    eventually(lambda: runs.state_of(runs_folder / ids[0]).state == "finished")
    began = {run_id: read_json(runs_folder / run_id / "status.json")["started_at"] for run_id in ids}
    assert sorted(ids, key=began.__getitem__) == [ids[2], ids[1], ids[0]]
