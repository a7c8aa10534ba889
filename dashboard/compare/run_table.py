"""One row per run, for the table on the page Compare. It reads no profiles, because there may be a thousand runs."""

from pathlib import Path
from typing import Any

import pandas as pd

from dashboard.session import navigation, run_reader
from dashboard.session.file_cache import FileCache
from dashboard.widgets.criteria import criteria_text
from dashboard.widgets.sizes import NONZERO
from trimcore import runs, tables
from trimcore.errors import TrimError
from trimcore.tables import ACCURACY

MORE = ["non-zero parameters", NONZERO, "verification", "tags"]  # columns that are shown only if a run has them
MEASURES = ["compression", "metric_final", "parameters", "MACs ratio", "latency ratio", "latency ratio, batch 1"]


def read_runs() -> pd.DataFrame:
    """One row per run, newest first; empty without runs."""
    found = []
    selected = navigation.selected_run()
    shown = [run_id for run_id in run_reader.selectable() if run_id != runs.EXAMPLE or selected == runs.EXAMPLE]
    for run_id in shown:
        try:
            asked = run_reader.spec_of(run_id)
        except TrimError:
            continue
        recorded = runs.open_run(run_reader.folder(), run_id) / "events.jsonl"
        result = run_reader.read_if_exists(_result, recorded, NO_RESULT)
        found.append({
            "id": run_id, "run": run_reader.title(run_id), "state": run_reader.status(run_id).state,
            "model": asked.model, "data": asked.data, "criterion": criteria_text(asked), **result, "seed": asked.seed,
            "tags": list(run_reader.notes(run_id).tags) or None,
        })  # fmt: skip
    return pd.DataFrame(found)


NO_RESULT = {**dict.fromkeys(MEASURES), "metric": ACCURACY, "iterations": 0}


def result_of(folder: Path) -> dict[str, Any]:
    """The result of a run, read without its profiles. `metric_final` is a value of `metric` on the test split."""
    events = list(runs.read_events(folder, ("started", "iteration", "ended", "weights")))
    rows = tables.latest(events, "iteration")
    if not rows:
        return NO_RESULT
    row = rows[runs.result_in(events)]
    result = {
        "compression": row["compression"], "metric_final": tables.value_of(row, "accuracy_final"),
        "parameters": row["parameters"],
        "MACs ratio": row["macs_ratio"], "latency ratio": row.get("latency_ratio"),
        "latency ratio, batch 1": row.get("latency_1_ratio"), "verification": row.get("verification"),
    }  # fmt: skip
    if tables.has_zero_weights(events):
        result["non-zero parameters"] = row["nonzero_parameters"]
        result[NONZERO] = row["compression"] * row["parameters"] / row["nonzero_parameters"]
    return {**result, "metric": tables.metric_of(events), "iterations": len(rows) - 1}


_result = FileCache(lambda path: result_of(path.parent))
