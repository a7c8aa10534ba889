"""Which run branched from which. Pure functions of a forest: run -> the (run, iteration) it branched from, or None for
a root; newest first, as `runs.parents` lists them."""

from collections.abc import Mapping, Sequence

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


def rows(parents: Forest, runs: Sequence[str]) -> dict[str, int]:
    """The row of each run, counted from the top: the tree of the newest run first, branches below their parent.
    Branches from later iterations come first, so that no two branches cross. runs: newest first, with ancestors."""
    order: list[str] = []

    def place(run: str) -> None:
        order.append(run)
        above = [(other, parents[other]) for other in reversed(runs)]
        branches = [(parent[1], other) for other, parent in above if parent and parent[0] == run]
        for _, branch in sorted(branches, key=lambda branch: -branch[0]):
            place(branch)

    for root in dict.fromkeys(_line(parents, run)[0] for run in runs):
        place(root)
    return {run: number for number, run in enumerate(order)}


def depth(parents: Forest, run_id: str) -> int:
    """The number of iterations of its ancestors before iteration 0 of a run."""
    return sum(iteration for _, iteration in ancestors(parents, run_id))


def _line(parents: Forest, run_id: str) -> list[str]:
    return [*(run for run, _ in ancestors(parents, run_id)), run_id]
