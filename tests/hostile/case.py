"""One hostile input, and what must hold of it: one clear line or no harm, nothing carried out, nothing written."""

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from trimcore.errors import TrimError

LONGEST = 2000  # characters of a line that tells a person what is wrong


@dataclass(frozen=True)
class Case:
    """`act(inside, marker)` hands the input over; `inside` is a folder of its own, `marker` a file that a payload would
    write. It returns what was said, raises TrimError, or returns "" where the input may be taken as it is."""

    surface: str
    name: str
    act: Callable[[Path, Path], str]
    must_refuse: bool = True  # else taking it without harm is as good

    def __str__(self) -> str:
        return f"{self.surface}: {self.name}"


def outcome(case: Case, folder: Path) -> str:
    """"refused" or "harmless". Raises AssertionError, in words, for anything else."""
    inside, outside = folder / "inside", folder / "outside"
    for made in (inside, outside):
        made.mkdir(parents=True)
    (outside / "theirs.txt").write_text("not to be touched")
    marker = outside / "carried-out"
    with working_in(inside):
        try:
            said = case.act(inside, marker) or ""
            refused = bool(said)
        except TrimError as error:
            said, refused = str(error), True
    assert not marker.exists(), f"{case} was carried out"
    assert sorted(path.name for path in outside.iterdir()) == ["theirs.txt"], f"{case} wrote outside"
    assert (outside / "theirs.txt").read_text() == "not to be touched", f"{case} changed what is not its own"
    if refused:
        assert said.strip(), f"{case} says nothing"
        assert "\n" not in said, f"{case} says more than a line: {said!r}"
        assert len(said) <= LONGEST, f"{case} says too much: {len(said)} characters"
        assert "Traceback" not in said, f"{case} shows a traceback"
    assert refused or not case.must_refuse, f"{case} was taken"
    return "refused" if refused else "harmless"


@contextlib.contextmanager
def working_in(folder: Path) -> Iterator[None]:
    before, runs = Path.cwd(), os.environ.get("TRIMCORE_RUNS")
    os.chdir(folder)
    os.environ["TRIMCORE_RUNS"] = str(folder / "runs")
    try:
        yield
    finally:
        os.chdir(before)
        if runs is None:
            del os.environ["TRIMCORE_RUNS"]
        else:
            os.environ["TRIMCORE_RUNS"] = runs
