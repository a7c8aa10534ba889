"""One row for each run, for the table on the Compare page. No profile is read for it: runs may be a thousand."""

from pathlib import Path

import pandas as pd

from dashboard import store
from dashboard.criteria import ranking
from dashboard.pruned import NONZERO
from dashboard.remembering import Remembered
from trimcore import runs, tables
from trimcore.errors import TrimError

MORE = ["not zero", NONZERO, "verification", "tags"]  # columns for runs that have them
MEASURES = ["compression", "test accuracy", "parameters", "MACs ratio", "measured", "measured, batch 1"]


def read_runs() -> pd.DataFrame:
    """One row a run, newest first; empty without runs."""
    found = []
    for run_id in store.run_ids():
        try:
            asked = store.spec_of(run_id)
        except TrimError:
            continue
        result = store.if_there(_result, store.folder() / run_id / "events.jsonl", NO_RESULT)
        found.append({
            "id": run_id, "run": store.title(run_id), "state": store.status(run_id).state, "model": asked.model,
            "data": asked.data, "criterion": ranking(asked), **result, "seed": asked.seed,
            "tags": list(store.notes(run_id).tags) or None,
        })  # fmt: skip
    return pd.DataFrame(found)


NO_RESULT = {**dict.fromkeys(MEASURES), "iterations": 0}


def result_of(folder: Path) -> dict:
    """What a run has come to, of its iterations alone."""
    events = list(runs.read_events(folder, ("iteration", "ended", "weights")))
    rows = tables.latest(events, "iteration")
    if not rows:
        return NO_RESULT
    row = rows[runs.result_in(events)]
    said = {
        "compression": row["compression"], "test accuracy": row["accuracy_final"], "parameters": row["parameters"],
        "MACs ratio": row["macs_ratio"], "measured": row.get("latency_ratio"),
        "measured, batch 1": row.get("latency_1_ratio"), "verification": row.get("verification"),
    }  # fmt: skip
    if tables.has_zero_weights(events):
        said["not zero"] = row["nonzero_parameters"]
        said[NONZERO] = row["compression"] * row["parameters"] / row["nonzero_parameters"]
    return {**said, "iterations": len(rows) - 1}


_result = Remembered(lambda path: result_of(path.parent))
