"""Compare runs that differ only in the criterion. Pure functions of specs and iteration tables."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from dashboard.widgets.criteria import criteria_text
from trimcore.spec import Spec
from trimcore.tables import ACCURACY, Metric


def differ_only_in_criterion(specs: Sequence[Spec]) -> bool:
    """Whether all specs have different criteria and are otherwise equal, except for the name."""
    alike = [_without_criterion(asked) for asked in specs]
    return len(specs) > 1 and len(set(map(criteria_text, specs))) == len(specs) and all(a == alike[0] for a in alike)


def comparable_runs(specs: Mapping[str, Spec]) -> list[str]:
    """The names of the first spec and of those that differ from it only in the criterion. If there are none, those with
    the same network, data and task."""
    if not specs:
        return []
    first = next(iter(specs.values()))
    others = [name for name, asked in specs.items() if asked is first or differ_only_in_criterion([first, asked])]
    same = [name for name, asked in specs.items() if _subject(asked) == _subject(first)]
    return others if len(others) > 1 else same


def _subject(asked: Spec) -> tuple[str, str, str]:
    return asked.model, asked.data, asked.task


def _without_criterion(asked: Spec) -> dict[str, Any]:
    values = asked.model_dump(exclude={"name"})
    return {**values, "step": [{k: v for k, v in step.items() if k != "criterion"} for step in values["step"]]}


def verdict(points: pd.DataFrame, metric: Metric = ACCURACY) -> str:
    """The values at the smallest size that all runs have reached, and which run has the best; "" before that.

    points: run (its label), iteration, compression, metric_final. Each run is represented by its first
    iteration that is at least as small. Its own compression is given if it differs.
    """
    done = points.dropna(subset="metric_final")
    reached = done.groupby("run", sort=False).compression.max()
    if len(reached) < points.run.nunique() or (size := reached.min()) <= 1:
        return ""
    small = done[done.compression >= size * (1 - 1e-6)].sort_values("iteration")
    there = small.groupby("run", sort=False).first().reindex(reached.index)
    shown = there.metric_final.map(lambda value: metric.text(value, 1)).str.replace("%", " %")
    sizes = there.compression.map(_times)
    notes = (" (at " + sizes + ")").where(sizes != _times(size), "")
    texts = [f"{run} {text}{notes[run]}" for run, text in shown.items()]
    first = there.metric_final.idxmax() if metric.higher_is_better else there.metric_final.idxmin()
    best = [run for run, text in shown.items() if text == shown[first]]
    ahead = f"{best[0]} is ahead" if len(best) == 1 else f"{' and '.join(best)} are tied"
    caveat = "one seed each" if sizes.nunique() == 1 else "one seed each, at different sizes"
    return f"At {_times(size)}: {', '.join(texts)}. {ahead[0].upper()}{ahead[1:]} ({caveat})."


def _times(compression: float) -> str:
    return f"{compression:.1f}×"
