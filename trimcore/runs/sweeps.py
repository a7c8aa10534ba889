"""Which runs belong to a sweep, and as which point of it.

Each run of a sweep says so in its own sweep.json, so it can be copied, resumed or deleted alone. The whole sweep is
kept as a spec in `.sweeps/<id>.toml`. Nobody trusts these files blindly: one that is torn or made up is no sweep.json.
"""

import json
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from trimcore.errors import RunError, shortened
from trimcore.runs.folder import list_runs
from trimcore.system.files import read_json, write_atomic

FILE = "sweep.json"
BEHIND, MET = "behind run", "the sweep's target was met by run"  # how the reasons of stopped runs begin
TARGET = ("accuracy", "limit", "smaller", "less_work")
MOST = 1_000  # points of a sweep, whoever wrote the file
LARGEST = 1e15
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,79}")
_KEY = re.compile(r"[A-Za-z]\w*(\.[\w-]+)*")
_LONGEST = 200  # characters of a key or a value


@dataclass(frozen=True)
class Member:
    """A run's place in a sweep. `point` counts the runs with settings from 0; it is None for a run that only trains a
    base network, which is then the base number `base`. `exempt`: somebody resumed the run after the rule had stopped
    it, so the rule holds no longer for it."""

    sweep: str
    points: int
    point: int | None = None
    base: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    stop_behind: float = 0.0
    target: Mapping[str, float] | None = None
    exempt: bool = False

    @property
    def label(self) -> str:
        """The settings as text: `value 1.5, seed 0`."""
        return settings_text(self.settings) if self.point is not None else "base network"


def settings_text(settings: Mapping[str, Any]) -> str:
    """Settings by their short names: `value 1.5, seed 0`.

    >>> settings_text({"step.0.value": 1.5, "order": ["fc1", "conv2"]})
    'value 1.5, order fc1 → conv2'
    """
    names = short_names(list(settings))
    return ", ".join(f"{names[key]} {value_text(value)}" for key, value in settings.items())


def short_names(keys: list[str]) -> dict[str, str]:
    """Key -> a short name: a key of the steps without `step.0.`, unless two of the keys would then be the same."""
    short = {key: key.rpartition(".")[2] if key.startswith("step.") else key for key in keys}
    return short if len(set(short.values())) == len(keys) else {key: key for key in keys}


def value_text(value: Any) -> str:
    """A value of a setting: `1.5`, `true`, `fc1 → conv2`."""
    if isinstance(value, list | tuple):
        return " → ".join(map(value_text, value))
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def is_by_rule(reason: str) -> bool:
    """Whether this reason of a stopped run is that of its sweep's rule."""
    return reason.startswith((BEHIND, MET))


# --- sweep.json ---


def member_of(folder: Path) -> Member | None:
    """The run's place in its sweep; None if it belongs to none, or the file is damaged."""
    return read_member(folder / FILE)


def read_member(path: Path) -> Member | None:
    values = read_json(path)
    settings, target = values.get("settings"), values.get("target")
    valid = (
        is_sweep_id(values.get("sweep"))
        and _count(values.get("points"), 1)
        and all(values.get(key) is None or _count(values[key]) for key in ("point", "base"))
        and (values.get("point") is None) != (values.get("base") is None)
        and isinstance(settings, dict) and all(_setting(*pair) for pair in settings.items())
        and _number(values.get("stop_behind")) and values["stop_behind"] >= 0
        and (target is None or (isinstance(target, dict) and all(map(_number, target.values())) and _full(target)))
        and type(values.get("exempt", False)) is bool
    )  # fmt: skip
    return Member(**{key: values[key] for key in Member.__annotations__ if key in values}) if valid else None


def write_member(folder: Path, member: Member) -> None:
    write_atomic(folder / FILE, json.dumps(asdict(member)))


def exempt(folder: Path) -> None:
    """From now on, the rule of its sweep does not hold for this run."""
    if member := member_of(folder):
        write_member(folder, replace(member, exempt=True))


def members(
    runs_folder: Path, sweep_id: str, read: Callable[[Path], Member | None] = read_member
) -> dict[str, Member]:  # fmt: skip
    """The runs of a sweep: the base networks, then the points in order. Runs from another installation do not count.
    `read` may cache."""
    return all_members(runs_folder, read).get(sweep_id, {})


def all_members(
    runs_folder: Path, read: Callable[[Path], Member | None] = read_member
) -> dict[str, dict[str, Member]]:  # fmt: skip
    """`members` of every sweep that has runs, by its id."""
    found: dict[str, dict[str, Member]] = {}
    for run_id in reversed(list_runs(runs_folder)):
        path = runs_folder / run_id / FILE
        if path.is_file() and not (runs_folder / run_id / "brought.json").exists():
            try:
                member = read(path)
            except OSError:
                continue  # it is being deleted
            if member:
                found.setdefault(member.sweep, {})[run_id] = member
    return {sweep_id: dict(sorted(own.items(), key=_place)) for sweep_id, own in found.items()}


def _place(item: tuple[str, Member]) -> tuple[bool, int, str]:
    run_id, member = item
    number = member.base if member.point is None else member.point
    return member.point is not None, number or 0, run_id


def is_sweep_id(value: Any) -> bool:
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def _count(value: Any, least: int = 0) -> bool:
    return type(value) is int and least <= value <= MOST


def _number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= LARGEST  # False for NaN


def _full(target: dict[str, Any]) -> bool:
    return set(target) <= set(TARGET) and bool({"accuracy", "limit"} & set(target))


def _setting(key: Any, value: Any) -> bool:
    if not isinstance(key, str) or len(key) > _LONGEST or not _KEY.fullmatch(key):
        return False
    values = value if isinstance(value, list) else [value]
    return len(values) <= MOST and all(
        isinstance(each, bool) or _number(each) or (isinstance(each, str) and len(each) <= _LONGEST) for each in values
    )


# --- the sweep as a whole ---


def create_sweep(runs_folder: Path, spec_toml: str) -> str:
    """Keep the spec of a new sweep. Returns its id. Raises RunError if it cannot be written."""
    try:
        folder = _folder(runs_folder)
        folder.mkdir(parents=True, exist_ok=True)
        sweep_id = f"sweep-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
        write_atomic(folder / f"{sweep_id}.toml", spec_toml)
    except OSError as error:
        reason = error.strerror or error
        raise RunError(f"cannot create a sweep in {runs_folder}: {reason}; choose another folder with --runs") from None
    return sweep_id


def sweep_path(runs_folder: Path, sweep_id: str) -> Path:
    """The spec of a sweep. Raises RunError if there is none."""
    if not is_sweep_id(sweep_id):
        raise RunError(f"{shortened(repr(sweep_id))} is not the id of a sweep; `sweep` lists them")
    path = _folder(runs_folder) / f"{sweep_id}.toml"
    if path.is_symlink() or not path.is_file():
        raise RunError(f"there is no sweep {sweep_id!r} in {runs_folder}; `sweep` lists the existing ones")
    return path


def list_sweeps(runs_folder: Path) -> list[str]:
    """The ids of all sweeps, newest first."""
    found = [path.stem for path in _folder(runs_folder).glob("*.toml") if is_sweep_id(path.stem)]
    return sorted(found, reverse=True)


def _folder(runs_folder: Path) -> Path:
    return runs_folder / ".sweeps"
