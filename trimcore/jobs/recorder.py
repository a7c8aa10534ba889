"""Record events in the run folder. No other code writes a run's results."""

import json
import os
import time
from pathlib import Path
from typing import Any

from trimcore import runs, tables
from trimcore.compute import load, memory
from trimcore.files import checkpoint
from trimcore.jobs import resume_points
from trimcore.jobs.pace import Pace
from trimcore.runs.events import Event
from trimcore.system.files import read_json, write_atomic
from trimcore.system.logs import LOG

STATUS_EVERY = 0.25  # seconds between updates of status.json while training


class Recorder:
    """Keeps the folder of one run up to date with its events. Raises OSError if it cannot write."""

    def __init__(self, folder: Path):
        self.folder = folder
        for unfinished in (folder / "checkpoints").glob(".*.pt.*"):  # left by a process that was killed while writing
            unfinished.unlink(missing_ok=True)
        self.events = list(runs.read_events(folder))
        self.file = open(folder / "events.jsonl", "a+b", buffering=0)  # noqa: SIM115 (closed by close)
        self._end_last_line()
        self.device = read_json(folder / "status.json").get("device_key", "cpu")
        self.pace, self.progress_time = Pace(), float("-inf")

    def _end_last_line(self) -> None:
        """After a crash the last line may be incomplete: end it, so that the next event starts on a new line."""
        if self.file.seek(0, 2) and (self.file.seek(-1, 2), self.file.read(1))[1] != b"\n":
            self.file.write(b"\n")

    def close(self) -> None:
        self.file.close()

    def record(self, event: Event) -> None:
        if event.kind == "progress":
            self._progress(event.data)
            return
        number = (self.events[-1]["seq"] if self.events else 0) + 1
        entry = {"seq": number, "time": round(time.time(), 3), "kind": event.kind, **event.data}
        snapshot: Any = None if event.payload is None else event.payload()
        if event.kind == "iteration":
            made, snapshot = snapshot
            path, began = runs.checkpoint_path(self.folder, event.data["iteration"]), time.perf_counter()
            checkpoint.save(made, path)
            LOG.debug(f"{path.name}: {path.stat().st_size:,} bytes in {time.perf_counter() - began:.2f} s")
        # The event follows its checkpoint, so a reader of the event finds the file. It precedes the resume point: after
        # a crash between the two it is recorded again, and the tables use the last one. In the other order, a crash
        # would lose the event.
        self.file.write((json.dumps(entry) + "\n").encode())
        os.fsync(self.file.fileno())
        self.events.append(entry)
        if event.kind in ("iteration", "ended"):
            for name, text in tables.csv_texts(self.events).items():
                write_atomic(self.folder / name, text)
        if snapshot is not None:
            resume_points.save(snapshot, self.folder, number)
        self._status(state="running", **self._place(event))

    def _place(self, event: Event) -> dict[str, Any]:
        started = event.kind == "started"
        keys = ("iterations", "device") if started else ("phase", "iteration", "epoch", "epochs")
        reset = self.pace.left() if started else {}  # clears the estimates of an earlier process
        return {**{key: event.data[key] for key in keys if key in event.data}, **reset}

    def _progress(self, values: dict[str, Any]) -> None:
        self.pace.see(values)
        now = time.monotonic()
        if now - self.progress_time < STATUS_EVERY:
            return
        self.progress_time = now
        place = (values.get(key) for key in ("phase", "iteration", "step", "steps"))
        LOG.debug("%s of iteration %s: step %s of %s", *place)
        self._status(
            state="running", **values | self.pace.left(), memory=memory.in_use(self.device), load=load.now(self.device)
        )

    def _status(self, **values: object) -> None:
        runs.update_status(self.folder, heartbeat=time.time(), **values)
