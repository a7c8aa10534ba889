"""Export networks as files for the page Report. The command line writes and checks them in a separate process."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from trimcore import runs
from trimcore.errors import RunError
from trimcore.files.export import FORMATS
from trimcore.system.files import write_atomic

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 900  # seconds
LABELS = {
    "state_dict": "PyTorch state dict (.pt)", "safetensors": "safetensors",
    "sparse": "sparse safetensors (.sparse.safetensors)",
    "pt2": "torch.export program (.pt2)", "onnx": "ONNX",
}  # fmt: skip


@dataclass(frozen=True)
class Exported:
    """A file, and the result of reading it back and comparing it with the network."""

    path: Path
    check: str


def path_of(folder: Path, iteration: int, format: str) -> Path:
    return folder / "exports" / f"iteration-{iteration:02d}{FORMATS[format]}"


def existing(folder: Path, iteration: int, format: str) -> Exported | None:
    """An existing export, if it is no older than the checkpoint in the run folder."""
    path = path_of(folder, iteration, format)
    try:
        check = _check_path(path).read_text("utf-8")
        newer = path.stat().st_mtime_ns >= runs.checkpoint_path(folder, iteration).stat().st_mtime_ns
    except OSError:
        return None
    return Exported(path, check) if newer else None


def export(folder: Path, iteration: int, format: str) -> Exported:
    """Export an iteration of a run to a file below its folder. This takes seconds. Raises RunError on failure."""
    path = path_of(folder, iteration, format).resolve()
    command = [
        sys.executable, "-m", "trimcore", "export", folder.name, "--iteration", str(iteration), "--format", format,
        "--out", str(path), "--runs", str(folder.resolve().parent),
    ]  # fmt: skip
    try:
        done = subprocess.run(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=LIMIT
        )
    except subprocess.TimeoutExpired:
        raise RunError(f"the export took longer than {LIMIT // 60} minutes and was stopped") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"the export failed with exit code {done.returncode}"]
        raise RunError(lines[-1].removeprefix("trimcore: "))
    check = done.stdout.strip().splitlines()[-1].removeprefix(f"{path}: iteration {iteration}, ")
    try:
        write_atomic(_check_path(path), check)
    except OSError as error:
        raise RunError(f"cannot write to {str(path.parent)!r}: {error.strerror or error}") from None
    return Exported(path, check)


def _check_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.txt")
