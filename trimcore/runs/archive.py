"""Pack a run into a zip file for another installation, where it can be viewed and branched from, but not resumed.

A run folder zipped by hand can be unpacked too. Only known run files are extracted, as regular files inside the run's
own folder, whatever else the archive contains.
"""

import json
import re
import shutil
import socket
import time
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

from trimcore import __version__
from trimcore.errors import RunError
from trimcore.runs.folder import FILES, FOLDERS, check_id
from trimcore.runs.status import state_of
from trimcore.system.files import read_json, write_atomic

FORMAT = 1
MARK = "brought.json"  # marks a run from another installation
CHECKPOINT = re.compile(r"checkpoints/iteration-\d{2,4}\.pt")
EVENT_FILE = re.compile(r"tensorboard/events\.out\.tfevents\.[\w.-]{1,200}")
LARGEST = 1 << 40  # bytes, all files together
RATIO = 100  # highest plausible compression ratio: text reaches it, weights hardly compress


def pack(folder: Path, out: Path) -> list[str]:
    """Write an ended run to a zip file, with its checkpoints but without its resume points. Returns the file names.
    Raises RunError for an active run, and OSError."""
    status = state_of(folder)
    if status.active:
        raise RunError(f"run {folder.name!r} is {status.state}: pack it after it has ended")
    names = (path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file())
    files = [name for name in names if _is_known(name)]
    metadata = {"format": FORMAT, "trimcore": __version__, "host": socket.gethostname(), "time": time.time()}
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in files:
            archive.write(folder / name, f"{folder.name}/{name}")
        archive.writestr(f"{folder.name}/packed.json", json.dumps(metadata))
    return files


def unpack(archive_path: Path, runs_folder: Path) -> tuple[str, list[str]]:
    """Unpack a run into the runs folder. Returns its id and the names of the archive members that were ignored.

    Raises RunError if the archive is not a packed run, is damaged, is too large or comes from a newer version, or if
    the run already exists.
    """
    try:
        with zipfile.ZipFile(archive_path) as archive:
            return _extract(archive, archive_path, runs_folder)
    except FileNotFoundError:
        raise RunError(f"there is no file {str(archive_path)!r}") from None
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:  # also if encrypted
        raise RunError(f"{str(archive_path)!r} is not a readable zip file: {error}") from None
    except OSError as error:
        raise RunError(f"{str(archive_path)!r} cannot be unpacked: {error.strerror or error}") from None


def _extract(archive: zipfile.ZipFile, path: Path, runs_folder: Path) -> tuple[str, list[str]]:
    members = {}
    for entry in archive.infolist():
        run_id, _, name = entry.filename.partition("/")
        members[run_id, name] = entry
    ids = sorted({run_id for run_id, name in members if name == "spec.toml"})
    if len(ids) != 1:
        raise RunError(f"{str(path)!r} contains {len(ids) or 'no'} runs: it must hold one, in a folder with spec.toml")
    run_id = ids[0]
    target, staging = _target_and_staging(runs_folder, run_id)
    taken = {name: entry for (owner, name), entry in members.items() if owner == run_id and _is_known(name)}
    ignored = [entry.filename for key, entry in members.items()
               if entry not in taken.values() and not entry.is_dir() and key[1] != "packed.json"]  # fmt: skip
    packed = _pack_metadata(archive, members.get((run_id, "packed.json")), path)
    _check_sizes(taken.values(), path, shutil.disk_usage(target.parent).free)
    try:
        (staging / "checkpoints").mkdir(parents=True)
        for name, entry in taken.items():
            (staging / name).parent.mkdir(exist_ok=True)
            with archive.open(entry) as source, open(staging / name, "xb") as file:
                shutil.copyfileobj(source, file)
        origin = {key: packed.get(key, "") for key in ("host", "trimcore")}
        mark = {"format": FORMAT, **origin, "time": time.time()}
        write_atomic(staging / MARK, json.dumps(mark))
        staging.rename(target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return run_id, ignored


def _target_and_staging(runs_folder: Path, run_id: str) -> tuple[Path, Path]:
    """The final folder of the run and the hidden folder that it is unpacked into first."""
    check_id(run_id)
    runs_folder.mkdir(parents=True, exist_ok=True)
    target = runs_folder / run_id
    if target.exists() or target.is_symlink():
        raise RunError(f"run {run_id!r} already exists: delete it first")
    staging = runs_folder / f".unpacking-{run_id}"
    shutil.rmtree(staging, ignore_errors=True)
    return target, staging


def _pack_metadata(archive: zipfile.ZipFile, entry: zipfile.ZipInfo | None, path: Path) -> dict[str, Any]:
    """The metadata that `pack` wrote; {} for a folder zipped by hand."""
    if entry is None or entry.file_size > 10_000:
        return {}
    try:
        metadata = json.loads(archive.read(entry))
    except (ValueError, RecursionError):
        return {}
    if not isinstance(metadata, dict):
        return {}
    if isinstance(metadata.get("format"), int) and metadata["format"] > FORMAT:
        newer = f"a newer version, trimcore {str(metadata.get('trimcore'))[:20]}"
        raise RunError(f"{str(path)!r} was packed by {newer}: update to open it")
    return {key: value for key, value in metadata.items() if isinstance(value, str) and len(value) < 100}


def _check_sizes(entries: Collection[zipfile.ZipInfo], path: Path, free: int) -> None:
    size, packed = sum(entry.file_size for entry in entries), sum(entry.compress_size for entry in entries)
    if size > min(free, LARGEST):
        raise RunError(f"{str(path)!r} unpacks to {size:,} bytes, but there is room for {min(free, LARGEST):,}")
    if size > 10**7 and size > RATIO * packed:
        raise RunError(f"{str(path)!r} unpacks to {size // max(packed, 1)} times its size: too much for a real run")


def _is_known(name: str) -> bool:
    in_folder = CHECKPOINT.fullmatch(name) or EVENT_FILE.fullmatch(name)
    return (name in FILES and name not in (*FOLDERS, "queue.json", MARK)) or in_folder is not None


def brought(folder: Path) -> dict[str, Any] | None:
    """The contents of a run's `MARK`, which say where it came from; None for a run of this installation."""
    return read_json(folder / MARK) or {"host": ""} if (folder / MARK).exists() else None
