"""Two results side by side on the Compare page: the APoZ of each layer, and whether both cut the same neurons."""

from collections.abc import Callable

import pandas as pd
import streamlit as st

from dashboard import charts, frame, lineage, links, store, work
from dashboard.charts.tables import counted, in_order
from trimcore import runs, tables
from trimcore.errors import TrimError
from trimcore.tables import measure_name

BASE = ("base", "convert", "seed")  # what makes the weights of a base, beside its network
LONGEST = 45  # characters of a name in a chart
NAMED = 6  # layers that are named before the rest is counted
Result = tuple[str, int]  # a run, and one of its iterations


def show(picked: list[str]) -> None:
    """The section of the page, for the runs that are picked there."""
    st.markdown("##### Two results side by side: which neurons do nothing?")
    results = {run_id: sorted(tables.latest(store.events(run_id), "profiled")) for run_id in picked}
    options = [(run_id, iteration) for run_id, done in results.items() for iteration in done]
    if without := [store.title(run_id) for run_id, done in results.items() if not done]:
        st.caption(frame.plain(f"Without a profile, so not to be chosen here: {'; '.join(without)}."))
    if len(options) < 2:
        st.caption("There are no two profiles to set side by side yet.")
        return
    with st.container(horizontal=True):
        chosen = [_choose(name, options, begin) for name, begin in zip("AB", to_begin_with(results), strict=True)]
    if chosen[0] == chosen[1]:
        st.caption("These are the same: choose another one.")
        return
    names = [f"{letter}, {called(result, store.short_title)}" for letter, result in zip("AB", chosen, strict=True)]
    names = [name if len(name) <= LONGEST else f"{name[:LONGEST]}…" for name in names]
    first, second = (store.profile_of(*result) for result in chosen)
    for warning in different(chosen):
        st.caption(f":material/info: {warning}")
    if (table := beside(first, second)).empty:
        st.info("These networks have no layer in common.", icon=":material/call_split:")
        return
    _apoz(table, first, second, names)
    _survivors(first, second, chosen, names)


def to_begin_with(results: dict[str, list[int]]) -> list[Result]:
    """The results of the first two runs that have a profile; of a single one its result and its base."""
    ends = []
    for run_id, done in results.items():
        if done:
            result = runs.result_in(store.events(run_id))
            ends.append((run_id, result if result in done else done[-1]))
    if len(ends) > 1:
        return ends[:2]
    run_id, last = ends[0]
    return [(run_id, next(k for k in results[run_id] if k != last)), ends[0]]


def called(result: Result, title: Callable[[str], str]) -> str:
    run_id, iteration = result
    return f"{f'iteration {iteration}' if iteration else 'base'} of {title(run_id)}"


def _choose(letter: str, options: list[Result], begin: Result) -> Result:
    key = f"versus_{letter.lower()}"
    links.bound(letter.lower(), key, options, begin, lambda result: f"{result[0]}~{result[1]}")
    return st.selectbox(
        letter, options, key=key, persist_state="session", format_func=lambda result: called(result, store.title),
    )  # fmt: skip


def _apoz(table: pd.DataFrame, first: pd.DataFrame, second: pd.DataFrame, names: list[str]) -> None:
    links.bound("order", "versus_order", ["depth", "difference"], "depth")
    order = st.segmented_control(
        "Order of the layers", ["depth", "difference"], key="versus_order", required=True, persist_state="session",
        format_func={"depth": "as in the network", "difference": "largest difference first"}.get,
    )  # fmt: skip
    measure = measure_name(max(first.tolerance.max(), second.tolerance.max()))
    frame.chart(charts.apoz_versus(first, second, names, order == "difference", measure), "apoz_versus", "compare")
    for layers, name in zip([only_in(first, second), only_in(second, first)], names, strict=True):
        if layers:
            more = f" and {len(layers) - NAMED} more" if len(layers) > NAMED else ""
            st.caption(frame.plain(f"Only {name} has {', '.join(layers[:NAMED])}{more}."))
    with st.expander("The same as a table", icon=":material/table:"):
        if order == "difference":
            table = table.sort_values("difference", key=lambda change: -change.abs(), kind="stable")
        percents = {f"mean {letter}": st.column_config.NumberColumn(format="percent") for letter in "AB"}
        st.dataframe(
            table, hide_index=True, alt="Neurons and mean APoZ of each layer, side by side",
            column_config=frame.explained(table, percents | {"difference": st.column_config.NumberColumn(
                format="%+.1f", help="B less A, in points of a per cent.")}),
        )  # fmt: skip


def _survivors(first: pd.DataFrame, second: pd.DataFrame, chosen: list[Result], names: list[str]) -> None:
    st.markdown("##### Do both cut the same neurons?")
    table = survivors(first, second, base_widths(*(run_id for run_id, _ in chosen)))
    if table.empty:
        st.caption("They do not begin at the same base network, so a neuron of one is not that of the other.")
        return
    frame.chart(charts.survivors(table, names), "survivors", "compare")
    st.markdown(agreement(table))


def beside(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """The layers that both have: layer, neurons A, neurons B, mean A, mean B (APoZ, 0..1), difference (B less A, in
    points of a per cent). first, second: as `store.profile_of` has them."""
    a, b = (dict(tuple(own.groupby("layer", sort=False).apoz)) for own in (first, second))
    rows = [(layer, a[layer].size, b[layer].size, a[layer].mean(), b[layer].mean()) for layer in a if layer in b]
    table = pd.DataFrame(rows, columns=["layer", "neurons A", "neurons B", "mean A", "mean B"])
    return table.assign(difference=100 * (table["mean B"] - table["mean A"]))


def only_in(own: pd.DataFrame, other: pd.DataFrame) -> list[str]:
    others = set(other.layer)
    return [layer for layer in in_order(own.layer) if layer not in others]


def different(chosen: list[Result]) -> list[str]:
    """What keeps two results from being compared neuron by neuron, in words."""
    try:
        first, second = (store.spec_of(run_id) for run_id, _ in chosen)
    except TrimError:
        return []
    said = []
    if first.model != second.model:
        said.append("These are different networks: layers of the same name need not do the same.")
    if first.data != second.data:
        said.append("These are of different data, on which the zeros were counted.")
    return said


def base_widths(first: str, second: str) -> dict[str, int]:
    """The widths of the base network that both runs began at, by themselves or through the runs that they came from;
    empty where it is not the same, or where its profile is gone."""
    parents = store.parents()
    roots = [[*lineage.ancestors(parents, run_id), (run_id, 0)][0][0] for run_id in (first, second)]
    try:
        asked = [store.spec_of(root) for root in roots]
    except TrimError:
        return {}
    if any(one.parent for one in asked):  # it began at a run that is gone
        return {}
    mine, other = (one.model_dump() for one in asked)
    if not (work.same_network(mine, other) and all(mine[key] == other[key] for key in BASE)):
        return {}
    base = tables.latest(store.events(roots[0]), "profiled").get(0, {"layers": {}})
    return {name: layer["width"] for name, layer in base["layers"].items()}


def survivors(first: pd.DataFrame, second: pd.DataFrame, widths: dict[str, int]) -> pd.DataFrame:
    """How many neurons of each layer of the base are left in both, only in one, and in neither: layer, both, first,
    second, neither. first, second: layer, original_neuron; widths: of the base. A layer that one lacks is left out."""
    left = [own.groupby("layer", sort=False).original_neuron.agg(set).to_dict() for own in (first, second)]
    rows = [
        (layer, len(left[0][layer] & left[1][layer]), len(left[0][layer] - left[1][layer]),
         len(left[1][layer] - left[0][layer]), width - len(left[0][layer] | left[1][layer]))
        for layer, width in widths.items() if layer in left[0] and layer in left[1]
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["layer", "both", "first", "second", "neither"])


def agreement(table: pd.DataFrame) -> str:
    """In a sentence, how far two plans cut the same neurons, and how far they would if each chose by lot."""
    width = table[["both", "first", "second", "neither"]].sum(axis=1)
    a, b = table.second + table.neither, table["first"] + table.neither  # what each has cut
    cut, expected = int((a + b - table.neither).sum()), float((a * b / width).sum())  # by either; by both, by lot
    if not cut:
        return "Neither has lost a neuron."
    if not a.sum() or not b.sum():
        return f"Only one of them has lost neurons: {cut:,}."
    return (
        f"Of {counted(cut, 'neuron')} that either cut, **{table.neither.sum():,}** are cut by both; cutting as many of "
        f"each layer by lot, {expected:,.0f} would be."
    )
