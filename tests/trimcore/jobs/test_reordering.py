"""Moving, holding and taking out waiting runs, also by several people at once and while runs start."""

import itertools
import random
import threading

import pytest
from filelock import FileLock

from tests.trimcore.jobs.waiting_runs import shown, wait_in
from trimcore import runs
from trimcore.errors import RunError
from trimcore.jobs import queue, reordering, turn
from trimcore.jobs.locks import lock_path
from trimcore.jobs.reordering import MOVES, moved
from trimcore.runs.place import Place, place_of, write_place
from trimcore.system.files import read_json


@pytest.fixture
def five(runs_folder) -> list[str]:
    """Five runs that wait for the CPU, in order."""
    return [wait_in(runs_folder, float(at)).name for at in range(5)]


@pytest.mark.parametrize(
    ("number", "where", "order"),
    [(2, "up", "02134"), (2, "down", "01324"), (2, "first", "20134"), (2, "last", "01342"), (4, "up", "01243"),
     (0, "down", "10234"), (1, "first", "10234"), (3, "last", "01243")],
)  # fmt: skip
def test_moves(runs_folder, five, number, where, order):
    reordering.move(runs_folder, five[number], where)
    assert shown(runs_folder) == [five[int(digit)] for digit in order]
    new = wait_in(runs_folder, 5.0).name
    assert shown(runs_folder)[-1] == new, "who comes later is still behind"


@pytest.mark.parametrize(("number", "where", "already"), [(0, "up", "first"), (0, "first", "first"),
                                                          (4, "down", "last"), (4, "last", "last")])  # fmt: skip
def test_there_must_be_something_to_pass(runs_folder, five, number, where, already):
    with pytest.raises(RunError, match=f"^run '{five[number]}' is already {already} in the queue$"):
        reordering.move(runs_folder, five[number], where)
    assert shown(runs_folder) == five


def test_only_runs_on_a_shared_device_are_passed(runs_folder):
    gpu, cpu, both, later = (
        wait_in(runs_folder, at, *devices).name
        for at, devices in enumerate([("cuda:0",), ("cpu",), ("cuda:0", "cpu"), ("cuda:0",)])
    )
    reordering.move(runs_folder, later, "up")
    assert shown(runs_folder) == [gpu, cpu, later, both]
    reordering.move(runs_folder, both, "up", "cpu")  # past the neighbour in the line of the CPU
    assert shown(runs_folder) == [gpu, both, cpu, later]
    reordering.move(runs_folder, gpu, "down")
    assert shown(runs_folder) == [both, gpu, cpu, later]
    with pytest.raises(RunError, match="already last"):
        reordering.move(runs_folder, cpu, "down")


def test_moved_agrees_with_taking_out_and_putting_in_by_hand():
    """Brute force over all positions, moves and sets of rivals in queues of four."""
    order = list("abcd")
    for run_id, where, size in itertools.product(order, MOVES, range(5)):
        for rivals in itertools.combinations(order, size):
            at = order.index(run_id)
            before, behind = [i for i in order[:at] if i in rivals], [i for i in order[at + 1 :] if i in rivals]
            sides = {"first": before, "up": before, "down": behind, "last": behind}[where]
            if not sides:
                with pytest.raises(RunError):
                    moved(order, run_id, where, rivals)
                continue
            found = moved(order, run_id, where, rivals)
            assert [i for i in found if i != run_id] == [i for i in order if i != run_id]
            now = [i for i in found[found.index(run_id) + 1 :] if i in rivals]
            passed = {"first": before, "up": before[-1:], "down": behind[:1], "last": behind}[where]
            assert set(now) == (set(behind) | set(passed) if where in ("first", "up") else set(behind) - set(passed))


@pytest.mark.parametrize(("number", "where"), [(3, "up"), (3, "first"), (1, "down"), (1, "last")])
def test_a_mover_that_is_killed_leaves_an_order_that_makes_sense(runs_folder, five, number, where, monkeypatch):
    """Until the last file is written, only single runs have passed the moved one; the others keep their order."""
    write, seen = write_place, []

    def watched(folder, place):
        write(folder, place)
        seen.append(shown(runs_folder))

    monkeypatch.setattr(runs, "write_place", watched)
    reordering.move(runs_folder, five[number], where)
    rest = [run_id for run_id in five if run_id != five[number]]
    assert all([run_id for run_id in order if run_id != five[number]] == rest for order in seen)
    places = [order.index(five[number]) for order in seen]
    assert places in (sorted(places), sorted(places, reverse=True))
    assert seen[-1] == shown(runs_folder) != five


def test_a_held_run_keeps_its_place(runs_folder, five):
    reordering.hold(runs_folder, five[0])
    assert shown(runs_folder) == five
    assert queue.is_next(runs_folder / five[1])
    reordering.move(runs_folder, five[1], "down")
    assert place_of(runs_folder / five[0], 0.0).held
    reordering.release(runs_folder, five[0])
    assert queue.is_next(runs_folder / five[0])


def test_a_run_that_does_not_wait_cannot_be_changed(runs_folder, five):
    runs.update_status(runs_folder / five[0], state="running")
    runs.write_exit(runs_folder / five[1], "failed", "x")
    changes = [reordering.hold, reordering.release, reordering.take_out, lambda *run: reordering.move(*run, "down")]
    for change in changes:
        for number, state in ((0, "running"), (1, "failed")):
            with pytest.raises(RunError, match=f"does not wait in the queue: it is {state}$"):
                change(runs_folder, five[number])
        with pytest.raises(RunError, match="there is no run 'elsewhere'"):
            change(runs_folder, "elsewhere")
        with pytest.raises(RunError, match="is not a run id"):
            change(runs_folder, "../elsewhere")
    assert not any((runs_folder / run_id / name).exists() for run_id in five for name in ("queue.json", "request.json"))


def test_an_unwritable_folder_is_one_line(runs_folder, five, monkeypatch):
    def read_only(*_):
        raise OSError(30, "Read-only file system", "queue.json")

    monkeypatch.setattr(runs, "write_place", read_only)
    with pytest.raises(RunError, match=r"Read-only file system \(queue.json\)$"):
        reordering.hold(runs_folder, five[0])


def test_two_people_move_at_once(runs_folder, five):
    """No run is lost or doubled, and no two runs have the same rank."""
    problems = []

    def mover(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(15):
            try:
                reordering.move(runs_folder, chance.choice(five), chance.choice(MOVES))
            except RunError as error:
                if "already" not in str(error):
                    problems.append(error)

    movers = [threading.Thread(target=mover, args=(seed,)) for seed in range(3)]
    for thread in movers:
        thread.start()
    for thread in movers:
        thread.join()
    assert problems == []
    assert sorted(shown(runs_folder)) == sorted(five)
    ranks = [place_of(runs_folder / run_id, float(five.index(run_id))).rank for run_id in five]
    assert len(set(ranks)) == len(ranks)


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: write_place(folder, Place(0.0, held=True)),
        lambda folder: runs.request(folder, "stop"),
        lambda folder: wait_in(folder.parent, -1.0),  # as if another one were moved to the front
    ],
)
def test_a_run_that_is_changed_while_it_is_about_to_start_does_not_start(runs_folder, change):
    """Its supervisor has seen that it is next, and has the device, but not yet the lock of the queue."""
    folder, got = wait_in(runs_folder, 0.0), []
    starting = threading.Thread(target=lambda: got.append(turn._take(folder, ["cpu"])))
    with queue.lock(runs_folder):
        starting.start()
        starting.join(0.2)
        assert starting.is_alive()
        change(folder)
    starting.join()
    assert got == [None]
    assert read_json(folder / "status.json")["state"] == "queued"
    assert (runs_folder / ".locks" / "cpu.turn.lock").exists()


def test_a_waiting_run_sees_that_it_is_held_released_and_taken_out(runs_folder, eventually, monkeypatch):
    monkeypatch.setattr(turn, "POLL", 0.01)
    folder, got = wait_in(runs_folder, 0.0), []
    reordering.hold(runs_folder, folder.name)
    waiting = threading.Thread(target=lambda: got.append(turn.wait(folder)))
    waiting.start()
    waiting.join(0.2)
    assert waiting.is_alive()
    reordering.release(runs_folder, folder.name)
    eventually(lambda: got)
    assert read_json(folder / "status.json")["state"] == "starting"
    behind = wait_in(runs_folder, 1.0)
    waiting = threading.Thread(target=lambda: got.append(turn.wait(behind)))
    waiting.start()
    reordering.take_out(runs_folder, behind.name)
    waiting.join(10)
    got[0].close()
    assert got[1] is None
    assert turn.outcome(behind) == ("stopped", "stopped while queued")


def test_a_waiting_run_does_not_read_the_others_while_its_device_is_taken(runs_folder, eventually, monkeypatch):
    """With sixty runs that wait, reading them all five times a second would take several cores."""
    looked, position = [], queue.position
    monkeypatch.setattr(turn, "POLL", 0.01)
    monkeypatch.setattr(queue, "position", lambda folder: looked.append(folder) or position(folder))
    folder, got = wait_in(runs_folder, 0.0), []
    with FileLock(lock_path(runs_folder, "cpu", "turn")):
        waiting = threading.Thread(target=lambda: got.append(turn.wait(folder)))
        waiting.start()
        waiting.join(0.3)  # about thirty polls
        assert waiting.is_alive()
        assert looked == []
    eventually(lambda: got)
    got[0].close()


def test_a_run_far_behind_looks_less_often(runs_folder, monkeypatch):
    looked, position = [], queue.position
    monkeypatch.setattr(turn, "POLL", 0.01)
    monkeypatch.setattr(queue, "position", lambda folder: looked.append(folder) or position(folder))
    for rank in range(9):
        wait_in(runs_folder, float(rank))
    last = wait_in(runs_folder, 9.0)
    waiting = threading.Thread(target=turn.wait, args=(last,))
    waiting.start()
    waiting.join(0.3)
    reordering.take_out(runs_folder, last.name)
    waiting.join(10)
    assert 1 <= len(looked) <= 4, "every tenth of about thirty polls"
