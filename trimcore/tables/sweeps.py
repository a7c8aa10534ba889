"""The table of a sweep: one row per run. Pure functions."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from trimcore.tables.metric import metric_of, value_of
from trimcore.tables.recorded import Recorded, latest

SWEEP = ["run", "settings", "state", "reason", "iterations", "compression", "parameters", "nonzero_parameters", "macs",
         "macs_ratio", "metric", "validation_metric", "test_metric", "seconds"]  # fmt: skip
COUNTS = ["iterations", "parameters", "nonzero_parameters", "macs"]
VALUES = ["compression", "macs_ratio", "validation_metric", "test_metric", "seconds"]


@dataclass(frozen=True)
class SweepRun:
    """A run of a sweep. `settings`: dotted key -> value; empty if it only trains a base network. `events`: at least
    those of the kinds started and iteration. `result`: the iteration that is its result so far."""

    run: str
    settings: Mapping[str, Any]
    state: str
    reason: str
    events: list[Recorded]
    result: int


def sweep(rows: Iterable[SweepRun]) -> pd.DataFrame:
    """sweep.csv: a row for each run, with a column for each setting in place of `settings`. Sizes and values are those
    of the result: the dense network, and the headline metric on both splits. `seconds` are those of all iterations."""
    rows = list(rows)
    keys = list(dict.fromkeys(key for row in rows for key in row.settings))
    columns = ["run", *keys, *SWEEP[2:]]
    table = pd.DataFrame([{**_texts(row, keys), **_result(row)} for row in rows], columns=columns, dtype=object)
    return table.astype(dict.fromkeys(COUNTS, "Int64") | dict.fromkeys(VALUES, float))


def _texts(row: SweepRun, keys: list[str]) -> dict[str, Any]:
    own = {key: ";".join(map(str, value)) if isinstance(value, list) else value for key, value in row.settings.items()}
    return {"run": row.run, **{key: own.get(key) for key in keys}, "state": row.state, "reason": row.reason}


def _result(row: SweepRun) -> dict[str, Any]:
    done = latest(row.events, "iteration")
    found = done.get(row.result, {})
    return {
        "iterations": max(len(done) - 1, 0), "compression": found.get("compression"),
        "parameters": found.get("parameters"), "nonzero_parameters": found.get("nonzero_parameters"),
        "macs": found.get("macs"), "macs_ratio": found.get("macs_ratio"), "metric": metric_of(row.events).name,
        "validation_metric": value_of(found, "validation_accuracy"), "test_metric": value_of(found, "accuracy_final"),
        "seconds": round(sum(event.get("seconds") or 0 for event in done.values()), 3) if done else None,
    }  # fmt: skip
