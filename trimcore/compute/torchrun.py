"""torchrun, PyTorch's own launcher: starts the processes of a run on this machine, and says why they failed."""

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

LOST = "the other processes cannot be reached any more"  # what one says that did not fail by itself
LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"


def started() -> bool:
    """Whether torchrun has started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def launch(count: int, module: str, *arguments: str) -> None:
    """Run `python -m module arguments` in `count` processes through torchrun, on this machine, and see them end.

    They speak over the loopback interface, and find each other through a file: torchrun unpickles what it finds at
    that place, and a port for it would be open to the whole network. Raises TrimError with what the first that failed
    has said, in one line.
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
            where = ["--rdzv-backend=c10d", "--rdzv-conf=store_type=file", f"--rdzv-endpoint={folder}/rendezvous"]
            here = ["--local-addr=127.0.0.1", f"--nproc-per-node={count}", f"--rdzv-id={uuid.uuid4().hex}"]
            asked = parse_args([*where, *here, "-m", module, *arguments])  # type: ignore[no-untyped-call]
            run(asked)  # type: ignore[no-untyped-call]
    except ChildFailedError as error:
        raise TrimError(_first_reason(error.failures, count)) from None
    except SignalException as error:  # it has passed the signal on, and seen them end
        if error.sigval == signal.SIGINT:
            raise KeyboardInterrupt from None
        raise SystemExit(128 + error.sigval) from None


def say_failed(reason: str) -> None:
    """Tell torchrun why this process fails."""
    if path := os.environ.get("TORCHELASTIC_ERROR_FILE"):
        Path(path).write_text(json.dumps({"message": reason, "timestamp": int(time.time())}), "utf-8")


def _first_reason(failures: dict[int, Any], count: int) -> str:
    """The reason of the process that failed by itself: others lost it, or were ended by torchrun, thereafter."""
    number, failure = min(
        failures.items(), key=lambda item: (item[1].exitcode == -signal.SIGTERM, item[1].message == LOST, item[0])
    )
    if failure.exitcode < 0:
        return f"process {number} of {count} was ended by {failure.signal_name()}: out of memory?"
    if not failure.error_file_data.get("message"):
        return f"process {number} of {count} ended with code {failure.exitcode} and no word; see the log"
    return str(failure.message)
