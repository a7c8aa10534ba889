"""Export networks as files for the page Report. The command line writes and checks them in a separate process."""

import io
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from dashboard.session import run_reader
from trimcore import runs
from trimcore.errors import RunError
from trimcore.files.export import FORMATS, INT8
from trimcore.files.scripts import script_paths
from trimcore.system.files import write_atomic

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 900  # seconds
LABELS = {
    "state_dict": "PyTorch state dict (.pt)", "safetensors": "safetensors",
    "sparse": "sparse safetensors (.sparse.safetensors)",
    "pt2": "torch.export program (.pt2)", "onnx": "ONNX", INT8: "ONNX in INT8",
}  # fmt: skip


@dataclass(frozen=True)
class Exported:
    """A file, the result of reading it back and comparing it with the network, and the scripts that go with it."""

    path: Path
    check: str
    scripts: tuple[Path, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.path.name}.zip" if self.scripts else self.path.name

    def content(self) -> bytes:
        """The file, or a zip file with it and its scripts."""
        if not self.scripts:
            return self.path.read_bytes()
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in (self.path, *self.scripts):
                archive.write(path, path.name)
        return packed.getvalue()


def path_of(folder: Path, iteration: int, format: str) -> Path:
    return run_reader.place_of(folder) / "exports" / f"iteration-{iteration:02d}{FORMATS[format]}"


def table_path(folder: Path) -> Path:
    """The table of the last export in INT8."""
    return run_reader.place_of(folder) / "quantization.csv"


def existing(folder: Path, iteration: int, format: str, scripts: bool = False) -> Exported | None:
    """An existing export, if it and its scripts are no older than the checkpoint in the run folder."""
    path = path_of(folder, iteration, format)
    beside = tuple(script_paths(format, path)) if scripts else ()
    try:
        check = _check_path(path).read_text("utf-8")
        made = runs.checkpoint_path(folder, iteration).stat().st_mtime_ns
        newer = all(each.stat().st_mtime_ns >= made for each in (path, *beside))
    except OSError:
        return None
    return Exported(path, check, beside) if newer else None


def export(folder: Path, iteration: int, format: str, scripts: bool = False) -> Exported:
    """Export an iteration of a run to a file below its folder, on request with the scripts that load and time it. This
    takes seconds. INT8 writes its table, too. Raises RunError on failure."""
    path = path_of(folder, iteration, format).resolve()
    command = [
        sys.executable, "-m", "trimcore", "export", folder.name, "--iteration", str(iteration), "--format", format,
        "--out", str(path), "--runs", str(folder.resolve().parent), *(["--script"] if scripts else []),
        *(["--csv", str(table_path(folder).resolve())] if format == INT8 else []),
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
    start = f"{path}: iteration {iteration}, "
    check = next(line.removeprefix(start) for line in done.stdout.splitlines() if line.startswith(start))
    try:
        write_atomic(_check_path(path), check)
    except OSError as error:
        raise RunError(f"cannot write to {str(path.parent)!r}: {error.strerror or error}") from None
    return Exported(path, check, tuple(script_paths(format, path)) if scripts else ())


def _check_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.txt")
