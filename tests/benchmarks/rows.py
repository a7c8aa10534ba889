"""A row of the benchmark table, and how two things are timed against each other."""

import csv
import io
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import astuple, dataclass, fields


@dataclass(frozen=True)
class Row:
    """One figure. `value` is a ratio of two things measured in turns, unless `figure` names a unit; None where what
    it is compared with is absent. `goal` is such as "<= 1.05" or ">= 3", or empty where nothing was promised."""

    part: str  # what the figure is about: APoZ pass, surgery, ...
    case: str  # network, shapes, batch size, precision
    figure: str  # what the value is: "time over plain inference"
    value: float | None
    goal: str = ""
    ours: str = ""  # both sides, with their units
    other: str = ""
    note: str = ""

    @property
    def verdict(self) -> str:
        """"met" or "missed"; empty without a goal or a value."""
        if self.value is None or not self.goal:
            return "" if self.value is not None else "absent"
        sign, limit = self.goal.split()
        return "met" if (self.value <= float(limit) if sign == "<=" else self.value >= float(limit)) else "missed"


def alternating(things: Iterable[Callable[[], object]], rounds: int, warm_up: int = 1) -> list[float]:
    """The median seconds of each thing, all called in turns `rounds` times; so that what slows the machine down for
    a while slows all of them. The order is reversed every other round: each follows each."""
    things = list(things)
    times: list[list[float]] = [[] for _ in things]
    for number in range(-warm_up, rounds):
        for index in range(len(things))[:: -1 if number % 2 else 1]:
            begin = time.perf_counter()
            things[index]()
            if number >= 0:
                times[index].append(time.perf_counter() - begin)
    return [statistics.median(one) for one in times]


def in_ms(seconds: float) -> str:
    return f"{seconds * 1e3:,.1f} ms" if seconds < 10 else f"{seconds:,.1f} s"


def table(rows: Iterable[Row]) -> str:
    """As a Markdown table."""
    lines = ["| part | case | figure | value | goal | | ours | other | note |", "|" + "---|" * 9]
    for row in rows:
        value = "absent" if row.value is None else f"{row.value:,.3g}"
        cells = (row.part, row.case, row.figure, value, row.goal, row.verdict, row.ours, row.other, row.note)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def as_csv(rows: Iterable[Row]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*(field.name for field in fields(Row)), "verdict"])
    writer.writerows([*astuple(row), row.verdict] for row in rows)
    return text.getvalue()


def from_csv(text: str) -> list[Row]:
    """The rows that `as_csv` has written."""
    names = [field.name for field in fields(Row)]
    rows = [{name: row[name] for name in names} for row in csv.DictReader(io.StringIO(text))]
    return [Row(**{**row, "value": float(row["value"]) if row["value"] else None}) for row in rows]


def print_rows(rows: Iterable[Row]) -> None:
    """As a table, each row as soon as it is there."""
    print(table([]))
    for row in rows:
        print(table([row]).splitlines()[-1], flush=True)


def of_a_part(rows: Iterable[Row]) -> None:
    """What a part prints when it is called alone: the table, or with --csv what `from_csv` reads."""
    if "--csv" in sys.argv[1:]:
        print(as_csv(rows), end="")
    else:
        print_rows(rows)
