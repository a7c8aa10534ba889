"""Start the processes of a run with torchrun, PyTorch's launcher, and report why they failed."""

import json
import os
import signal
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

from trimcore.errors import TrimError
from trimcore.system.processes import python_path

LOST = "the other processes can no longer be reached"  # reported by a process that failed only because a peer did
LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"


def started() -> bool:
    """Whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def launch(count: int, module: str, *arguments: str) -> None:
    """Run `python -m module arguments` in `count` torchrun processes on this machine and wait for them to finish.

    They communicate over the loopback interface and rendezvous through a file: torchrun unpickles what it reads from
    the rendezvous, and a port would be open to the whole network. Raises TrimError with the one-line message of the
    process that caused the failure.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    settings = {
        "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // count)),
        "GLOO_SOCKET_IFNAME": LOOPBACK, "NCCL_SOCKET_IFNAME": LOOPBACK,
    }  # fmt: skip
    os.environ.update({key: os.environ.get(key, value) for key, value in settings.items()})
    os.environ["PYTHONPATH"] = python_path()
    try:
        with tempfile.TemporaryDirectory() as folder:
            rendezvous = ["--rdzv-backend=c10d", "--rdzv-conf=store_type=file", f"--rdzv-endpoint={folder}/rendezvous"]
            local = ["--local-addr=127.0.0.1", f"--nproc-per-node={count}", f"--rdzv-id={uuid.uuid4().hex}"]
            options = parse_args([*rendezvous, *local, "-m", module, *arguments])  # type: ignore[no-untyped-call]
            run(options)  # type: ignore[no-untyped-call]
    except ChildFailedError as error:
        raise TrimError(_first_reason(error.failures, count)) from None
    except SignalException as error:  # torchrun has forwarded the signal and waited for the processes
        if error.sigval == signal.SIGINT:
            raise KeyboardInterrupt from None
        raise SystemExit(128 + error.sigval) from None


def report_failure(reason: str) -> None:
    """Tell torchrun why this process failed."""
    if path := os.environ.get("TORCHELASTIC_ERROR_FILE"):
        Path(path).write_text(json.dumps({"message": reason, "timestamp": int(time.time())}), "utf-8")


def _first_reason(failures: dict[int, Any], count: int) -> str:
    """The reason from the process that failed on its own; the others lost it or were then terminated by torchrun."""
    number, failure = min(
        failures.items(), key=lambda item: (item[1].exitcode == -signal.SIGTERM, item[1].message == LOST, item[0])
    )
    if failure.exitcode < 0:
        return f"process {number} of {count} was killed by {failure.signal_name()}: out of memory?"
    if not failure.error_file_data.get("message"):
        return f"process {number} of {count} exited with code {failure.exitcode} without a message; see the log"
    return str(failure.message)
