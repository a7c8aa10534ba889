"""Tables that are measured once for all viewers: kept in this process and in the run folder, and shared by all who
ask at the same time."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from dashboard.session.file_cache import FileCache
from dashboard.session.shared_results import SharedResults
from trimcore.system.files import write_atomic

FOLDER = "changes"  # in a run folder
MAX_RESULTS = 16  # in this process
_shared = SharedResults(MAX_RESULTS)
_read = FileCache(lambda path: pd.read_csv(path, keep_default_na=False), MAX_RESULTS)


@dataclass(frozen=True)
class Kept:
    """A table in the file `name` below `run`, the folder of a run or of the example. It is measured again if it is
    older than one of the `checkpoints`, or if it is not `valid`: run folders come from others, too. Tables are shared,
    so nobody may change them."""

    run: Path
    name: str
    checkpoints: tuple[Path, ...]
    valid: Callable[[pd.DataFrame], bool]

    @property
    def _path(self) -> Path:
        return self.run / FOLDER / self.name

    @property
    def _key(self) -> tuple[str, int]:
        """It changes when a checkpoint changes."""
        return str(self._path), self._made()

    def _made(self) -> int:
        return max(path.stat().st_mtime_ns for path in self.checkpoints)

    def find(self) -> pd.DataFrame | None:
        """The table, if it has been measured."""
        with suppress(OSError):
            found: pd.DataFrame | None = _shared.found.get(self._key)
            if found is not None:
                return found
        return self._stored()

    def find_or_measure(self, measure: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        """The table, measured if nobody has. A run folder that cannot be written is no error. Raises what `measure`
        raises."""

        def make() -> pd.DataFrame:
            table = self._stored()
            if table is None:
                table = measure()
                self._store(table)
            return table

        return _shared.get(self._key, make)

    def _stored(self) -> pd.DataFrame | None:
        with suppress(OSError, ValueError, TypeError):  # a file of others may have anything in it
            if not self._path.parent.is_symlink() and self._path.stat().st_mtime_ns >= self._made():
                table = _read(self._path)
                return table if self.valid(table) else None
        return None

    def _store(self, table: pd.DataFrame) -> None:
        with suppress(OSError):
            if not self._path.parent.is_symlink():
                self._path.parent.mkdir(parents=True, exist_ok=True)
                write_atomic(self._path, table.to_csv(index=False))
