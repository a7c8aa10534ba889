"""The trainer: carries out the spec of a run folder and records it. Started by the supervisor, or in the foreground.

    python -m trimcore.worker RUN_FOLDER

Where the spec asks for several devices, it starts itself again through torchrun, once for each. It can be given to a
torchrun of one's own, also on several machines that share the folder, and then trains in as many processes as that has.
"""

import logging
import os
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from filelock import FileLock

from trimcore import runs
from trimcore.compute import torchrun
from trimcore.errors import TrimError, first_line
from trimcore.jobs.lines import in_words
from trimcore.jobs.locks import ENVIRONMENT, lock_path
from trimcore.runs.events import Event
from trimcore.spec import Spec
from trimcore.system import logs, processes
from trimcore.system.files import read_json
from trimcore.system.logs import LOG

REQUESTS = ("", *runs.REQUESTS)  # by number, as the other processes of a run are told


class Asked(Exception):
    """Somebody asked the run to end: `state` is what it ends in."""

    def __init__(self, state: str, reason: str):
        super().__init__(reason)
        self.state, self.reason = state, reason


def carry_out(folder: Path, watch: Callable[[Event], None] | None = None, log: Path | None = None) -> dict[str, Any]:
    """Run the spec of `folder`, from its resume point if there is one. Returns the outcome: state and reason.

    It is queued until the device is free: a run in the foreground may have come between it and its supervisor's look.
    `watch` is shown every event; `log` gets the lines of the log, which otherwise go to the output. The outcome
    is also in status.json, so that it is known should the supervisor be gone. A mistake of the user ends
    in state "failed" with one line; a fault of ours leaves its traceback in the log too.
    """
    with logs.logging_into(log):
        return _carried_out(folder, watch)


def _carried_out(folder: Path, watch: Callable[[Event], None] | None) -> dict[str, Any]:
    from trimcore import spec
    from trimcore.compute import distributed

    me, first = processes.identity(), distributed.first()
    begun = {"trainer": me, "processes": distributed.of_all(me), "state": "queued", "outcome": None}
    if first:
        runs.update_status(folder, **begun, heartbeat=time.time())
    try:
        asked = spec.load(folder / "spec.toml")
        with _device_locks(folder):
            if asked.devices.count > 1 and not torchrun.started():
                outcome = _with_others(folder, asked.devices.count)
            else:
                outcome = _trained(folder, asked, watch)
    except Asked as said:
        outcome = {"state": said.state, "reason": said.reason}
    except KeyboardInterrupt:
        outcome = {"state": "stopped", "reason": "interrupted from the keyboard"}
    except TrimError as error:
        outcome = {"state": "failed", "reason": str(error)}
    except Exception as error:  # noqa: BLE001 (the last resort: what went wrong must reach the page)
        outcome = {"state": "failed", "reason": _in_a_line(error, folder)}
    if first:
        runs.update_status(folder, outcome=outcome, heartbeat=time.time())
    return outcome


def _in_a_line(error: Exception, folder: Path) -> str:
    """What went wrong that is no mistake of the user; the traceback of a fault of ours is left in the log."""
    from trimcore.compute import distributed, memory

    if memory.ran_out(error):
        less = "a smaller batch_size in [base] and [retrain] needs less, and so does a smaller image_size"
        return f"out of memory ({first_line(error)}): {less}"
    if isinstance(error, OSError):
        return f"{error.strerror or error} ({error.filename or folder})"
    if distributed.is_lost(error):
        return torchrun.LOST
    LOG.error("a fault of trimcore itself", exc_info=error)
    return f"{type(error).__name__}: {first_line(error)}"


def _trained(folder: Path, asked: Spec, watch: Callable[[Event], None] | None) -> dict[str, Any]:
    """Go through the loop; of several processes the first records, and all end at the same event."""
    from trimcore.compute import distributed
    from trimcore.jobs import resume_points
    from trimcore.jobs.recorder import Recorder
    from trimcore.training.loop import trim

    first, recorder = distributed.first(), None
    try:
        if first:
            runs.update_status(folder, state="starting", heartbeat=time.time())
            recorder = Recorder(folder)
        resume, passed_over = resume_points.find(folder)
        if recorder and passed_over:
            note = Event("note", {"text": passed_over, "level": "warning"})
            recorder.record(note)
            _show(note, watch)
        for event in trim(asked, runs=folder.parent, resume=resume):
            if recorder:
                recorder.record(event)
                _show(event, watch)
            request = REQUESTS.index(runs.requested(folder)) if first else 0
            _obey(REQUESTS[distributed.of_first(request)], event)
        return {"state": "finished", "reason": event.data["reason"]}
    finally:
        if recorder:
            recorder.close()


def _with_others(folder: Path, count: int) -> dict[str, Any]:
    """Train in `count` processes, of which the first leaves the outcome. Raises TrimError when one of them fails."""
    torchrun.launch(count, "trimcore.jobs.worker", str(folder.resolve()))
    outcome: dict[str, Any] = read_json(folder / "status.json")["outcome"]
    return outcome


def _device_locks(folder: Path) -> ExitStack:
    """Held while training, also when the supervisor dies: nobody else gets the devices before this process ends. Those
    that torchrun has started train on the devices of the one that started it."""
    locks = ExitStack()
    if not torchrun.started():
        for device in runs.devices_of(read_json(folder / "status.json")):
            locks.enter_context(FileLock(lock_path(folder.parent, device, "trainer")))
    return locks


def _obey(asked: str, event: Event) -> None:
    """End the run if that was asked: stop at once, pause after an epoch, finish after an iteration."""
    if asked == "stop" and event.kind != "ended":
        raise Asked("stopped", "stopped on request; `resume` goes on from the last epoch")
    if asked == "pause" and event.kind in ("epoch", "initial", "iteration"):
        raise Asked("paused", "paused on request; `resume` goes on from here")
    if asked == "finish" and event.kind == "iteration":
        raise Asked("finished", f"finished on request after iteration {event.data['iteration']}")


def _show(event: Event, watch: Callable[[Event], None] | None) -> None:
    if event.recorded:
        LOG.log(logging.WARNING if event.data.get("level") == "warning" else logging.INFO, in_words(event))
    if watch:
        watch(event)


def main() -> int:
    os.environ.update({key: os.environ.get(key, value) for key, value in ENVIRONMENT.items()})  # before torch is loaded
    from trimcore.compute import distributed

    with distributed.joined():
        outcome = carry_out(Path(sys.argv[1]))
        if distributed.first():
            with logs.logging_into(None):
                level = logging.ERROR if outcome["state"] == "failed" else logging.INFO
                LOG.log(level, f"{outcome['state']}: {outcome['reason']}")
        if outcome["state"] == "failed":
            torchrun.say_failed(outcome["reason"])
            sys.exit(1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
