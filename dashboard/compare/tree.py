"""The run tree on the page Compare: which run branched from which, their results, and planning from any iteration."""

from collections.abc import Collection, Sequence

import pandas as pd
import streamlit as st

from dashboard import charts
from dashboard.charts.tables import counted, rows_of
from dashboard.charts.tree import NODES
from dashboard.session import drafts, headline, lineage, messages, navigation, run_reader
from dashboard.text import plain
from dashboard.widgets import elements
from trimcore import runs, tables
from trimcore.tables import Metric

MAX_RUNS = 25  # drawn in the tree
CHOSEN = "tree_node"  # the key of the selectbox
TEXT = ("#31333f", "#fafafa")  # light, dark: the chart's own grey is too pale to read
TABLE = ["label", "iteration", "compression", "metric", "configuration", "cut", "branched from", "state"]


def show() -> None:
    """The section of the page: the chart, a selectbox for keyboard users, the actions, and the same data as a table."""
    parents, selected = run_reader.parents(), navigation.selected_run()
    if selected != runs.EXAMPLE and runs.EXAMPLE not in {parent[0] for parent in parents.values() if parent}:
        del parents[runs.EXAMPLE]
    st.markdown("##### Run tree")
    if selected is None or st.toggle(
        "All runs", key="tree_all", help="Shows all runs instead of only the tree of the selected run."
    ):
        wanted = list(parents)
    else:
        wanted = lineage.family(parents, selected)
    shown = lineage.newest(parents, wanted, MAX_RUNS, selected)
    table = nodes(parents, shown)
    metrics = {run_id: tables.metric_of(run_reader.events(run_id)) for run_id in shown}
    place = st.container(key="tree")  # filled after the selectbox, because the chart marks the choice
    left_out = len(wanted) - len(shown)
    own = table.run.map(metrics)
    used = set(own[table.metric.notna()])
    text = f"The area of a node shows the remaining parameters; results are blue. {numbers_text(used)}"
    st.caption(text + (f" The {counted(left_out, 'oldest run')} of {len(wanted)} are not shown." if left_out else ""))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if chosen := _choice(table, selected, metrics):
            _actions(*chosen)
    with place:
        tree = charts.run_tree(table, selected or "", chosen, metrics, TEXT[st.context.theme.type == "dark"])
        st.echarts_chart(
            tree.spec, key="run_tree", height=tree.height, alt=tree.alt, renderer="svg",
            on_select=lambda: _adopt_click(tree.places),
        )  # fmt: skip
    with st.expander("Show as a table", icon=":material/table:"):
        name = headline.result_column(used)
        listed = table[TABLE].assign(metric=headline.result_values(table.metric, own))
        listed = listed.rename(columns={"label": "run", "metric": name, "cut": "removed"})
        st.dataframe(
            listed, hide_index=True, placeholder="—", alt="Every iteration of the runs in the tree",
            column_config=elements.with_help(listed, {
                "compression": st.column_config.NumberColumn(format="%.2f×"),
                **({name: st.column_config.NumberColumn(format=headline.number_format(*used))}
                   if len(used) == 1 else {}),
            }),
        )  # fmt: skip


def nodes(parents: lineage.Forest, shown: list[str]) -> pd.DataFrame:
    """The table for `charts.run_tree` of these runs, with the column "branched from" for the page's table."""
    found = []
    for run_id in lineage.by_tree(parents, shown):
        events, parent = run_reader.events(run_id), parents[run_id]
        result = runs.result_in(events)
        own = {
            "run": run_id, "label": run_reader.short_title(run_id), "state": run_reader.status(run_id).state,
            "parent": parent[0] if parent else None, "parent_iteration": parent[1] if parent else None,
            "branched from": f"{run_reader.short_title(parent[0])}, iteration {parent[1]}" if parent else "",
        }  # fmt: skip
        table = tables.iterations(events)
        if table.empty:
            found.append({**own, "iteration": None, "result": False, "configuration": "", "cut": ""})
            continue
        cuts, widths = tables.cuts(events).set_index("iteration").label, tables.paper_table(events).configuration
        found += [
            {
                **own, "iteration": entry.iteration, "compression": entry.compression, "metric": entry.metric_final,
                "cut": cuts.get(entry.iteration, ""), "configuration": widths[place],
                "result": entry.iteration == result,
            }
            for place, entry in enumerate(rows_of(table))
        ]  # fmt: skip
    table = pd.DataFrame(found, columns=[*NODES, "branched from"])
    return table.astype({"iteration": "Int64", "compression": float, "metric": float, "result": bool})


def numbers_text(metrics: Collection[Metric]) -> str:
    """What the numbers in the tree are, in one or two sentences of Markdown."""
    if all(metric.is_accuracy for metric in metrics):
        return "The numbers are test accuracies in %."
    names = sorted(f"{plain(metric.name)}{' in %' if metric.percent else ''}" for metric in metrics)
    if len(names) == 1:
        return " ".join([f"The numbers are {names[0]} on the test split.", *map(headline.direction, metrics)]).strip()
    return f"The numbers are of different metrics on the test split, so do not compare them: {', '.join(names)}."


def _choice(table: pd.DataFrame, selected: str | None, metrics: dict[str, Metric]) -> tuple[str, int] | None:
    """The chosen node, (run, iteration). A click in the chart also changes it."""
    there = table.dropna(subset="iteration")
    texts = {
        (node.run, int(node.iteration)): f"{node.label}, iteration {node.iteration}: {node.compression:.2f}×"
        + ("" if pd.isna(node.metric) else f", {metrics[node.run].text(node.metric, 1)}")
        + (" (result)" if node.result else "")
        for node in rows_of(there)
    }  # fmt: skip
    if st.session_state.get(CHOSEN) not in texts:
        results = [place for place, result in zip(texts, there.result, strict=True) if result]
        own = [place for place in results if place[0] == selected]
        st.session_state[CHOSEN] = next(iter(own or results), None)
    picked: tuple[str, int] | None = st.selectbox(
        "Iteration", list(texts), key=CHOSEN, format_func=texts.__getitem__, persist_state="session",
        help="You can also click a node in the chart.",
    )  # fmt: skip
    return picked


def _adopt_click(places: Sequence[tuple[str, int] | None]) -> None:
    """Choose the node that was clicked in the chart."""
    for series in st.session_state["run_tree"].selection.selected:
        for index in series["data_indices"]:
            if (place := places[index]) and place[1] >= 0:
                st.session_state[CHOSEN] = place


def _actions(run_id: str, iteration: int) -> None:
    st.button(
        "Plan from here", key="plan_from_here", icon=":material/checklist:", on_click=plan_from,
        args=(run_id, iteration), help="Plan a new run that starts from the trained network of this iteration.",
    )  # fmt: skip
    st.button("Show run", key="show_run", icon=":material/play_circle:", on_click=navigation.select,
              args=(run_id, "run"))  # fmt: skip


def plan_from(run_id: str, iteration: int) -> None:
    """Open Plan with this iteration as the starting point; for a button's callback. The current plan is kept if it is
    for the same network."""

    def adopt() -> None:
        if not drafts.run_matches(run_id, drafts.draft()):
            drafts.adopt(run_id)
        st.session_state.run, st.session_state.begin_at = run_id, (run_id, iteration)
        navigation.go_to("plan")

    messages.attempt(adopt)  # a damaged spec becomes a notice
