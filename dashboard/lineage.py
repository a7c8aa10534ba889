"""Which run came from which. Pure functions of a forest: run -> (run, iteration) that it began at, or None for one that
began anew; newest first, as `runs.parents` lists them."""

from collections.abc import Mapping, Sequence

Forest = Mapping[str, tuple[str, int] | None]


def forest(parents: Forest) -> dict[str, tuple[str, int] | None]:
    """What `runs.parents` found, without parents that are not there, or that lead back to the run itself (somebody
    changed a spec by hand)."""
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
    """The runs that a run came from, the oldest first, each with the iteration that the next began at."""
    parent = parents[run_id]
    return [*ancestors(parents, parent[0]), parent] if parent else []


def family(parents: Forest, run_id: str) -> list[str]:
    """The whole tree that a run belongs to."""
    return [other for other in parents if _line(parents, other)[0] == _line(parents, run_id)[0]]


def newest(parents: Forest, runs: Sequence[str], most: int, first: str | None = None) -> list[str]:
    """At most `most` of the runs (newest first), but `first` before all others; each with all that it came from."""
    shown: set[str] = set()
    for run in (first, *runs):
        if run in runs and len(wanted := shown.union(_line(parents, run))) <= most:
            shown = wanted
    return [run for run in parents if run in shown]


def rows(parents: Forest, runs: Sequence[str]) -> dict[str, int]:
    """A row for each run, from above: the tree of the newest run first, a branch beneath its parent. Those that begin
    later in it stand higher, so that no branch is drawn across another. runs: newest first, with their ancestors."""
    order: list[str] = []

    def place(run: str) -> None:
        order.append(run)
        branches = [other for other in reversed(runs) if parents[other] and parents[other][0] == run]
        for branch in sorted(branches, key=lambda branch: -parents[branch][1]):
            place(branch)

    for root in dict.fromkeys(_line(parents, run)[0] for run in runs):
        place(root)
    return {run: number for number, run in enumerate(order)}


def depth(parents: Forest, run_id: str) -> int:
    """How many iterations stand before iteration 0 of a run, in those that it came from."""
    return sum(iteration for _, iteration in ancestors(parents, run_id))


def _line(parents: Forest, run_id: str) -> list[str]:
    return [*(run for run, _ in ancestors(parents, run_id)), run_id]
