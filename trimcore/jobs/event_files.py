"""Event files for TensorBoard, written from a run's events into its folder `tensorboard/`.

Records are written at once and by this thread, not by the thread of a `SummaryWriter`, so that an error can be caught
where it occurs: training must not end because of them.
"""

import importlib.util
import math
import os
import re
import socket
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from trimcore.errors import TrimError, first_line
from trimcore.tables.metric import Metric, metric_of, value_of
from trimcore.tables.recorded import Recorded, mean_apoz

FOLDER = "tensorboard"
NAME = re.compile(r"events\.out\.tfevents\.(\d+)\.")


def need() -> None:
    """Raise TrimError, with the command that installs it, if the package is missing."""
    if importlib.util.find_spec("tensorboard") is None:
        raise TrimError("log.tensorboard = true needs a package: pip install tensorboard")


class EventFiles:
    """The event files of one run. Every process that carries out the run begins a new file with all points so far,
    which declares those in older files void: a resumed run repeats an epoch, and no point may be there twice."""

    def __init__(self, run: Path):
        self.folder = run / FOLDER
        self.writer: Any = None
        self.seen: set[tuple[Any, ...]] = set()
        self.epochs = 0
        self.failed = False

    def record(self, events: list[Recorded]) -> str:
        """Write the last of these events, which are all that were recorded. Returns one line if that fails, and writes
        nothing more after that."""
        if self.failed:
            return ""
        try:
            if self.writer is None or _key(events[-1]) in self.seen:
                self._begin(events)
            else:
                self._add(events[-1], metric_of(events))
                self.writer.flush()
        except Exception as error:  # noqa: BLE001 (a log must never end the training)
            self.failed = True
            self.close()
            reason = error.strerror if isinstance(error, OSError) else None
            return f"no more TensorBoard files are written: {reason or first_line(error)}"
        return ""

    def close(self) -> None:
        try:
            if self.writer is not None:
                self.writer.close()
        except OSError:
            self.failed = True  # of a full disk, this is the second report
        self.writer = None

    def _begin(self, events: list[Recorded]) -> None:
        """Begin a new file, with the last event of each kind and place. TensorBoard reads files in order of names."""
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter

        self.close()
        self.folder.mkdir(exist_ok=True)
        stamps = [int(found[1]) for name in os.listdir(self.folder) if (found := NAME.match(name))]
        stamp = max([int(time.time()), *(old + 1 for old in stamps)])
        path = self.folder / f"events.out.tfevents.{stamp:010d}.{socket.gethostname()}.{os.getpid()}"
        self.writer = RecordWriter(open(path, "xb"))  # noqa: SIM115 (closed by close)
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        if stamps:
            started = SessionLog(status=SessionLog.START)
            self._write(Event(wall_time=time.time(), step=0, session_log=started))  # voids all steps from 0 on
        self.seen, self.epochs, metric = set(), 0, metric_of(events)
        for event in {_key(event): event for event in events}.values():
            self._add(event, metric)
        self.writer.flush()

    def _add(self, event: Recorded, metric: Metric) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        if (key := _key(event)) is None:
            return
        self.seen.add(key)
        self.epochs += event["kind"] == "epoch"
        step = self.epochs if event["kind"] == "epoch" else event["iteration"]
        if points := scalars(event, metric):
            values = [Summary.Value(tag=_tag(name), simple_value=value) for name, value in points.items()]
            self._write(Event(wall_time=event.get("time", time.time()), step=step, summary=Summary(value=values)))

    def _write(self, event: Any) -> None:
        self.writer.write(event.SerializeToString())


def scalars(event: Mapping[str, Any], metric: Metric) -> dict[str, float]:
    """The points of an event: name -> value. Those of an epoch are drawn over all epochs of the run, others over its
    iterations."""
    if event["kind"] == "profiled":
        found: Iterable[tuple[str, Any]] = [(f"apoz/{n}", mean_apoz(own["apoz"])) for n, own in event["layers"].items()]
    elif event["kind"] == "epoch":
        found = [("training/loss", event["loss"]), ("training/learning_rate", event.get("lr")),
                 (f"validation/{metric.name}", value_of(event, "validation_accuracy"))]  # fmt: skip
    elif event["kind"] == "iteration":
        found = [
            *((f"network/{name}", event[name]) for name in ("compression", "parameters", "macs")),
            *((f"test/{metric.name}_{when}", value_of(event, f"accuracy_{when}")) for when in ("initial", "final")),
        ]
    else:
        return {}
    return {name: float(value) for name, value in found if value is not None and not math.isnan(value)}


def _key(event: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """What an event is about: a later one with the same key takes its place. None if it has no points."""
    if event["kind"] not in ("epoch", "profiled", "iteration"):
        return None
    return event["kind"], event.get("phase"), event["iteration"], event.get("epoch")


def _tag(name: str) -> str:
    """A name with the characters that TensorBoard accepts."""
    return re.sub(r"[^-/\w.]", "_", name)
