"""The command `trimcore queue`: the table, and what its options change."""

import time

import pytest

from tests.trimcore.jobs.waiting_runs import shown, wait_in
from trimcore import runs
from trimcore.cli.queue import clock
from trimcore.jobs import control
from trimcore.runs.place import place_of
from trimcore.system import processes


@pytest.fixture
def queue(trimcore):
    """queue("--up", ...) -> exit code, lines of output, error output."""

    def call(*arguments: str) -> tuple[int, list[str], str]:
        code, out, err = trimcore("queue", *arguments)
        return code, out.splitlines(), err

    return call


@pytest.fixture
def three(runs_folder) -> list[str]:
    return [wait_in(runs_folder, time.time() - 100 + at).name for at in range(3)]


def test_an_empty_queue(queue, runs_folder):
    assert queue() == (0, ["nothing runs or waits"], "")
    assert not runs_folder.exists()


def test_the_table_has_every_device_with_order_and_times(queue, runs_folder, three):
    now = time.time()
    works = wait_in(runs_folder, 1.0, state="running", started_at=now - 60, eta_seconds=600.0, heartbeat=now).name
    both = wait_in(runs_folder, now + 5, "cpu", "cuda:1").name
    queue("--hold", three[0])
    code, lines, err = queue()
    assert (code, err) == (0, "")
    cells = [line.split() for line in lines]
    end, since = clock(now + 600, now), clock(now - 60, now)
    assert cells[0] == ["cpu", "state", "since", "expected"]
    assert cells[1] == [works, "running", since, "ends", end]
    assert [(row[:3], row[4:]) for row in cells[2:6]] == [
        (["1.", three[0], "held"], ["-"]), (["2.", three[1], "queued"], ["starts", end]),
        (["3.", three[2], "queued"], ["-"]), (["4.", both, "queued"], ["-"]),
    ]  # fmt: skip
    assert cells[6][0] == "cuda:1"
    assert cells[7][:2] == ["1.", both]


@pytest.mark.parametrize(
    ("option", "number", "order"),
    [("--up", 1, "102"), ("--down", 1, "021"), ("--first", 2, "201"), ("--last", 0, "120")],
)
def test_moves(queue, runs_folder, three, option, number, order):
    code, lines, err = queue(option, three[number])
    assert (code, err) == (0, "")
    assert shown(runs_folder) == [line.split()[1] for line in lines[1:]] == [three[int(digit)] for digit in order]


def test_hold_release_and_take_out(queue, runs_folder, three, monkeypatch):
    monkeypatch.setattr("trimcore.cli.queue.WAIT", 0.0)  # this process is the supervisor, and does not follow
    assert "held" in queue("--hold", three[0])[1][1]
    assert place_of(runs_folder / three[0], 0.0).held
    assert "queued" in queue("--release", three[0])[1][1]
    assert "stopping" in queue("--take-out", three[0])[1][1]
    assert runs.requested(runs_folder / three[0]) == "stop"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--up", "0"), "trimcore: run '{0}' is already first in the queue"),
        (("--up", "1", "--hold", "2"), "trimcore: the queue changes one step at a time: give only one of the options"),
        (("--restore", "--hold", "2"), "trimcore: the queue changes one step at a time: give only one of the options"),
        (("--take-out", "elsewhere"), "trimcore: there is no run 'elsewhere' in "),
        (("--up",), "trimcore: Option '--up' requires an argument."),
    ],
)
def test_mistakes_are_one_line(queue, three, arguments, line):
    code, lines, err = queue(*(three[int(word)] if word.isdigit() else word for word in arguments))
    assert (code, lines, err.count("\n")) == (2, [], 1)
    assert err.startswith(line.format(*three))


def test_lost_runs_are_named_and_put_back(queue, runs_folder, three, monkeypatch):
    for run_id in three:
        runs.update_status(runs_folder / run_id, supervisor=None, launcher={"pid": 1})
    me = processes.identity()
    monkeypatch.setattr(control, "_start_supervisor", lambda folder: runs.update_status(folder, supervisor=me))
    names = ", ".join(three)
    assert queue()[1] == [
        "nothing runs or waits", f"lost while they waited: {names}; `trimcore queue --restore` puts them back",
    ]  # fmt: skip
    assert queue("--restore")[1][0] == f"put back: {names}"
    assert shown(runs_folder) == three
    assert queue("--restore")[1][0] == "there is no run to put back"
