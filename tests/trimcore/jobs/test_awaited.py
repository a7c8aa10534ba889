"""A branch of a run that is still training the base network waits for it, and lets others pass."""

import threading

import pytest

from trimcore import runs, spec
from trimcore.errors import RunError
from trimcore.jobs import awaited, control, queue, supervisor
from trimcore.jobs.supervisor import supervise
from trimcore.runs import sweeps
from trimcore.runs.sweeps import Member
from trimcore.system import processes
from trimcore.system.files import read_json


@pytest.fixture
def parent(tiny, runs_folder):
    """A run that counts as active: this process is its launcher."""
    return control.prepare_run(tiny, runs_folder)


@pytest.fixture
def branch(tiny, parent):
    return control.prepare_run(tiny.model_copy(update={"parent": spec.Parent(run=parent.name)}), parent.parent)


@pytest.fixture
def supervised(branch, monkeypatch, eventually):
    """The supervisor of the branch, in a thread, with a trainer that ends at once."""
    monkeypatch.setattr(supervisor, "POLL", 0.02)
    monkeypatch.setattr(supervisor.sys, "executable", "/bin/true")
    thread = threading.Thread(target=supervise, args=(branch,))
    thread.start()
    eventually(lambda: read_json(branch / "status.json").get("supervisor"))
    yield thread
    runs.request(branch, "stop")
    thread.join(20)


def has_base(parent) -> None:
    runs.checkpoint_path(parent, 0).write_bytes(b"")


def reason(folder) -> str:
    return read_json(folder / "exit.json").get("reason", "")


def test_it_waits_until_the_network_is_there(parent, branch, supervised, eventually):
    assert read_json(branch / "status.json")["awaits"] == {"run": parent.name, "iteration": 0}
    supervised.join(0.3)  # about 15 looks
    assert supervised.is_alive()
    assert runs.state_of(branch).state == "queued"
    has_base(parent)
    eventually(lambda: not supervised.is_alive())
    assert "the trainer exited with code 0" in reason(branch), "it was started"


def test_it_fails_with_one_line_if_the_parent_ends_without(parent, branch, supervised, eventually):
    runs.write_exit(parent, "stopped", "stopped on request")
    eventually(lambda: not supervised.is_alive())
    assert read_json(branch / "exit.json")["state"] == "failed"
    assert reason(branch) == (
        f"run {parent.name}, whose network it starts from, is stopped: resume that run first, and then this one"
    )


def test_it_waits_for_a_paused_parent_and_can_be_stopped(parent, branch, supervised, eventually):
    runs.write_exit(parent, "paused", "paused on request")
    supervised.join(0.3)
    assert supervised.is_alive()
    control.ask(branch.parent, branch.name, "stop")
    eventually(lambda: not supervised.is_alive())
    assert reason(branch) == "stopped while queued"


def test_a_deleted_parent_is_named(parent, branch):
    assert awaited.in_vain(branch) == ""
    (parent / "spec.toml").unlink()
    assert "there is no run" in awaited.in_vain(branch)


def test_a_sweep_that_has_met_its_target_needs_no_base(parent, branch):
    """The reason is the target, not the base that was stopped because of it."""
    target = {"accuracy": 0.5, "smaller": 1.5}
    sweeps.write_member(parent, Member("s", 2, base=0, target=target))
    sweeps.write_member(branch, Member("s", 2, point=0, target=target))
    runs.write_exit(parent, "stopped", "stopped on request")
    assert supervise(branch)["state"] == "failed"
    (branch / "exit.json").unlink()
    winner = runs.create(branch.parent, "lenet5", "")
    sweeps.write_member(winner, Member("s", 2, point=1, target=target))
    (winner / "events.jsonl").write_text(
        '{"kind": "iteration", "iteration": 1, "layers_trimmed": [], "widths": {}, "parameters": 5, "compression": 2.0,'
        ' "macs": 5, "macs_ratio": 2.0, "accuracy_final": 0.9, "validation_accuracy": 0.9}\n'
    )
    ended = supervise(branch)
    assert ended["state"] == "stopped"
    assert ended["reason"].startswith(f"the sweep's target was met by run {winner.name}")


def test_a_waiting_run_is_not_ahead_of_others(parent, branch, tiny):
    """Else it would wait for its parent, and a parent that is resumed later would wait for it."""
    me = processes.identity()
    other = control.prepare_run(tiny, parent.parent)
    for place, folder in enumerate((branch, other)):
        runs.update_status(folder, supervisor=me, queued_at=float(place))

    def ahead() -> list[str]:
        return [entry.run_id for entry in queue.ahead(queue.entry_of(other), queue.waiting(parent.parent))]

    assert branch.name not in ahead()
    assert queue.is_next(other)
    assert not queue.is_next(branch)
    has_base(parent)
    assert branch.name in ahead()
    assert queue.is_next(branch)


def test_only_iteration_0_of_an_active_run_is_awaited(parent, tiny):
    later = tiny.model_copy(update={"parent": spec.Parent(run=parent.name, iteration=1)})
    with pytest.raises(RunError, match="has no iteration 1 to branch from"):
        control.prepare_run(later, parent.parent)
    runs.write_exit(parent, "failed", "out of memory")
    with pytest.raises(RunError, match="has no iteration 0 to branch from"):
        control.prepare_run(tiny.model_copy(update={"parent": spec.Parent(run=parent.name)}), parent.parent)


@pytest.mark.parametrize("awaits", [3, [], {}, {"run": 3}, *({"run": "x", "iteration": k} for k in (-1, "0", None))])
def test_a_made_up_entry_is_ignored(runs_folder, awaits):
    assert awaited.waits(runs_folder, {"awaits": awaits}) == ""
