"""What can happen to a run: each does it at some moment, and checks what is particular to it.

A kind is `kind(scene)`; it launches a run, harms it, and leaves it to `Scene.to_its_end`, returning its folder.
"""

from collections.abc import Callable
from pathlib import Path

from tests.faults.kinds import code, data, files, machine, processes, queueing, requests, room, server, sweeping
from tests.faults.scene import Scene

KINDS: dict[str, Callable[[Scene], Path]] = {
    "trainer killed": processes.trainer_killed,
    "supervisor killed": processes.supervisor_killed,
    "both killed": processes.both_killed,
    "killed again and again": processes.killed_again_and_again,
    "server killed": server.server_killed,
    "all three killed": server.all_three_killed,
    "trainer stands still": processes.trainer_stands_still,
    "supervisor stands still": processes.supervisor_stands_still,
    "files limited in size": room.files_limited,
    "disk full": room.disk_full,
    "folder not writable": files.folder_not_writable,
    "torn event": files.torn_event,
    "torn status": files.torn_status,
    "newest checkpoint damaged": files.newest_checkpoint_damaged,
    "finished checkpoint damaged": files.iteration_damaged,
    "clock jumps": machine.clock_jumps,
    "pid used again": machine.pid_used_again,
    "lock of a dead process": machine.lock_of_the_dead,
    "stopped in the middle": requests.stopped_in_the_middle,
    "two resume at once": requests.two_resume_at_once,
    "loss not a number": requests.loss_not_a_number,
    "out of memory": room.out_of_memory,
    "item of own data fails": data.item_fails,
    "loader of own data killed": data.loader_killed,
    "own code raises": code.raises,
    "own code exits": code.exits,
    "own code prints much": code.prints,
    "own code changes weights": code.changes,
    "own code edited": code.edited,
    "sweep interrupted": sweeping.sweep_interrupted,
    "place in the queue torn": queueing.torn_place,
    "disk full in the queue": queueing.disk_full_in_the_queue,
    "disk full with event files": room.disk_full_with_event_files,
    "machine restarted": queueing.restarted,
}
NEEDS_ROOT = ("disk full", "disk full in the queue", "disk full with event files")
