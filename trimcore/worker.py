"""The trainer: carries out the spec of a run folder and records it. Started by the supervisor, or in the foreground.

python -m trimcore.worker RUN_FOLDER
"""

import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from trimcore import runs
from trimcore.errors import TrimError, first_line
from trimcore.events import Event

ENVIRONMENT = {
    # Threads that wait by spinning starve as soon as anything else (a browser, say) wants a core. LeNet-5 on two cores
    # beside two busy processes: 300 images/s spinning, 8,300 sleeping. On a quieter machine sleeping costs 15 to 20 %.
    "OMP_WAIT_POLICY": "PASSIVE",
    "PYTHONUNBUFFERED": "1",
}


class Asked(Exception):
    """Somebody asked the run to end: `state` is what it ends in."""

    def __init__(self, state: str, reason: str):
        super().__init__(reason)
        self.state, self.reason = state, reason


def carry_out(folder: Path, watch: Callable[[Event], None] | None = None, log: Path | None = None) -> dict:
    """Run the spec of `folder`, from its resume point if there is one. Returns the outcome: state and reason.

    It is queued until the device is free: a run in the foreground may have come between it and its supervisor's look.
    `watch` is shown every event; `log` gets the lines of the log, which otherwise go to the output. The outcome
    is also in status.json, so that it is known should the supervisor be gone. A mistake of the user ends
    in state "failed" with one line; a fault of ours leaves its traceback in the log too.
    """
    from trimcore import checkpoint, spec
    from trimcore.loop import trim
    from trimcore.recorder import Recorder

    runs.update_status(folder, trainer=runs.identity(), state="queued", outcome=None, heartbeat=time.time())
    recorder = None
    try:
        with _device_lock(folder):
            runs.update_status(folder, state="starting", heartbeat=time.time())
            recorder = Recorder(folder)
            resume_point = folder / "checkpoints" / "resume.pt"
            resume = checkpoint.read(resume_point) if resume_point.exists() else None
            for event in trim(spec.load(folder / "spec.toml"), runs=folder.parent, resume=resume):
                recorder.record(event)
                _show(event, watch, log)
                _obey(folder, event)
        outcome = {"state": "finished", "reason": recorder.events[-1]["reason"]}
    except Asked as asked:
        outcome = {"state": asked.state, "reason": asked.reason}
    except KeyboardInterrupt:
        outcome = {"state": "stopped", "reason": "interrupted from the keyboard"}
    except TrimError as error:
        outcome = {"state": "failed", "reason": str(error)}
    except OSError as error:
        outcome = {"state": "failed", "reason": f"{error.strerror or error} ({error.filename or folder})"}
    except Exception as error:  # noqa: BLE001 (the last resort: what went wrong must reach the page)
        traceback.print_exc()
        outcome = {"state": "failed", "reason": f"{type(error).__name__}: {first_line(error)}"}
    finally:
        if recorder:
            recorder.close()
    runs.update_status(folder, outcome=outcome, heartbeat=time.time())
    return outcome


def _device_lock(folder: Path) -> FileLock:
    """Held while training, also when the supervisor dies: nobody else gets the device before this process ends."""
    device = runs.read_json(folder / "status.json").get("device_key", "cpu")
    return FileLock(lock_path(folder.parent, device, "trainer"))


def lock_path(runs_folder: Path, device: str, role: str) -> Path:
    folder = runs_folder / ".locks"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{device.replace(':', '-')}.{role}.lock"


def _obey(folder: Path, event: Event) -> None:
    """End the run if that was asked: stop at once, pause after an epoch, finish after an iteration."""
    asked = runs.requested(folder)
    if asked == "stop" and event.kind != "ended":
        raise Asked("stopped", "stopped on request; `resume` goes on from the last epoch")
    if asked == "pause" and event.kind in ("epoch", "initial", "iteration"):
        raise Asked("paused", "paused on request; `resume` goes on from here")
    if asked == "finish" and event.kind == "iteration":
        raise Asked("finished", f"finished on request after iteration {event.data['iteration']}")


def _show(event: Event, watch: Callable[[Event], None] | None, log: Path | None) -> None:
    if event.recorded:
        line = f"{time.strftime('%H:%M:%S')} {in_words(event)}"
        if log is None:
            print(line, flush=True)
        else:
            with open(log, "a", encoding="utf-8") as file:
                print(line, file=file)
    if watch:
        watch(event)


def in_words(event: Event) -> str:
    """One line of log for an event."""
    d = event.data
    if event.kind == "epoch":
        return (f"{d['phase']} iteration {d['iteration']} epoch {d['epoch']}/{d['epochs']}: loss {d['loss']:.4f}, "
                f"validation {d['validation_accuracy']:.2%}, {d['images_per_second']:,.0f} images/s")  # fmt: skip
    if event.kind == "profiled":
        means = ", ".join(f"{n} {sum(x['apoz']) / len(x['apoz']):.1%}" for n, x in d["layers"].items())
        return f"APoZ after iteration {d['iteration']} on {d['examples']} examples: {means}"
    if event.kind == "pruned":
        gone = ", ".join(f"{name} −{len(layer['cut'])}" for name, layer in d["layers"].items())
        return f"iteration {d['iteration']} cuts {gone}: {d['parameters']:,} parameters left"
    if event.kind == "initial":
        return f"iteration {d['iteration']} accuracy before retraining {d['accuracy']:.2%}"
    if event.kind == "iteration":
        return (
            f"iteration {d['iteration']} done: {d['compression']:.2f}x smaller, test accuracy {d['accuracy_final']:.2%}"
        )
    if event.kind == "control":
        return f"control from new weights: test accuracy {d['accuracy']:.2%} after {d['epochs']} epochs"
    if event.kind == "started":
        how = "resumed" if d["resumed"] else "started"
        return f"{how}: {d['model']} on {d['data']}, {d['device']}, torch {d['torch']}"
    return d.get("text") or f"{event.kind}: {d.get('reason', '')}, result is iteration {d.get('result')}"


def main() -> int:
    outcome = carry_out(Path(sys.argv[1]))
    print(f"{time.strftime('%H:%M:%S')} {outcome['state']}: {outcome['reason']}", flush=True)
    return 1 if outcome["state"] == "failed" else 0


if __name__ == "__main__":
    os.environ.update({key: os.environ.get(key, value) for key, value in ENVIRONMENT.items()})
    sys.exit(main())
