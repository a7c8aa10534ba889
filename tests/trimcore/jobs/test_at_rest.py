"""A run folder at rest tells how the run ended in status.json too, whatever way it ended."""

import os
import signal
import subprocess
import sys

import pytest
import torch
from torch import nn

import trimcore as tc
from trimcore import runs, spec
from trimcore.cli.main import main
from trimcore.errors import RunError, TrimError
from trimcore.jobs import control, diagnosis, foreground, reordering, worker
from trimcore.system.files import read_json

LONG = {"base": {"epochs": 1_000_000}}


def at_rest(folder) -> tuple[str, str]:
    """What status.json says, which must be what the run ended as."""
    values = read_json(folder / "status.json")
    assert values["outcome"] == {"state": values["state"], "reason": runs.state_of(folder).reason}
    if (folder / "exit.json").exists():
        assert read_json(folder / "exit.json")["state"] == values["state"]
    assert runs.state_of(folder).state == values["state"]
    return values["state"], values["outcome"]["reason"]


@pytest.fixture
def launched(runs_folder, make_spec, eventually):
    """launched(**changes): the folder of a run in the background."""
    return lambda **changes: runs_folder / control.launch(make_spec(**changes), runs_folder)


@pytest.fixture
def trains(eventually):
    """Wait until a run trains."""
    return lambda folder: eventually(lambda: runs.state_of(folder).state == "running")


def ended(folder, eventually) -> tuple[str, str]:
    eventually(lambda: not runs.state_of(folder).active)
    return at_rest(folder)


def test_finished_and_failed_under_a_supervisor(launched, eventually):
    done, bad = launched(), launched(base={"weights": "no/such/file.pt"})
    assert ended(done, eventually) == ("finished", "all steps are done")
    assert ended(bad, eventually) == ("failed", "there is no checkpoint 'no/such/file.pt'")


def test_paused_resumed_and_stopped_under_a_supervisor_and_in_the_queue(launched, trains, eventually, runs_folder):
    working = launched(**LONG)
    trains(working)
    queued, taken_out = launched(), launched()
    control.ask(runs_folder, queued.name, "pause")
    reordering.take_out(runs_folder, taken_out.name)
    assert ended(queued, eventually) == ("paused", "paused while queued")
    assert ended(taken_out, eventually) == ("stopped", "stopped while queued")
    control.ask(runs_folder, working.name, "pause")
    assert ended(working, eventually)[0] == "paused"
    control.resume(runs_folder, working.name)
    assert read_json(working / "status.json")["state"] in ("queued", "starting")
    trains(working)
    control.ask(runs_folder, working.name, "stop")
    assert ended(working, eventually)[0] == "stopped"


def test_a_killed_trainer(launched, trains, eventually):
    folder = launched(**LONG)
    trains(folder)
    os.kill(read_json(folder / "status.json")["trainer"]["pid"], signal.SIGKILL)
    assert ended(folder, eventually) == ("failed", "the trainer was killed by the system: out of memory?")


def test_a_killed_supervisor_and_then_a_killed_trainer(launched, trains, eventually, runs_folder):
    """The trainer writes the end itself. Nobody can write that a run is lost, until somebody notices."""
    stopped, lost = launched(**LONG), launched(**LONG)
    trains(stopped)
    os.kill(read_json(stopped / "status.json")["supervisor"]["pid"], signal.SIGKILL)
    control.ask(runs_folder, stopped.name, "stop")
    assert ended(stopped, eventually)[0] == "stopped"
    trains(lost)
    for role in ("supervisor", "trainer"):
        os.kill(read_json(lost / "status.json")[role]["pid"], signal.SIGKILL)
    eventually(lambda: runs.state_of(lost).state == "lost")
    assert read_json(lost / "status.json")["state"] == "running", "what only looks writes nothing"
    list(diagnosis._runs(runs_folder))
    assert at_rest(lost)[0] == "lost"


@pytest.mark.parametrize(
    ("problem", "state"),
    [(None, "finished"), (KeyboardInterrupt(), "stopped"), (TrimError("no such layer"), "failed"),
     (worker.EndRequested("paused", "paused on request"), "paused")],
)  # fmt: skip
def test_on_the_command_line(runs_folder, tiny, tmp_path, monkeypatch, capsys, problem, state):
    def train(*_):
        if problem:
            raise problem
        return {"state": "finished", "reason": "all steps are done"}

    (tmp_path / "spec.toml").write_text(spec.dumps(tiny))
    monkeypatch.setattr(worker, "_train", train)
    monkeypatch.setattr(sys, "argv", ["trimcore", "run", str(tmp_path / "spec.toml")])
    assert main() == (2 if state == "failed" else 0)
    assert at_rest(runs_folder / runs.list_runs(runs_folder)[0])[0] == state


@pytest.mark.parametrize("state", ["finished", "failed"])
def test_in_a_program(runs_folder, tiny, monkeypatch, state):
    monkeypatch.setattr(worker, "_train", lambda *_: {"state": state, "reason": "because"})
    if state == "failed":
        with pytest.raises(RunError, match="because"):
            foreground.run(tiny, runs=runs_folder)
    else:
        foreground.run(tiny, runs=runs_folder)
    assert at_rest(runs_folder / runs.list_runs(runs_folder)[0]) == (state, "because")


def test_with_a_launcher_of_ones_own(runs_folder, tiny, monkeypatch):
    """`python -m trimcore.worker`: there is no supervisor, and nobody writes exit.json."""
    folder = control.prepare_run(tiny, runs_folder)
    monkeypatch.setattr(worker, "_train", lambda *_: {"state": "finished", "reason": "done"})
    worker.carry_out(folder)
    assert read_json(folder / "status.json")["state"] == "finished"
    assert not (folder / "exit.json").exists()


@pytest.mark.parametrize(
    ("problem", "state"),
    [(None, "finished"), (ValueError("x"), "failed"), (KeyboardInterrupt(), "stopped"), ("stop", "stopped"),
     ("finish", "finished")],
)  # fmt: skip
def test_a_loop_of_ones_own(runs_folder, problem, state):
    def loop() -> None:
        with tc.record(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), torch.randn(1, 4)) as run:
            assert read_json(run.folder / "status.json")["state"] == "running"
            if isinstance(problem, BaseException):
                raise problem
            if problem:
                runs.request(run.folder, problem)
            run.final(test=0.5)

    if isinstance(problem, BaseException):
        with pytest.raises(type(problem)):
            loop()
    else:
        loop()
    assert at_rest(runs_folder / runs.list_runs(runs_folder)[0])[0] == state


def test_a_killed_program_with_a_loop_of_its_own_is_lost_once_somebody_notices(runs_folder):
    code = """
import os, torch, trimcore as tc
with tc.record(torch.nn.Sequential(torch.nn.Linear(4, 2)), torch.randn(1, 4)):
    os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", code], check=False)
    (run_id,) = runs.list_runs(runs_folder)
    assert read_json(runs_folder / run_id / "status.json")["state"] == "running"
    list(diagnosis._runs(runs_folder))
    assert at_rest(runs_folder / run_id)[0] == "lost"
