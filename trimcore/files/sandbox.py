"""Read an untrusted weights file in a separate process with limits on memory, time and file size.

    python -m trimcore.files.sandbox FILE MODEL ARGUMENTS MEMORY SECONDS NEW_HEAD

A file of a few kilobytes can make its reader allocate terabytes or run for days. That must not happen in the process
that serves the dashboard. The child process answers with one line of JSON.
"""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from trimcore.errors import CheckpointError, first_line
from trimcore.files.mismatch import Form, Mismatch
from trimcore.system.limits import limit
from trimcore.system.processes import ROOT, python_path

SECONDS = 120.0  # the largest networks take seconds
ALLOWANCE = 1 << 30  # bytes in addition to what the file itself needs
COPIES = 4  # of the content: as read, as unpacked, in the network, and one spare
TOO_MUCH = "{path!r} is refused: reading it needs more than {memory:,} MB of memory"
TOO_LONG = "{path!r} is refused: reading it takes more than {seconds:.0f} seconds"


def check_weights(
    path: Path, model: str, arguments: dict[str, int], seconds: float = SECONDS, memory: int = 0, new_head: bool = False
) -> list[str]:
    """Like `checkpoint.find_weights`, but returns only the notes on the wrappings that were removed.

    `memory` is the reader's limit in bytes, not counting PyTorch itself. By default it is ALLOWANCE plus COPIES times
    the file's size. Raises CheckpointError, also if reading exceeds `memory` or `seconds`.
    """
    memory = memory or ALLOWANCE + COPIES * path.stat().st_size
    values = [str(path.resolve()), model, json.dumps(arguments), str(memory), str(seconds), str(int(new_head))]
    command = [sys.executable, "-m", "trimcore.files.sandbox", *values]
    try:
        done = subprocess.run(command, capture_output=True, cwd=ROOT, timeout=seconds + 60,
                              env={**os.environ, "PYTHONPATH": os.pathsep.join([python_path(), os.getcwd()])},
                              stdin=subprocess.DEVNULL, check=False)  # fmt: skip
        answer = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        raise CheckpointError(TOO_LONG.format(path=str(path), seconds=seconds)) from None
    except ValueError:  # killed without an answer, by the CPU time limit or for lack of memory
        reason = TOO_LONG if done.returncode == -24 else TOO_MUCH  # SIGXCPU
        raise CheckpointError(reason.format(path=str(path), memory=memory >> 20, seconds=seconds)) from None
    if "error" in answer:
        raise CheckpointError(answer["error"], [_mismatch(*values) for values in answer["mismatches"]])
    return list(answer["taken_off"])


def _mismatch(name: str, problem: str, *forms: list[Any] | None) -> Mismatch:
    return Mismatch(name, problem, *(Form(tuple(form[0]), getattr(torch, form[1])) if form else None for form in forms))


# --- in the child process ---


def main(path: str, model: str, arguments: str, memory: str, seconds: str, new_head: str) -> None:
    from trimcore.compute.memory import ran_out
    from trimcore.files import checkpoint
    from trimcore.system import own_code

    own_code.forbid_imports()
    with contextlib.redirect_stdout(sys.stderr):
        own_code.load_used()  # before the limit, which is for the file
    limit(int(memory), float(seconds))
    try:
        _, notes = checkpoint.find_weights(path, model, json.loads(arguments), new_head == "1")
        answer: dict[str, Any] = {"taken_off": notes}
    except (CheckpointError, MemoryError, RuntimeError, OSError) as error:
        text = str(error) if isinstance(error, CheckpointError) else f"{path!r}: {first_line(error)}"
        if ran_out(error) or ran_out(error.__context__):
            text = TOO_MUCH.format(path=path, memory=int(memory) >> 20)
        answer = {"error": text, "mismatches": [_as_json(mismatch) for mismatch in getattr(error, "mismatches", ())]}
    print(json.dumps(answer))


def _as_json(mismatch: Mismatch) -> list[Any]:
    forms = [form and [list(form.shape), str(form.dtype).removeprefix("torch.")]
             for form in (mismatch.in_file, mismatch.in_model)]  # fmt: skip
    return [mismatch.name, mismatch.problem, *forms]


if __name__ == "__main__":
    main(*sys.argv[1:])
