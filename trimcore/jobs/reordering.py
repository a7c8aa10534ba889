"""Move, hold, release and take out runs that wait in the queue. Imports no torch.

A run's place is kept in its own folder. Whoever changes the order holds one lock meanwhile.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import Timeout

from trimcore import runs
from trimcore.errors import RunError
from trimcore.jobs import queue
from trimcore.jobs.queue import Entry

MOVES = ("first", "up", "down", "last")
FORWARD = ("first", "up")


def move(runs_folder: Path, run_id: str, where: str, device: str = "") -> None:
    """Move a waiting run to the front or the end of the queue, or past its neighbour: the next run that waits for
    `device`, or for any of its devices. `where` is one of MOVES.

    Raises RunError if the run does not wait, if there is nothing to pass, or if a folder cannot be written.
    """
    with _changing(runs_folder, run_id) as (mine, waiting):
        rivals = [e.run_id for e in waiting if (device in e.devices if device else e.shares_device(mine))]
        order = moved([e.run_id for e in waiting], run_id, where, rivals)
        front = order[: order.index(run_id) + (where in FORWARD)]
        held = {e.run_id: e.place.held for e in waiting}
        for other, rank in ranks_of(front, min(e.place.rank for e in waiting)).items():
            runs.write_place(runs_folder / other, runs.Place(rank, held[other]))


def hold(runs_folder: Path, run_id: str) -> None:
    """Let a waiting run wait until it is released; others pass it. Raises RunError as `move` does."""
    with _changing(runs_folder, run_id) as (mine, _):
        runs.write_place(runs_folder / run_id, runs.Place(mine.place.rank, held=True))


def release(runs_folder: Path, run_id: str) -> None:
    """Let a held run have its turn again, in its old place. Raises RunError as `move` does."""
    with _changing(runs_folder, run_id) as (mine, _):
        runs.write_place(runs_folder / run_id, runs.Place(mine.place.rank, held=False))


def take_out(runs_folder: Path, run_id: str) -> None:
    """Stop a run while it waits. Raises RunError as `move` does, so a run that has just started goes on."""
    with _changing(runs_folder, run_id):
        runs.request(runs_folder / run_id, "stop")


def moved(order: Sequence[str], run_id: str, where: str, rivals: Sequence[str]) -> list[str]:
    """The order after a run has moved. `rivals` are the runs of `order` with which it shares a device. Raises RunError
    if there is nothing to pass.

    >>> moved(["a", "b", "c", "d"], "d", "up", ["a", "b"])
    ['a', 'd', 'b', 'c']
    """
    at = order.index(run_id)
    passed = [other for other in (order[:at] if where in FORWARD else order[at + 1 :]) if other in rivals]
    if not passed:
        raise RunError(f"run {run_id!r} is already {'first' if where in FORWARD else 'last'} in the queue")
    others = [other for other in order if other != run_id]
    place = others.index(passed[0] if where in ("first", "down") else passed[-1]) + (where not in FORWARD)
    return [*others[:place], run_id, *others[place:]]


def ranks_of(front: Sequence[str], lowest: float) -> dict[str, float]:
    """Ranks for the runs at the front, all below the `lowest` rank so far. Written one after the other, each leaves an
    order that makes sense, and the last one makes the move. New runs, whose rank is the present time, still come last.

    >>> ranks_of(["a", "b"], 10.0)
    {'a': 8.0, 'b': 9.0}
    """
    return {run_id: lowest - len(front) + number for number, run_id in enumerate(front)}


@contextmanager
def _changing(runs_folder: Path, run_id: str) -> Iterator[tuple[Entry, list[Entry]]]:
    """The waiting run and all that wait, while nobody else moves one and none of them starts."""
    folder = runs.open_run(runs_folder, run_id)
    try:
        with queue.lock(runs_folder):
            waiting = queue.waiting(runs_folder)
            mine = next((entry for entry in waiting if entry.run_id == run_id), None)
            if mine is None:
                raise RunError(f"run {run_id!r} does not wait in the queue: it is {runs.state_of(folder).state}")
            yield mine, waiting
    except Timeout:
        raise RunError("the queue is being changed by somebody else; try again") from None
    except OSError as error:
        raise RunError(f"run {run_id!r}: {error.strerror or error} ({error.filename or folder})") from None
