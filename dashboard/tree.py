"""The tree of runs on the Compare page: which plan came from which, what each bought, and going on from any of it."""

import pandas as pd
import streamlit as st

from dashboard import charts, frame, lineage, planning, store, work
from dashboard.charts.tables import counted
from dashboard.charts.tree import NODES
from trimcore import runs, tables

MOST = 25  # runs that are drawn
CHOSEN = "tree_node"  # the key of the choice
TABLE = ["label", "iteration", "compression", "accuracy", "configuration", "cut", "began at", "state"]


def show() -> None:
    """The section of the page: the chart, a choice for keyboards, what to do with it, and the same as a table."""
    parents, selected = store.parents(), work.selected_run()
    st.markdown("##### Which plan came from which, and what did each buy?")
    everything = selected is None or st.toggle(
        "All runs", key="tree_all", help="Otherwise the runs that the selected one came from or has branches with."
    )
    wanted = list(parents) if everything else lineage.family(parents, selected)
    shown = lineage.newest(parents, wanted, MOST, selected)
    table = nodes(parents, shown)
    place = st.container(key="tree")  # filled after the choice, which the chart shows
    left_out = len(wanted) - len(shown)
    words = "The larger a node, the more of the parameters are left. The numbers are test accuracies in %."
    st.caption(words + (f" The {counted(left_out, 'oldest run')} of {len(wanted)} are left out." if left_out else ""))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if chosen := _choice(table, selected):
            _actions(*chosen)
    with place:
        frame.chart(
            charts.run_tree(table, selected or "", chosen), "run_tree", "compare", on_select=_adopt_click,
            selection_mode="points",
        )  # fmt: skip
    with st.expander("The same as a table", icon=":material/table:"):
        listed = table[TABLE].rename(columns={"label": "run", "accuracy": "test accuracy"})
        st.dataframe(
            listed, hide_index=True, placeholder="—", alt="Every iteration of the runs of the tree",
            column_config=frame.explained(listed, {
                "compression": st.column_config.NumberColumn(format="%.2f×"),
                "test accuracy": st.column_config.NumberColumn(format="percent"),
            }),
        )  # fmt: skip


def nodes(parents: lineage.Forest, shown: list[str]) -> pd.DataFrame:
    """What `charts.run_tree` draws of these runs, and the column "began at" for the table."""
    row_of = lineage.rows(parents, shown)
    found = []
    for run_id, row in row_of.items():
        events, parent = store.events(run_id), parents[run_id]
        start, result = lineage.depth(parents, run_id), runs.result_in(events)
        own = {
            "run": run_id, "label": store.short_title(run_id), "row": row, "state": store.status(run_id).state,
            "parent_row": row_of[parent[0]] if parent else None,
            "began at": f"{store.short_title(parent[0])}, iteration {parent[1]}" if parent else "",
        }  # fmt: skip
        table = tables.iterations(events)
        if table.empty:
            found.append({**own, "iteration": None, "depth": start, "result": False, "configuration": "", "cut": ""})
            continue
        cuts, told = tables.cuts(events).set_index("iteration").label, tables.paper_table(events).configuration
        found += [
            {
                **own, "iteration": entry.iteration, "depth": start + entry.iteration,
                "compression": entry.compression, "accuracy": entry.accuracy_final,
                "cut": cuts.get(entry.iteration, ""), "configuration": told[place],
                "result": entry.iteration == result,
            }
            for place, entry in enumerate(table.itertuples())
        ]  # fmt: skip
    table = pd.DataFrame(found, columns=[*NODES, "began at"])
    return table.astype({"iteration": "Int64", "compression": float, "accuracy": float, "result": bool})


def _choice(table: pd.DataFrame, selected: str | None) -> tuple[str, int] | None:
    """A choice of one node, which a click in the chart changes too: (run, iteration)."""
    there = table.dropna(subset="iteration")
    texts = {
        (node.run, int(node.iteration)): f"{node.label}, iteration {node.iteration}: {node.compression:.2f}×"
        + ("" if pd.isna(node.accuracy) else f", {node.accuracy:.1%}") + (", the result" if node.result else "")
        for node in there.itertuples()
    }  # fmt: skip
    if st.session_state.get(CHOSEN) not in texts:
        results = [place for place, result in zip(texts, there.result, strict=True) if result]
        own = [place for place in results if place[0] == selected]
        st.session_state[CHOSEN] = next(iter(own or results), None)
    return st.selectbox(
        "An iteration to go on from", list(texts), key=CHOSEN, format_func=texts.get, persist_state="session",
        help="Or click a node of the chart.",
    )  # fmt: skip


def _adopt_click() -> None:
    """What was clicked in the chart becomes the choice."""
    if points := st.session_state["run_tree"].selection.points:
        run_id, iteration = points[0]["customdata"]
        st.session_state[CHOSEN] = (run_id, int(iteration))


def _actions(run_id: str, iteration: int) -> None:
    st.button(
        "Plan from here", key="plan_from_here", icon=":material/checklist:", on_click=plan_from,
        args=(run_id, iteration), help="A new run that begins with this network, trained as it is.",
    )  # fmt: skip
    st.button("Show this run", key="show_run", icon=":material/play_circle:", on_click=show_run, args=(run_id,))


def plan_from(run_id: str, iteration: int) -> None:
    """Open Plan with this iteration as the beginning; for a button's callback. A plan that is being made for the same
    network is kept."""

    def adopt() -> None:
        if not planning.same_network(run_id, work.draft()):
            planning.adopt(run_id)
        st.session_state.run, st.session_state.begin_at = run_id, (run_id, iteration)
        work.go_to("plan")

    work.attempt(adopt)  # a damaged spec is a notice


def show_run(run_id: str) -> None:
    """Open a run; for a button's callback."""
    st.session_state.run = run_id
    work.go_to("run")
