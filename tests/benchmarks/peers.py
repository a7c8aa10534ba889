"""Environments of their own for what we compare ourselves with. They are made when asked for, and need the network."""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

PEERS = {"torch-pruning": ["torch-pruning==1.6.1"], "nni": ["nni==2.10.1", "torch==2.13.*", "tensorboard"]}


def python_of(folder: Path, name: str) -> Path:
    return folder / name / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def make(folder: Path) -> None:
    """Torch-Pruning's sees all that ours has, so that both run on the same PyTorch in one process; NNI needs an older
    PyTorch and is alone. Raises CalledProcessError where one cannot be installed."""
    for name, packages in PEERS.items():
        if python_of(folder, name).exists():
            continue
        venv.create(folder / name, with_pip=True)
        alone = ["--no-deps"] if name == "torch-pruning" else []
        print(f"installing {', '.join(packages)} into {folder / name}", file=sys.stderr)
        subprocess.run([python_of(folder, name), "-m", "pip", "install", "-q", *alone, *packages], check=True)
        if alone:
            (lib,) = (folder / name).glob("lib/python*/site-packages")
            (lib / "ours.pth").write_text(sysconfig.get_path("purelib") + "\n")


def present(folder: Path | None, name: str) -> Path | None:
    """The Python that has this peer, or None."""
    python = python_of(folder, name) if folder else None
    return python if python and python.exists() else None
