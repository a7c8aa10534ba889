"""torch.compile with a limit of time.

Compiling cannot be stopped safely inside of a process. It is therefore tried in a process of its own, which can. What
that process has compiled stays in PyTorch's cache on this disk, where compiling it again takes it from.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import nn

from trimcore.errors import TrimError
from trimcore.files.program import Args, program_of, write_program
from trimcore.system.processes import python_path

SECONDS = 180.0  # for all shapes of inputs together
OPTIONS: dict[str, Any] = {"compile_threads": 1}  # otherwise the compiler keeps processes of its own


def compiled(network: nn.Module, inputs: Sequence[Args]) -> Any:
    """A network in evaluation mode, compiled for the shapes of each of `inputs`, which are on the CPU, the first with
    several examples. The first call with each of them still takes a few seconds.

    Raises TrimError if the network is no torch.export program, if it cannot be compiled, for want of a C++ compiler for
    example, and if that takes too long.
    """
    with tempfile.TemporaryDirectory() as folder:
        program, examples = Path(folder, "network.pt2"), Path(folder, "inputs.pt")
        write_program(program_of(network, inputs[0]), program)
        torch.save(list(inputs), examples)
        _try(program, examples)
        return _compiled(program)


def _compiled(program: Path) -> Any:
    return torch.compile(torch.export.load(program).module(), dynamic=False, options=OPTIONS)


def _try(program: Path, examples: Path) -> None:
    threads = str(torch.get_num_threads())
    command = [sys.executable, "-m", __name__, str(program), str(examples), threads]
    environment = os.environ | {"PYTHONPATH": python_path()}
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as child:
        try:
            _, errors = child.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            for process in [*psutil.Process(child.pid).children(recursive=True), psutil.Process(child.pid)]:
                process.kill()
            raise TrimError(f"compiling took longer than {SECONDS:.0f} seconds and was stopped") from None
    if child.returncode:
        raise TrimError(f"it cannot be compiled: {_reason(errors)}")


def _reason(errors: str) -> str:
    """The message of an error among the lines of a traceback, at most 200 characters."""
    lines = [line.strip() for line in errors.splitlines() if "Error" in line and not line.startswith(" ")]
    return (lines or ["it failed without a message"])[-1][:200]


def _main(program: str, examples: str, threads: str) -> None:
    torch.set_num_threads(int(threads))
    network = _compiled(Path(program))
    with torch.inference_mode():
        for inputs in torch.load(examples, weights_only=True):
            network(*inputs)


if __name__ == "__main__":
    _main(*sys.argv[1:])
