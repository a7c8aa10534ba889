"""The section Shapes of the page Report: every layer before the first cut and after an iteration."""

from html import escape
from pathlib import Path

import pandas as pd
import streamlit as st

from dashboard.charts.grouping import MANY
from dashboard.session.file_cache import FileCache
from dashboard.text import plain, size_text
from dashboard.widgets import elements
from trimcore import runs
from trimcore.errors import CheckpointError, TrimError
from trimcore.graph.shape_table import arrows, changed, layer_shapes, shape_table
from trimcore.tables.csv_text import as_csv
from trimcore.training.prepare import open_network

AT_ONCE = 100_000_000  # bytes of weights that are read without being asked for
MARK = "background-color: rgba(59, 125, 216, 0.16)"  # of what changed, on light and on dark pages

_shapes = FileCache(lambda path: layer_shapes(open_network(path)[1]), 64)


def section(run_id: str, folder: Path, iteration: int) -> None:
    """The table, with the layers that changed marked, and its download. Large networks are only read on request."""
    st.markdown("##### Shapes")
    size = _bytes(folder, iteration)
    if size > AT_ONCE and not st.toggle(f"Read the shapes from {size_text(size)} of weights", key=f"shapes_{run_id}"):
        return
    try:
        with st.spinner("Reading the shapes of all layers…"):
            table = read(folder, iteration)
    except TrimError as error:
        st.caption(f"The shapes cannot be read: {plain(str(error))}")
        return
    marked = changed(table)
    with st.container(horizontal=True, vertical_alignment="center"):
        only = marked.any() and st.toggle("Only layers that changed", key="shapes_changed")
        st.download_button("shapes.csv", as_csv(table), "shapes.csv", "text/csv", key="shapes_csv", on_click="ignore",
                           icon=":material/download:")  # fmt: skip
    shown = arrows(table, "×")[marked if only else slice(None)]
    longest = int(table.layer.str.len().max())
    st.dataframe(
        shown.style.apply(lambda row: [MARK * bool(marked[row.name])] * len(row), axis=1), hide_index=True,
        height="content" if len(shown) <= MANY else 36 * MANY, key="shapes",
        alt="Shapes of the layers, before and after",
        column_config=elements.with_help(shown, {
            "layer": st.column_config.TextColumn(pinned=True, width=min(20 + 7 * longest, 220)),
            "macs": st.column_config.TextColumn("MACs"),
        }),
    )  # fmt: skip
    same = f"{len(table) - marked.sum()} of {len(table)} rows are unchanged."
    st.caption(f"Iteration 0 → iteration {iteration}. {same}" if iteration else "Iteration 0, before any cut.")


def read(folder: Path, iteration: int) -> pd.DataFrame:
    """The `shape_table` of a run: iteration 0, and this one. Raises TrimError if a network cannot be rebuilt here."""
    try:
        return shape_table(*(_shapes(runs.checkpoint_path(folder, number)) for number in (0, iteration)))
    except FileNotFoundError as error:
        raise CheckpointError(f"the run folder has no {Path(error.filename).name}") from None


def as_html(folder: Path, iteration: int) -> str:
    """The table for the HTML report, or "" if it cannot be read."""
    try:
        table = read(folder, iteration)
    except TrimError:
        return ""
    shown, marked = arrows(table, "×"), changed(table)
    head = "".join(f'<th class="text">{name}</th>' for name in shown)
    rows = "".join(
        f'<tr{" class=result" * bool(mark)}>{"".join(f"<td class=text>{escape(cell)}</td>" for cell in row)}</tr>'
        for mark, row in zip(marked, shown.itertuples(index=False), strict=True)
    )
    return (
        f'<h2>Shapes of the layers, iteration 0 → {iteration}</h2><div class="wide" tabindex="0"><table><thead>'
        f"<tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def are_wanted(run_id: str, folder: Path, iteration: int) -> bool:
    """Whether the shapes are shown without being asked for, or were asked for."""
    return _bytes(folder, iteration) <= AT_ONCE or bool(st.session_state.get(f"shapes_{run_id}"))


def _bytes(folder: Path, iteration: int) -> int:
    paths = {runs.checkpoint_path(folder, number) for number in (0, iteration)}
    return sum(path.stat().st_size for path in paths if path.is_file())
