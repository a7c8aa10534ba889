"""Runs that differ only in the criterion, and who is ahead; runs that differ only in the seed, summed up. Pure
functions of specs and iteration tables."""

import json
from collections.abc import Mapping, Sequence

import pandas as pd

from dashboard.criteria import ranking
from trimcore.spec import Spec


def differ_only_in_criterion(specs: Sequence[Spec]) -> bool:
    """Whether each ranks by something else, and everything else but the name was asked alike."""
    alike = [_without_criterion(asked) for asked in specs]
    return len(specs) > 1 and len(set(map(ranking, specs))) == len(specs) and all(a == alike[0] for a in alike)


def like_the_first(specs: Mapping[str, Spec]) -> list[str]:
    """The names of the first spec and of those that differ from it only in the criterion; where there are none, of
    those for the same network and data."""
    first = next(iter(specs.values()), None)
    rivals = [name for name, asked in specs.items() if asked is first or differ_only_in_criterion([first, asked])]
    same = [name for name, asked in specs.items() if (asked.model, asked.data) == (first.model, first.data)]
    return rivals if len(rivals) > 1 else same


def _without_criterion(asked: Spec) -> dict:
    values = asked.model_dump(exclude={"name"})
    return {**values, "step": [{k: v for k, v in step.items() if k != "criterion"} for step in values["step"]]}


def verdict(points: pd.DataFrame) -> str:
    """One sentence: accuracies at the smallest size that all have reached, and who is ahead; "" before that.

    points: run (what to call it), iteration, compression, accuracy_final (0..1). A run counts with its first iteration
    that is at least as small; its own compression is named where it is another.
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
    ahead = f"{best[0]} is ahead" if len(best) == 1 else f"{' and '.join(best)} are level"
    fair = "one seed each" if sizes.nunique() == 1 else "one seed each, and not all of one size"
    return f"At {_times(size)}: {', '.join(texts)}. {ahead[0].upper()}{ahead[1:]}; {fair}."


def _times(compression: float) -> str:
    return f"{compression:.1f}×"


def differ_only_in_seed(specs: Mapping[str, Spec]) -> list[list[str]]:
    """The runs that ask the same with other seeds, as groups of two or more; in the order of `specs` (newest first),
    one run for each seed: the first. Branches belong together when their parents do, and the iteration is the same."""
    groups: dict[str, dict[int, str]] = {}
    for run_id, asked in specs.items():
        groups.setdefault(json.dumps(_without_seed(asked, specs), sort_keys=True), {}).setdefault(asked.seed, run_id)
    return [list(own.values()) for own in groups.values() if len(own) > 1]


def _without_seed(asked: Spec, specs: Mapping[str, Spec]) -> dict:
    values = asked.model_dump(exclude={"name", "seed", "parent"})
    if asked.parent is None:
        return values
    others = {run_id: spec for run_id, spec in specs.items() if run_id != asked.parent.run}  # an end, also in a ring
    parent = specs.get(asked.parent.run)
    line = asked.parent.run if parent is None else _without_seed(parent, others)
    return {**values, "parent": [line, asked.parent.iteration]}


def spread(results: pd.DataFrame, measures: Sequence[str]) -> pd.DataFrame:
    """Several seeds in numbers. results: one row a seed, with the columns `measures`. A row for each measure that was
    made: measure, seeds (how many have it), mean, std (of the sample, n - 1; NaN with one seed), least, most."""
    rows = [
        {"measure": name, "seeds": own.size, "mean": own.mean(), "std": own.std(ddof=1), "least": own.min(),
         "most": own.max()}
        for name in measures if (own := results[name].dropna().astype(float)).size
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["measure", "seeds", "mean", "std", "least", "most"])


def mean_over_seeds(points: pd.DataFrame, group_of: Mapping[str, str]) -> pd.DataFrame:
    """The points of a frontier with one line a group: at each iteration the mean over the runs that have finished it.

    points: run, iteration, compression, accuracy_initial, accuracy_final. group_of: run -> what its group is called;
    other runs stay lines of their own. Further columns: seeds (how many runs), accuracy_std and compression_std (of
    the sample; NaN for one run).
    """
    named = points.assign(run=points.run.map(lambda run: group_of.get(run, run)))
    named = named.astype({"accuracy_initial": float, "accuracy_final": float})
    return named.groupby(["run", "iteration"], sort=False, as_index=False).agg(
        compression=("compression", "mean"), compression_std=("compression", "std"),
        accuracy_initial=("accuracy_initial", "mean"), accuracy_final=("accuracy_final", "mean"),
        accuracy_std=("accuracy_final", "std"), seeds=("compression", "size"),
    )  # fmt: skip
