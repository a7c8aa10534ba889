"""Two results side by side on the page Compare: the APoZ of each layer, and the overlap of the removed neurons."""

from collections.abc import Callable

import pandas as pd
import streamlit as st

from dashboard import charts
from dashboard.charts.tables import counted, in_order
from dashboard.session import drafts, lineage, links, run_reader
from dashboard.text import plain
from dashboard.widgets import elements
from trimcore import runs, tables
from trimcore.errors import TrimError
from trimcore.tables import measure_name

BASE = ("base", "convert", "seed")  # with the network, these determine the weights of a base
MAX_NAME = 45  # characters of a name in a chart
MAX_NAMED_LAYERS = 6  # further layers are only counted
Result = tuple[str, int]  # a run and one of its iterations


def show(picked: list[str]) -> None:
    """The section of the page for the selected runs."""
    st.markdown("##### APoZ of two results")
    results = {run_id: sorted(tables.latest(run_reader.events(run_id), "profiled")) for run_id in picked}
    options = [(run_id, iteration) for run_id, done in results.items() for iteration in done]
    if without := [run_reader.title(run_id) for run_id, done in results.items() if not done]:
        st.caption(plain(f"These runs have no profile and cannot be chosen: {'; '.join(without)}."))
    if len(options) < 2:
        st.caption("The comparison needs at least two profiles.")
        return
    _follow_defaults(default_results(results))
    with st.container(horizontal=True):
        chosen = [_choose(name, options, default) for name, default in zip("AB", default_results(results), strict=True)]
    if chosen[0] == chosen[1]:
        st.caption("A and B are the same result. Choose two different ones.")
        return
    names = [f"{letter}, {label(result, run_reader.short_title)}" for letter, result in zip("AB", chosen, strict=True)]
    names = [name if len(name) <= MAX_NAME else f"{name[:MAX_NAME]}…" for name in names]
    first, second = (run_reader.profile_of(*result) for result in chosen)
    for warning in warnings(chosen):
        st.caption(f":material/info: {warning}")
    if (table := layer_comparison(first, second)).empty:
        st.info("These networks have no layer in common.", icon=":material/call_split:")
        return
    _apoz(table, first, second, names)
    _survivors(first, second, chosen, names)


def default_results(results: dict[str, list[int]]) -> list[Result]:
    """The results of the first two runs that have a profile. For a single run, its base and its result."""
    ends = []
    for run_id, done in results.items():
        if done:
            result = runs.result_in(run_reader.events(run_id))
            ends.append((run_id, result if result in done else done[-1]))
    if len(ends) > 1:
        return ends[:2]
    run_id, last = ends[0]
    return [(run_id, next(k for k in results[run_id] if k != last)), ends[0]]


def _follow_defaults(defaults: list[Result]) -> None:
    """When other runs are compared, choose their results, unless somebody has chosen others."""
    keys, before = ("versus_a", "versus_b"), st.session_state.get("versus_defaults")
    if before and before != defaults and [st.session_state.get(key) for key in keys] == before:
        for key in keys:
            del st.session_state[key]
    st.session_state.versus_defaults = defaults


def label(result: Result, title: Callable[[str], str]) -> str:
    run_id, iteration = result
    return f"{f'iteration {iteration}' if iteration else 'base'} of {title(run_id)}"


def _choose(letter: str, options: list[Result], default: Result) -> Result:
    key = f"versus_{letter.lower()}"
    links.bind(letter.lower(), key, options, default, lambda result: f"{result[0]}~{result[1]}")
    return st.selectbox(
        letter, options, key=key, persist_state="session", format_func=lambda result: label(result, run_reader.title),
    )  # fmt: skip


def _apoz(table: pd.DataFrame, first: pd.DataFrame, second: pd.DataFrame, names: list[str]) -> None:
    links.bind("order", "versus_order", ["depth", "difference"], "depth")
    order = st.segmented_control(
        "Order of layers", ["depth", "difference"], key="versus_order", required=True, persist_state="session",
        format_func={"depth": "as in the network", "difference": "largest difference first"}.__getitem__,
    )  # fmt: skip
    measure = measure_name(max(first.tolerance.max(), second.tolerance.max()))
    figure = charts.apoz_comparison(first, second, names, order == "difference", measure)
    elements.chart(figure, "apoz_versus", "compare")
    for layers, name in zip([only_in(first, second), only_in(second, first)], names, strict=True):
        if layers:
            more = f" and {len(layers) - MAX_NAMED_LAYERS} more" if len(layers) > MAX_NAMED_LAYERS else ""
            st.caption(plain(f"Only {name} has {', '.join(layers[:MAX_NAMED_LAYERS])}{more}."))
    with st.expander("Show as a table", icon=":material/table:"):
        if order == "difference":
            table = table.sort_values("difference", key=lambda change: -change.abs(), kind="stable")
        percents = {f"mean {letter}": st.column_config.NumberColumn(format="percent") for letter in "AB"}
        st.dataframe(
            table, hide_index=True, alt="Neurons and mean APoZ of each layer, side by side",
            column_config=elements.with_help(table, percents | {"difference": st.column_config.NumberColumn(
                format="%+.1f", help="B minus A, in percentage points.")}),
        )  # fmt: skip


def _survivors(first: pd.DataFrame, second: pd.DataFrame, chosen: list[Result], names: list[str]) -> None:
    st.markdown("##### Overlap of the removed neurons")
    table = survivors(first, second, base_widths(*(run_id for run_id, _ in chosen)))
    if table.empty:
        st.caption("The two results do not start from the same base network, so their neurons cannot be matched.")
        return
    elements.chart(charts.survivors(table, names), "survivors", "compare")
    st.markdown(overlap_text(table))


def layer_comparison(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """The common layers: layer, neurons A, neurons B, mean A, mean B (APoZ, 0..1), difference (B minus A, in percentage
    points). first, second: from `run_reader.profile_of`."""
    a, b = (dict(tuple(own.groupby("layer", sort=False).apoz)) for own in (first, second))
    rows = [(layer, a[layer].size, b[layer].size, a[layer].mean(), b[layer].mean()) for layer in a if layer in b]
    table = pd.DataFrame(rows, columns=["layer", "neurons A", "neurons B", "mean A", "mean B"])
    return table.assign(difference=100 * (table["mean B"] - table["mean A"]))


def only_in(own: pd.DataFrame, other: pd.DataFrame) -> list[str]:
    others = set(other.layer)
    return [layer for layer in in_order(own.layer) if layer not in others]


def warnings(chosen: list[Result]) -> list[str]:
    """Why two results cannot be compared directly, as sentences."""
    try:
        first, second = (run_reader.spec_of(run_id) for run_id, _ in chosen)
    except TrimError:
        return []
    found = []
    if first.model != second.model:
        found.append("The results have different networks. Layers with the same name may have different roles.")
    if first.data != second.data:
        found.append("The results have different data. Their zeros were counted on different images.")
    return found


def base_widths(first: str, second: str) -> dict[str, int]:
    """The widths of the base network from which both runs started, directly or through their ancestors. Empty if it is
    not the same network, or if its profile is missing."""
    parents = run_reader.parents()
    roots = [[*lineage.ancestors(parents, run_id), (run_id, 0)][0][0] for run_id in (first, second)]
    try:
        asked = [run_reader.spec_of(root) for root in roots]
    except TrimError:
        return {}
    if any(one.parent for one in asked):  # it branched from a run that no longer exists
        return {}
    mine, other = (one.model_dump() for one in asked)
    if not (drafts.same_network(mine, other) and all(mine[key] == other[key] for key in BASE)):
        return {}
    base = tables.latest(run_reader.events(roots[0]), "profiled").get(0, {"layers": {}})
    return {name: layer["width"] for name, layer in base["layers"].items()}


def survivors(first: pd.DataFrame, second: pd.DataFrame, widths: dict[str, int]) -> pd.DataFrame:
    """The number of neurons of each base layer that are left in both results, in only one, and in neither: layer, both,
    first, second, neither. first, second: layer, original_neuron. widths: of the base. Only common layers count."""
    left = [own.groupby("layer", sort=False).original_neuron.agg(set).to_dict() for own in (first, second)]
    rows = [
        (layer, len(left[0][layer] & left[1][layer]), len(left[0][layer] - left[1][layer]),
         len(left[1][layer] - left[0][layer]), width - len(left[0][layer] | left[1][layer]))
        for layer, width in widths.items() if layer in left[0] and layer in left[1]
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["layer", "both", "first", "second", "neither"])


def overlap_text(table: pd.DataFrame) -> str:
    """One sentence about how many neurons both results removed, and how many they would share by chance."""
    width = table[["both", "first", "second", "neither"]].sum(axis=1)
    a, b = table.second + table.neither, table["first"] + table.neither  # removed in each
    cut, expected = int((a + b - table.neither).sum()), float((a * b / width).sum())  # in either; in both by chance
    if not cut:
        return "No neurons have been removed in either result."
    if not a.sum() or not b.sum():
        return f"Only one of the results has neurons removed: {cut:,}."
    return (
        f"Of the {counted(cut, 'neuron')} removed in either result, **{table.neither.sum():,}** are removed in both. "
        f"If as many were removed from each layer at random, {expected:,.0f} would be removed in both."
    )
