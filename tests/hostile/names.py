"""Run ids and paths that lead out, folders of runs that somebody else made, links with rubbish in them, cells that a
spreadsheet would carry out."""

import csv
import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from tests.hostile.case import Case
from tests.hostile.specs import said_by
from trimcore import runs, tables
from trimcore.errors import RunError
from trimcore.jobs import control
from trimcore.tables import csv_text

IDS = {
    "empty": "", "a dot": ".", "two dots": "..", "out": "../outside", "out and in": "../runs/x",
    "deep out": "../../../../etc/passwd",
    "absolute": "/etc/passwd", "a home": "~", "a home's file": "~root/x", "Windows out": "..\\outside",
    "a drive": "C:\\Windows",
    "a stream": "x::$DATA", "a null byte": "x\0y", "a line break": "x\ny", "a space": "x y", "a leading dash": "-rf",
    "an option": "--help", "hidden": ".hidden", "locks": ".locks", "uploads": ".uploads", "a star": "*",
    "a bracket": "[ab]",
    "a semicolon": "x;touch y", "a backtick": "`touch y`", "a dollar": "$(touch y)", "a pipe": "x|y",
    "a quote": "x'y", "quotes": 'x"y',
    "markup": "<script>alert(1)</script>", "other letters": "лauf", "a smile": "🙂", "a hundred and one": "x" * 101,
    "a megabyte": "x" * 10**6, "dots inside": "x..y", "percent": "%2e%2e%2foutside", "a colour": "\x1b[31m",
    "a right-to-left mark": "x\u202ey",
    "a full-width slash": "x／y", "SQL": "' OR 1=1 --", "a template": "{{7*7}}", "a format": "{0.__class__}",
}  # fmt: skip
ACTIONS: dict[str, Callable[[Path, str], object]] = {
    "open": runs.open_run, "stop": lambda folder, run_id: control.ask(folder, run_id, "stop"), "resume": control.resume,
    "delete": runs.delete,
}  # fmt: skip
FORMULAS = {
    "a formula": "=1+2", "a link": '=HYPERLINK("http://127.0.0.1/?"&A1,"x")', "a program": "=cmd|'/C calc'!A0",
    "plus": "+1+cmd|' /C x'!A0",
    "minus": "-2+3+cmd|' /C x'!A0", "at": "@SUM(1+1)", "a tab": "\t=1+2", "a return": "\r=1+2", "quotes": '="""x"""',
    "DDE": '=DDE("cmd";"/C calc";"x")', "an import": "=IMPORTXML(CONCAT(\"http://127.0.0.1\"),\"//a\")",
}  # fmt: skip


def a_run(inside: Path) -> Path:
    folder = runs.create(inside / "runs", "lenet5", 'model = "lenet5"\n')
    (folder / "events.jsonl").write_text(json.dumps({"seq": 1, "kind": "note", "text": "x"}) + "\n")
    runs.write_exit(folder, "finished", "done")
    return folder


def with_id(act: Callable[[Path, str], object], run_id: str):
    def case(inside: Path, marker: Path) -> str:
        (inside / "runs").mkdir()
        act(inside / "runs", run_id)
        return ""

    return case


def strange(change: Callable[[Path, Path], object]):
    """A run of which one file is another thing: it is neither listed nor opened, and what it leads to is left alone."""

    def case(inside: Path, marker: Path) -> str:
        run = a_run(inside)
        change(run, marker.parent)
        assert runs.list_runs(inside / "runs") == [], "it is listed"
        runs.open_run(inside / "runs", run.name)
        return ""

    return case


def odd(name: str, content: bytes):
    """A run with a damaged file is shown as far as it can be read."""

    def case(inside: Path, marker: Path) -> str:
        run = a_run(inside)
        (run / name).write_bytes(content)
        status = runs.state_of(run)
        assert status.state in runs.FINAL
        tables.csv_texts(list(runs.read_events(run)))
        return ""

    return case


def replaced(name: str, by: Callable[[Path, Path], object]) -> Callable[[Path, Path], object]:
    def change(run: Path, outside: Path) -> None:
        path = run / name
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        by(path, outside)

    return change


def _a_link_as_run(inside: Path, marker: Path) -> str:
    run = a_run(inside)
    elsewhere = marker.parent.parent / "elsewhere"
    shutil.move(run, elsewhere)
    run.symlink_to(elsewhere)
    assert runs.list_runs(inside / "runs") == []
    try:
        runs.delete(inside / "runs", run.name)
    except RunError as error:
        assert (elsewhere / "spec.toml").exists(), "what it leads to was deleted"
        return str(error)
    return ""


def _report_over_a_link(inside: Path, marker: Path) -> str:
    """`report --out` writes where it is told; not through a link in the run's own folder."""
    run = a_run(inside)
    (run / "iterations.csv").symlink_to(marker)
    return said_by(["report", run.name, "--out", str(inside / "out"), "--runs", str(inside / "runs")])


def formula(cell: str):
    """In every column of words of every table: what is read back as a cell does not begin as a formula does."""

    def case(inside: Path, marker: Path) -> str:
        text = csv_text.as_csv(pd.DataFrame({"layer": [cell, "conv1"], "class": ["a", cell], "apoz": [0.5, -0.5]}))
        for row in csv.DictReader(io.StringIO(text)):
            for name in ("layer", "class"):
                assert not row[name].startswith(csv_text.FORMULA), f"{row[name]!r} would be carried out"
        assert text.splitlines()[-1].endswith("-0.5") or "-0.5" in text, "a number is a number"
        return ""

    return case


def class_named(cell: str):
    """A folder of images may be called anything: its name stands in classes.csv."""

    def case(inside: Path, marker: Path) -> str:
        share = {"validation": [0.5, 0.5], "test": [0.5, 0.5]}
        row = {"iteration": 0, "class_accuracy": share, "class_examples": {"validation": [1, 1], "test": [1, 1]}}
        events = [{"kind": "started", "classes": [cell, "b"]}, {"kind": "iteration", **iteration(), **row}]
        rows = list(csv.DictReader(io.StringIO(tables.csv_texts(events)["classes.csv"])))
        assert len(rows) == 4
        assert not any(row["class"].startswith(csv_text.FORMULA) for row in rows)
        return ""

    return case


def iteration() -> dict:
    return {
        "layers_trimmed": [], "widths": {}, "parameters": 1, "compression": 1.0, "macs": 1, "macs_ratio": 1.0,
        "accuracy_initial": None, "accuracy_final": 0.5, "validation_accuracy": 0.5, "latency_ms": 1.0,
    }  # fmt: skip


STRANGE = {
    **{f"{name} is a link out": replaced(name, lambda path, out: path.symlink_to(out / "theirs.txt"))
       for name in ("spec.toml", "status.json", "events.jsonl", "log.txt", "exit.json", "request.json", "notes.json",
                    "iterations.csv")},
    "checkpoints is a link out": replaced("checkpoints", lambda path, out: path.symlink_to(out)),
    "checkpoints is a file": replaced("checkpoints", lambda path, out: path.write_text("x")),
    "events.jsonl is a pipe": replaced("events.jsonl", lambda path, out: os.mkfifo(path)),
    "status.json is a pipe": replaced("status.json", lambda path, out: os.mkfifo(path)),
    "spec.toml is a folder": replaced("spec.toml", lambda path, out: path.mkdir()),
    "events.jsonl is a folder": replaced("events.jsonl", lambda path, out: path.mkdir()),
    "log.txt is a device": replaced("log.txt", lambda path, out: path.symlink_to("/dev/zero")),
}  # fmt: skip
DAMAGED = {
    "no JSON": b"{", "a list": b"[1, 2, 3]", "a number": b"5", "null": b"null", "bytes": bytes(range(256)),
    "deep": b"[" * 100_000,
    "endless numbers": b'{"a": ' + b"9" * 10_000 + b"}", "a state of another": b'{"state": "exploded", "reason": 5}',
    "lists for texts": b'{"state": ["finished"], "reason": {}, "trainer": [], "host": 1}', "empty": b"",
    "a megabyte": b" " * 10**6,
}  # fmt: skip
CASES = [
    *(Case("run id", f"{action}: {name}", with_id(act, run_id))
      for action, act in ACTIONS.items() for name, run_id in IDS.items()
      if action == "open" or name in ("out", "absolute", "empty", "a null byte", "a megabyte")),
    *(Case("run folder", name, strange(change)) for name, change in STRANGE.items()),
    Case("run folder", "a run that is a link out", _a_link_as_run),
    Case("run folder", "a report over a link", _report_over_a_link),
    *(Case("run folder", f"{file}: {name}", odd(file, content), must_refuse=False)
      for file in ("status.json", "exit.json", "events.jsonl", "request.json") for name, content in DAMAGED.items()),
    *(Case("CSV", name, formula(cell), must_refuse=False) for name, cell in FORMULAS.items()),
    *(Case("CSV", f"a class called {name}", class_named(cell), must_refuse=False) for name, cell in FORMULAS.items()),
]  # fmt: skip
