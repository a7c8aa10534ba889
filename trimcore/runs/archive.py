"""A run as one zip file, to be opened elsewhere: there it can be looked at and branched from, and is not carried on.

A folder that was zipped by hand is opened in the same way. Only files that a run has are taken out of an archive, as
ordinary files of its own folder, whatever else the archive names.
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
from trimcore.runs.folder import FILES, check_id
from trimcore.runs.status import state_of
from trimcore.system.files import read_json, write_atomic

FORMAT = 1
MARK = "brought.json"  # in a run that came from another installation
CHECKPOINT = re.compile(r"checkpoints/iteration-\d{2,4}\.pt")
LARGEST = 1 << 40  # bytes of all files together
RATIO = 100  # to which text is packed at most; weights hardly are


def pack(folder: Path, out: Path) -> list[str]:
    """Write a run that has ended, with its checkpoints but without its resume points. Returns the names of the files.
    Raises RunError for a run that is active, and OSError."""
    status = state_of(folder)
    if status.active:
        raise RunError(f"run {folder.name!r} is {status.state}: pack it when it has ended")
    names = (path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file())
    files = [name for name in names if _is_known(name)]
    made = {"format": FORMAT, "trimcore": __version__, "host": socket.gethostname(), "time": time.time()}
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in files:
            archive.write(folder / name, f"{folder.name}/{name}")
        archive.writestr(f"{folder.name}/packed.json", json.dumps(made))
    return files


def unpack(archive_path: Path, runs_folder: Path) -> tuple[str, list[str]]:
    """Bring a packed run into the runs folder. Returns its id and what was left out of the archive.

    Raises RunError for what is no packed run, is damaged or too large, was made by a newer version, or is there
    already.
    """
    try:
        with zipfile.ZipFile(archive_path) as archive:
            return _unpacked(archive, archive_path, runs_folder)
    except FileNotFoundError:
        raise RunError(f"there is no file {str(archive_path)!r}") from None
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:  # encrypted ones, too
        raise RunError(f"{str(archive_path)!r} is no zip file that can be read: {error}") from None
    except OSError as error:
        raise RunError(f"{str(archive_path)!r} cannot be unpacked: {error.strerror or error}") from None


def _unpacked(archive: zipfile.ZipFile, path: Path, runs_folder: Path) -> tuple[str, list[str]]:
    members = {}
    for entry in archive.infolist():
        run_id, _, name = entry.filename.partition("/")
        members[run_id, name] = entry
    ids = sorted({run_id for run_id, name in members if name == "spec.toml"})
    if len(ids) != 1:
        raise RunError(f"{str(path)!r} holds {len(ids) or 'no'} runs: one is wanted, in a folder with its spec.toml")
    run_id = ids[0]
    target, beside = _free_place(runs_folder, run_id)
    taken = {name: entry for (owner, name), entry in members.items() if owner == run_id and _is_known(name)}
    left = [entry.filename for key, entry in members.items()
            if entry not in taken.values() and not entry.is_dir() and key[1] != "packed.json"]  # fmt: skip
    packed = _packed(archive, members.get((run_id, "packed.json")), path)
    _check_sizes(taken.values(), path, shutil.disk_usage(target.parent).free)
    try:
        (beside / "checkpoints").mkdir(parents=True)
        for name, entry in taken.items():
            with archive.open(entry) as source, open(beside / name, "xb") as file:
                shutil.copyfileobj(source, file)
        origin = {key: packed.get(key, "") for key in ("host", "trimcore")}
        mark = {"format": FORMAT, **origin, "time": time.time()}
        write_atomic(beside / MARK, json.dumps(mark))
        beside.rename(target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return run_id, left


def _free_place(runs_folder: Path, run_id: str) -> tuple[Path, Path]:
    """Where the run will be, and where it is put together."""
    check_id(run_id)
    runs_folder.mkdir(parents=True, exist_ok=True)
    target = runs_folder / run_id
    if target.exists() or target.is_symlink():
        raise RunError(f"run {run_id!r} is here already: delete it first")
    beside = runs_folder / f".unpacking-{run_id}"
    shutil.rmtree(beside, ignore_errors=True)
    return target, beside


def _packed(archive: zipfile.ZipFile, entry: zipfile.ZipInfo | None, path: Path) -> dict[str, Any]:
    """What `pack` says of itself; {} for a folder that was zipped by hand."""
    if entry is None or entry.file_size > 10_000:
        return {}
    try:
        said = json.loads(archive.read(entry))
    except (ValueError, RecursionError):
        return {}
    if not isinstance(said, dict):
        return {}
    if isinstance(said.get("format"), int) and said["format"] > FORMAT:
        newer = f"a newer version, trimcore {str(said.get('trimcore'))[:20]}"
        raise RunError(f"{str(path)!r} was packed by {newer}: update to open it")
    return {key: value for key, value in said.items() if isinstance(value, str) and len(value) < 100}


def _check_sizes(entries: Collection[zipfile.ZipInfo], path: Path, free: int) -> None:
    whole, packed = sum(entry.file_size for entry in entries), sum(entry.compress_size for entry in entries)
    if whole > min(free, LARGEST):
        raise RunError(f"{str(path)!r} holds {whole:,} bytes, and there is room for {min(free, LARGEST):,}")
    if whole > 10**7 and whole > RATIO * packed:
        raise RunError(f"{str(path)!r} becomes {whole // max(packed, 1)} times as large: no run is packed so tightly")


def _is_known(name: str) -> bool:
    return (name in FILES and name not in ("checkpoints", MARK)) or CHECKPOINT.fullmatch(name) is not None


def brought(folder: Path) -> dict[str, Any] | None:
    """Where a run came from, in words of its `MARK`; None for one of this installation."""
    return read_json(folder / MARK) or {"host": ""} if (folder / MARK).exists() else None
