"""The order of the queue: first come, first served, unless runs are moved; and that runs start in the order shown."""

import json
import random
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.trimcore.jobs.waiting_runs import shown, wait_in
from trimcore import runs
from trimcore.errors import RunError
from trimcore.jobs import queue, reordering, turn
from trimcore.runs.place import Place, place_of, write_place
from trimcore.system import processes


def test_first_come_first_served(runs_folder):
    made = [wait_in(runs_folder, at).name for at in (3.0, 1.0, 2.0)]
    assert shown(runs_folder) == [made[1], made[2], made[0]]


@pytest.mark.parametrize(
    ("other", "first"),
    [
        ({"queued_at": 0.5}, True),
        ({"queued_at": 1.5}, False),
        ({"queued_at": 0.5, "device_key": "cuda:0"}, False),
        ({"queued_at": 0.5, "device_key": "cuda:0", "more_devices": ["cpu"]}, True),
        ({"queued_at": 0.5, "supervisor": None}, False),  # its supervisor is gone
        ({"queued_at": 0.5, "supervisor": None, "trainer": processes.identity()}, True),  # in the foreground
        ({"queued_at": 0.5, "state": "running"}, False),  # it has its turn, and the locks of the device
        ({"queued_at": "soon", "more_devices": 3}, True),  # a damaged file: first, since nothing is known
    ],
)
def test_only_earlier_live_runs_that_wait_for_the_same_device_are_ahead(runs_folder, other, first):
    before, folder = wait_in(runs_folder, 0.5, **other), wait_in(runs_folder, 1.0)
    ahead = queue.ahead(queue.entry_of(folder), queue.entries(runs_folder))
    assert [entry.run_id for entry in ahead] == ([before.name] if first else [])
    assert queue.is_next(folder) == (not first)
    runs.write_exit(before, "stopped", "x")
    assert queue.is_next(folder)


def test_a_held_run_is_not_next_and_holds_up_nobody(runs_folder):
    first, second = wait_in(runs_folder, 1.0), wait_in(runs_folder, 2.0)
    write_place(first, Place(1.0, held=True))
    assert (queue.is_next(first), queue.is_next(second)) == (False, True)
    assert [(e.run_id, e.state) for e in queue.entries(runs_folder)] == [(first.name, "held"), (second.name, "queued")]


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"rank": 5', '{"rank": "first", "held": false}', '{"rank": NaN, "held": false}', '{"held": true}',
     '{"rank": -Infinity, "held": false}', '{"rank": 1e300, "held": false}', '{"rank": true, "held": false}',
     '{"rank": -1, "held": "yes"}', '{"rank": -1}', "\0" * 99, "[" * 100_000],
)  # fmt: skip
def test_a_damaged_place_is_the_one_by_time(tmp_path, text):
    (tmp_path / "queue.json").write_text(text)
    assert place_of(tmp_path, 7.0) == Place(7.0, held=False)


@pytest.mark.parametrize(
    "text",
    ["", "[1]", '{"state": 3}', '{"heartbeat": "x", "supervisor": 5, "trainer": {"host": []}, "launcher": "me"}',
     '{"state": ["queued"], "outcome": [1]}', '{"device_key": {}, "more_devices": 7, "queued_at": {}}'],
)  # fmt: skip
def test_a_damaged_run_stops_no_other(runs_folder, text):
    """Every supervisor looks at every run that has recorded no end."""
    damaged, folder = wait_in(runs_folder, 1.0), wait_in(runs_folder, 2.0)
    (damaged / "status.json").write_text(text)
    assert queue.is_next(folder)
    assert shown(runs_folder) == [folder.name]


def test_a_place_that_is_a_link_is_not_followed(runs_folder, tmp_path):
    folder = wait_in(runs_folder, 1.0)
    (tmp_path / "elsewhere.json").write_text('{"rank": 1, "held": true}')
    (folder / "queue.json").symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(RunError, match="its queue.json is a link"):
        reordering.hold(runs_folder, folder.name)
    assert shown(runs_folder) == []


def test_a_run_on_two_devices_stands_at_both_and_working_runs_come_first(runs_folder):
    both = wait_in(runs_folder, 1.0, "cuda:0", "cuda:1").name
    one = wait_in(runs_folder, 2.0, "cuda:1").name
    works = wait_in(runs_folder, 3.0, "cuda:1", state="running", started_at=4.0).name
    own_loop = wait_in(runs_folder, 3.0, "cuda:1", state="running", own_loop=True).name
    found = queue.by_device(queue.entries(runs_folder))
    assert {device: [e.run_id for e in here] for device, here in found.items()} == {
        "cuda:0": [both], "cuda:1": [works, both, one],
    }  # fmt: skip
    assert own_loop not in str(found)


class Machine:
    """Runs that start and end as their supervisors would let them. Each supervisor tries when `random` says so."""

    def __init__(self, folder: Path, chance: random.Random):
        self.folder, self.chance, self.clock = folder, chance, 0.0
        self.working: dict[str, ExitStack] = {}
        self.started: list[str] = []

    def launch(self) -> None:
        self.clock += 1
        devices = self.chance.choice([("cpu",), ("cuda:0",), ("cuda:1",), ("cuda:0", "cuda:1"), ("cuda:1", "cpu")])
        wait_in(self.folder, self.clock, *devices)

    def change(self) -> None:
        change = self.chance.choice([reordering.move] * 3 + [reordering.hold, reordering.release, reordering.take_out])
        where = (self.chance.choice(reordering.MOVES),) if change is reordering.move else ()
        run_id = self.chance.choice(runs.list_runs(self.folder) or [""])
        before = shown(self.folder)
        try:
            change(self.folder, run_id, *where)
            problem = ""
        except RunError as error:
            problem = str(error)
        assert not problem or run_id not in before or "already" in problem, problem
        rest = [other for other in before if other != run_id]
        assert [other for other in shown(self.folder) if other != run_id] == rest, "the others keep their order"
        self.leave()

    def leave(self) -> None:
        """The supervisors of runs that were taken out end."""
        for entry in queue.waiting(self.folder):
            if runs.requested(self.folder / entry.run_id) == "stop":
                runs.write_exit(self.folder / entry.run_id, *turn.outcome(self.folder / entry.run_id))

    def end(self) -> None:
        if self.working:
            run_id = self.chance.choice(sorted(self.working))
            runs.write_exit(self.folder / run_id, self.chance.choice(["finished", "failed", "paused"]), "x")
            self.working.pop(run_id).close()

    def poll(self) -> None:
        """Every supervisor tries once, in any order."""
        tries = shown(self.folder)
        self.chance.shuffle(tries)
        for run_id in tries:
            folder = self.folder / run_id
            entry = queue.entry_of(folder)
            lines = queue.by_device(queue.entries(self.folder))
            if queue.is_next(folder) and (locks := turn._take(folder, list(entry.devices))):
                for device in entry.devices:
                    assert not any(e.run_id in self.working for e in lines[device]), "one run at a time"
                    first = next(e.run_id for e in lines[device] if e.waits and not e.place.held)
                    assert first == run_id, "the first one shown starts"
                self.working[run_id] = locks
                self.started.append(run_id)

    def assert_nobody_waits_in_vain(self) -> None:
        """Once everybody has tried, each run that still waits is held, behind another one, or its device is taken."""
        taken = {device for run_id in self.working for device in queue.entry_of(self.folder / run_id).devices}
        for entry in queue.waiting(self.folder):
            assert not queue.is_next(self.folder / entry.run_id) or taken & set(entry.devices)


@pytest.mark.parametrize("seed", range(8))
def test_runs_start_in_the_order_shown(runs_folder, seed):
    """Random launches, moves, holds, stops and ends; after them, everything that is left runs in the order shown."""
    machine = Machine(runs_folder, random.Random(seed))
    for _ in range(30):
        machine.chance.choice([machine.launch, machine.launch, machine.change, machine.change, machine.end])()
        machine.poll()
        machine.assert_nobody_waits_in_vain()
    for entry in queue.waiting(runs_folder):
        reordering.release(runs_folder, entry.run_id)
    machine.started.clear()
    lines = queue.by_device(queue.waiting(runs_folder))
    expected = {device: [e.run_id for e in here] for device, here in lines.items()}
    machine.poll()
    while machine.working:
        machine.end()
        machine.poll()
    assert shown(runs_folder) == [], "no deadlock, and no run is left behind"
    assert {d: [r for r in machine.started if r in line] for d, line in expected.items()} == expected
    assert len(set(machine.started)) == len(machine.started)


def test_a_place_survives_in_its_own_file(runs_folder):
    folder = wait_in(runs_folder, 5.0)
    write_place(folder, Place(2.5, held=True))
    assert json.loads((folder / "queue.json").read_text()) == {"rank": 2.5, "held": True}
    assert place_of(folder, 5.0) == Place(2.5, held=True)
