"""Reading a stranger's file of weights in a process of its own, which may take so much memory and time and no more.

    python -m trimcore.files.sandbox FILE MODEL ARGUMENTS MEMORY SECONDS

A file of a few kilobytes can ask its reader for terabytes, or keep it busy for days. The process that serves pages must
not be the one that finds out. The other one hardly writes files. Its answer is a line of JSON.
"""

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from trimcore.errors import CheckpointError, first_line
from trimcore.files.mismatch import Form, Mismatch
from trimcore.system.processes import ROOT

SECONDS = 120.0  # the largest networks take seconds
ALLOWANCE = 1 << 30  # bytes beside what the file itself needs
TINY = 4096  # bytes of a file that it may write: libraries try out whether they can
COPIES = 4  # of its content: as read, as unpacked, as the network's own, and one more
TOO_MUCH = "{path!r} is refused: reading it takes more than {memory:,} MB of memory"
TOO_LONG = "{path!r} is refused: reading it takes more than {seconds:.0f} seconds"


def check_weights(
    path: Path, model: str, arguments: dict[str, int], seconds: float = SECONDS, memory: int = 0
) -> list[str]:
    """As `checkpoint.find_weights`, but only what had to be taken off the weights, in words.

    `memory` (bytes) is what the reader may take beside PyTorch itself: a few times the file's size unless it is given.
    Raises CheckpointError, also where reading takes more than that, or longer than `seconds`.
    """
    memory = memory or ALLOWANCE + COPIES * path.stat().st_size
    asked = [str(path.resolve()), model, json.dumps(arguments), str(memory), str(seconds)]
    command = [sys.executable, "-m", "trimcore.files.sandbox", *asked]
    try:
        done = subprocess.run(command, capture_output=True, cwd=ROOT, timeout=seconds + 60,
                              stdin=subprocess.DEVNULL, check=False)  # fmt: skip
        said = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        raise CheckpointError(TOO_LONG.format(path=str(path), seconds=seconds)) from None
    except ValueError:  # it was ended without a word: by the limit on its time, or for want of memory
        why = TOO_LONG if done.returncode == -24 else TOO_MUCH  # SIGXCPU
        raise CheckpointError(why.format(path=str(path), memory=memory >> 20, seconds=seconds)) from None
    if "error" in said:
        raise CheckpointError(said["error"], [_mismatch(*values) for values in said["mismatches"]])
    return list(said["taken_off"])


def _mismatch(name: str, problem: str, *forms: list[Any] | None) -> Mismatch:
    return Mismatch(name, problem, *(Form(tuple(form[0]), getattr(torch, form[1])) if form else None for form in forms))


# --- in the other process ---


def main(path: str, model: str, arguments: str, memory: str, seconds: str) -> None:
    from trimcore import models
    from trimcore.compute.memory import ran_out
    from trimcore.files import checkpoint

    models.forbid_imports()
    limit(int(memory), float(seconds))
    try:
        said: dict[str, Any] = {"taken_off": checkpoint.find_weights(path, model, json.loads(arguments))[1]}
    except (CheckpointError, MemoryError, RuntimeError, OSError) as error:
        text = str(error) if isinstance(error, CheckpointError) else f"{path!r}: {first_line(error)}"
        if ran_out(error) or ran_out(error.__context__):
            text = TOO_MUCH.format(path=path, memory=int(memory) >> 20)
        said = {"error": text, "mismatches": [_as_json(mismatch) for mismatch in getattr(error, "mismatches", ())]}
    print(json.dumps(said))


def limit(memory: int, seconds: float) -> None:
    """So much more memory than is taken now, so many seconds of a core, and files of no size. Where the system
    has no such limits there are none."""
    with contextlib.suppress(ImportError):
        import resource

        import psutil

        now = psutil.Process().memory_info().vms
        used = sum(psutil.Process().cpu_times()[:2])
        for kind, value in (
            ("RLIMIT_AS", now + memory),
            ("RLIMIT_CPU", int(used + seconds) + 1),
            ("RLIMIT_FSIZE", TINY),
        ):
            with contextlib.suppress(ValueError, OSError, AttributeError):
                resource.setrlimit(getattr(resource, kind), (value, value))


def _as_json(mismatch: Mismatch) -> list[Any]:
    forms = [form and [list(form.shape), str(form.dtype).removeprefix("torch.")]
             for form in (mismatch.in_file, mismatch.in_model)]  # fmt: skip
    return [mismatch.name, mismatch.problem, *forms]


if __name__ == "__main__":
    main(*sys.argv[1:])
