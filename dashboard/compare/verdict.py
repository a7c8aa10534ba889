"""Compare runs that differ only in the criterion. Pure functions of specs and iteration tables."""

from collections.abc import Mapping, Sequence

import pandas as pd

from dashboard.widgets.criteria import criteria_text
from trimcore.spec import Spec


def differ_only_in_criterion(specs: Sequence[Spec]) -> bool:
    """Whether all specs have different criteria and are otherwise equal, except for the name."""
    alike = [_without_criterion(asked) for asked in specs]
    return len(specs) > 1 and len(set(map(criteria_text, specs))) == len(specs) and all(a == alike[0] for a in alike)


def comparable_runs(specs: Mapping[str, Spec]) -> list[str]:
    """The names of the first spec and of those that differ from it only in the criterion. If there are none, those with
    the same network and data."""
    first = next(iter(specs.values()), None)
    others = [name for name, asked in specs.items() if asked is first or differ_only_in_criterion([first, asked])]
    same = [name for name, asked in specs.items() if (asked.model, asked.data) == (first.model, first.data)]
    return others if len(others) > 1 else same


def _without_criterion(asked: Spec) -> dict:
    values = asked.model_dump(exclude={"name"})
    return {**values, "step": [{k: v for k, v in step.items() if k != "criterion"} for step in values["step"]]}


def verdict(points: pd.DataFrame) -> str:
    """The accuracies at the smallest size that all runs have reached, and which run has the highest; "" before that.

    points: run (its label), iteration, compression, accuracy_final (0..1). Each run is represented by its first
    iteration that is at least as small. Its own compression is given if it differs.
    """
    done = points.dropna(subset="accuracy_final")
    reached = done.groupby("run", sort=False).compression.max()
    if len(reached) < points.run.nunique() or (size := reached.min()) <= 1:
        return ""
    small = done[done.compression >= size * (1 - 1e-6)].sort_values("iteration")
    there = small.groupby("run", sort=False).first().reindex(reached.index)
    shown = there.accuracy_final.map("{:.1%}".format).str.replace("%", " %")
    sizes = there.compression.map(_times)
    notes = (" (at " + sizes + ")").where(sizes != _times(size), "")
    texts = [f"{run} {text}{notes[run]}" for run, text in shown.items()]
    best = [run for run, text in shown.items() if text == shown[there.accuracy_final.idxmax()]]
    ahead = f"{best[0]} is ahead" if len(best) == 1 else f"{' and '.join(best)} are tied"
    caveat = "one seed each" if sizes.nunique() == 1 else "one seed each, at different sizes"
    return f"At {_times(size)}: {', '.join(texts)}. {ahead[0].upper()}{ahead[1:]} ({caveat})."


def _times(compression: float) -> str:
    return f"{compression:.1f}×"
