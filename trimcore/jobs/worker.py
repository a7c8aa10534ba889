"""The trainer: runs the spec of a run folder and records it. Started by the supervisor, or in the foreground.

    python -m trimcore.worker RUN_FOLDER

If the spec asks for several devices, it restarts itself through torchrun with one process per device. You can also
start it with your own torchrun, even across machines that share the run folder; it then trains in the processes that
torchrun starts.
"""

import logging
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
from trimcore.jobs import turn
from trimcore.jobs.lines import log_line
from trimcore.jobs.locks import lock_path
from trimcore.runs.events import Event
from trimcore.runs.requests import INTERRUPTED
from trimcore.spec import Spec
from trimcore.system import environment, logs, own_code, processes
from trimcore.system.files import read_json
from trimcore.system.logs import LOG
from trimcore.tables.metric import ACCURACY, Metric

REQUESTS = ("", *runs.REQUESTS)  # processes of a run exchange a request as its index in this tuple
VERDICTS = ("", "stopped", "finished")  # likewise the states in which a sweep's rule ends a run


class EndRequested(Exception):
    """The user asked the run to end. `state` is the state that it ends in."""

    def __init__(self, state: str, reason: str):
        super().__init__(reason)
        self.state, self.reason = state, reason


def carry_out(
    folder: Path, watch: Callable[[Event], None] | None = None, log: Path | None = None, **objects: Any
) -> dict[str, Any]:
    """Run the spec of `folder`, from its resume point if there is one. Returns the outcome: state and reason.

    Without a supervisor, it waits for its turn in the queue itself. `watch` is called with every event. `log` receives
    the log lines (None: standard output). `objects` are those of `trim`. The outcome is also saved in status.json, in
    case the supervisor is gone. A user error ends in state "failed" with a one-line reason; a bug in trimcore or in
    code of the user's also leaves its traceback in the log.
    """
    with logs.logging_to(log):
        return _carry_out(folder, watch, objects)


def _carry_out(folder: Path, watch: Callable[[Event], None] | None, objects: dict[str, Any]) -> dict[str, Any]:
    from trimcore import spec
    from trimcore.compute import distributed

    me, first = processes.identity(), distributed.is_first()
    initial = {"trainer": me, "processes": distributed.gather(me), "outcome": None}
    if first:
        runs.update_status(folder, **initial, heartbeat=time.time())
    try:
        loaded = spec.load(folder / "spec.toml")
        with _device_locks(folder):
            if loaded.devices.count > 1 and not torchrun.started():
                outcome = _train_in_processes(folder, loaded.devices.count)
            else:
                outcome = _train(folder, loaded, watch, objects)
    except EndRequested as request:
        outcome = {"state": request.state, "reason": request.reason}
    except KeyboardInterrupt:
        outcome = {"state": "stopped", "reason": INTERRUPTED}
    except TrimError as error:
        outcome = {"state": "failed", "reason": str(error)}
    except Exception as error:  # noqa: BLE001 (last resort: the dashboard has to show what went wrong)
        outcome = {"state": "failed", "reason": _failure_reason(error, folder)}
    if first:
        runs.update_status(folder, state=outcome["state"], outcome=outcome, heartbeat=time.time())
    return outcome


def _failure_reason(error: Exception, folder: Path) -> str:
    """One line about an error that is not the user's mistake. The traceback of a bug goes to the log."""
    from trimcore.compute import distributed, memory
    from trimcore.data.items import has_lost_worker

    if memory.ran_out(error):
        advice = "use a smaller batch_size in [base] and [retrain], or a smaller image_size"
        return f"out of memory ({first_line(error)}): {advice}"
    if isinstance(error, OSError):
        return f"{error.strerror or error} ({error.filename or folder})"
    if distributed.is_peer_failure(error):
        return torchrun.LOST
    if has_lost_worker(error):
        return f"a process that loads items died ({first_line(error)})"
    LOG.error("an unexpected error: a bug in trimcore, or in code of your own", exc_info=error)
    return f"{type(error).__name__}: {first_line(error)}"


def _train(folder: Path, spec: Spec, watch: Callable[[Event], None] | None, objects: dict[str, Any]) -> dict[str, Any]:
    """Run the training loop. With several processes, only the first records, and all of them end at the same event."""
    from trimcore.compute import distributed
    from trimcore.compute.allocator import keep_freed_memory
    from trimcore.jobs import resume_points
    from trimcore.jobs.event_files import EventFiles
    from trimcore.jobs.recorder import Recorder
    from trimcore.training.loop import trim

    first, recorder, metric = distributed.is_first(), None, ACCURACY
    event_files = EventFiles(folder) if spec.log.tensorboard else None
    keep_freed_memory()
    try:
        if first:
            runs.update_status(folder, state="starting", heartbeat=time.time())
            recorder = Recorder(folder)
        resume, skipped = resume_points.find(folder)
        if recorder and skipped:
            _note(skipped, recorder.record, watch)
        for event in trim(spec, runs=folder.parent, resume=resume, **objects):
            if event.kind == "started":
                metric = Metric.of(event.data["metric"])
                if first:
                    for name, version in own_code.versions().items():
                        LOG.info("code in use: %s, SHA-256 %s", name, version[:16])
            if recorder:
                recorder.record(event)
                _show(event, watch, metric)
                if event_files and event.recorded and (trouble := event_files.record(recorder.events)):
                    _note(trouble, recorder.record, watch)
            request = REQUESTS.index(runs.requested(folder)) if first else 0
            _follow(REQUESTS[distributed.broadcast(request)], event)
            if event.kind == "iteration":
                _follow_sweep(folder)
        return {"state": "finished", "reason": event.data["reason"]}
    except SystemExit as error:  # else the process would end without a word
        raise TrimError(f"code of the run's own ended the process: {own_code.describe(error)}") from error
    finally:
        if recorder:
            recorder.close()
        if event_files:
            event_files.close()


def _train_in_processes(folder: Path, count: int) -> dict[str, Any]:
    """Train in `count` processes. The first one saves the outcome. Raises TrimError if any of them fails."""
    torchrun.launch(count, "trimcore.jobs.worker", str(folder.resolve()))
    outcome: dict[str, Any] = read_json(folder / "status.json")["outcome"]
    return outcome


def _device_locks(folder: Path) -> ExitStack:
    """The trainer's own locks: they reserve the devices until this process ends, even if the supervisor dies. In the
    foreground it also waits for its turn here. Processes that torchrun started need none, since their parent holds
    them. Raises EndRequested."""
    locks, values = ExitStack(), read_json(folder / "status.json")
    if torchrun.started():
        return locks
    if not processes.is_alive(values.get("supervisor")):
        runs.update_status(folder, state="queued")
        own = turn.wait(folder)
        if own is None:
            raise EndRequested(*turn.outcome(folder))
        locks.enter_context(own)
    for device in runs.devices_of(values):
        locks.enter_context(FileLock(lock_path(folder.parent, device, "trainer")))
    return locks


def _follow(request: str, event: Event) -> None:
    """End the run if requested: stop at once, pause after an epoch, finish after an iteration."""
    if request == "stop" and event.kind != "ended":
        raise EndRequested("stopped", "stopped on request; `resume` continues from the last epoch")
    if request == "pause" and event.kind in ("epoch", "initial", "iteration"):
        raise EndRequested("paused", "paused on request; `resume` continues from here")
    if request == "finish" and event.kind == "iteration":
        raise EndRequested("finished", f"finished on request after iteration {event.data['iteration']}")


def _note(text: str, record: Callable[[Event], None], watch: Callable[[Event], None] | None) -> None:
    note = Event("note", {"text": text, "level": "warning"})
    record(note)
    _show(note, watch)


def _follow_sweep(folder: Path) -> None:
    """End the run if the rule of its sweep says so. All processes follow the verdict of the first."""
    from trimcore.compute import distributed
    from trimcore.jobs import sweep_rule

    ended = sweep_rule.verdict(folder) if distributed.is_first() else None
    state = VERDICTS[distributed.broadcast(VERDICTS.index(ended["state"] if ended else ""))]
    if state:
        raise EndRequested(state, ended["reason"] if ended else "")


def _show(event: Event, watch: Callable[[Event], None] | None, metric: Metric = ACCURACY) -> None:
    if event.recorded:
        LOG.log(logging.WARNING if event.data.get("level") == "warning" else logging.INFO, log_line(event, metric))
    if watch:
        watch(event)


def main() -> int:
    environment.prepare()
    from trimcore.compute import distributed

    with distributed.process_group():
        outcome = carry_out(Path(sys.argv[1]))
        if distributed.is_first():
            with logs.logging_to(None):
                level = logging.ERROR if outcome["state"] == "failed" else logging.INFO
                LOG.log(level, f"{outcome['state']}: {outcome['reason']}")
        if outcome["state"] == "failed":
            torchrun.report_failure(outcome["reason"])
            sys.exit(1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
