"""Which run branched from which. Pure functions of a forest: run -> the (run, iteration) it branched from, or None for
a root; newest first, as `runs.parents` lists them."""

from collections.abc import Iterable, Mapping

Forest = Mapping[str, tuple[str, int] | None]


def forest(parents: Forest) -> dict[str, tuple[str, int] | None]:
    """`parents` as `runs.parents` found them, without missing parents and without cycles (from an edited spec)."""
    known = {run: parent if parent and parent[0] in parents else None for run, parent in parents.items()}
    for run in known:
        above, seen = known[run], set()
        while above and above[0] not in seen:
            seen.add(above[0])
            above = known[above[0]]
        if run in seen:
            known[run] = None
    return known


def ancestors(parents: Forest, run_id: str) -> list[tuple[str, int]]:
    """The ancestors of a run, oldest first, each with the iteration that the next one branched from."""
    parent = parents[run_id]
    return [*ancestors(parents, parent[0]), parent] if parent else []


def family(parents: Forest, run_id: str) -> list[str]:
    """All runs of the tree that a run belongs to."""
    return [other for other in parents if _line(parents, other)[0] == _line(parents, run_id)[0]]


def newest(parents: Forest, runs: list[str], most: int, first: str | None = None) -> list[str]:
    """At most `most` of the runs, newest first, each with all its ancestors. `first` takes precedence."""
    shown: set[str] = set()
    for run in (first, *runs):
        if run in runs and len(wanted := shown.union(_line(parents, run))) <= most:
            shown = wanted
    return [run for run in parents if run in shown]


def by_tree(parents: Forest, runs: Iterable[str]) -> list[str]:
    """The runs, newest first, in another order: tree by tree, and in a tree each run before its branches."""
    trees: dict[str, list[str]] = {}
    for run in runs:
        trees.setdefault(_line(parents, run)[0], []).insert(0, run)
    return [run for tree in trees.values() for run in sorted(tree, key=lambda run: len(ancestors(parents, run)))]


def _line(parents: Forest, run_id: str) -> list[str]:
    return [*(run for run, _ in ancestors(parents, run_id)), run_id]
