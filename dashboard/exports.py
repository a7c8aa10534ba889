"""Networks as files, for the Report page. The command line writes and checks them, in a process of its own."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from trimcore import runs
from trimcore.errors import RunError
from trimcore.files.export import FORMATS
from trimcore.system.files import write_atomic

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 900  # seconds
LABELS = {
    "state_dict": "PyTorch state dict (.pt)", "safetensors": "safetensors",
    "sparse": "sparse safetensors (values + gaps)",
    "pt2": "torch.export program (.pt2)", "onnx": "ONNX",
}  # fmt: skip


@dataclass(frozen=True)
class Exported:
    """A file, and what was found when it was read back and compared with the network."""

    path: Path
    said: str


def path_of(folder: Path, iteration: int, format: str) -> Path:
    return folder / "exports" / f"iteration-{iteration:02d}{FORMATS[format]}"


def found(folder: Path, iteration: int, format: str) -> Exported | None:
    """The file from before, if it is there and no older than the network in the run folder."""
    path = path_of(folder, iteration, format)
    try:
        said = _note(path).read_text("utf-8")
        newer = path.stat().st_mtime_ns >= runs.checkpoint_path(folder, iteration).stat().st_mtime_ns
    except OSError:
        return None
    return Exported(path, said) if newer else None


def prepare(folder: Path, iteration: int, format: str) -> Exported:
    """Write an iteration of a run as a file below its folder; takes seconds. Raises RunError with what went wrong."""
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
        raise RunError(f"the export took longer than {LIMIT // 60} minutes and was ended") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"the export ended with exit code {done.returncode}"]
        raise RunError(lines[-1].removeprefix("trimcore: "))
    said = done.stdout.strip().splitlines()[-1].removeprefix(f"{path}: iteration {iteration}, ")
    try:
        write_atomic(_note(path), said)
    except OSError as error:
        raise RunError(f"cannot write below {str(path.parent)!r}: {error.strerror or error}") from None
    return Exported(path, said)


def _note(path: Path) -> Path:
    return path.with_name(f"{path.name}.txt")
