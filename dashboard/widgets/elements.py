"""The building blocks of every page: charts with alt text, metrics and tables with help, the concept of a page."""

from collections.abc import Iterable, Mapping
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from dashboard import glossary
from dashboard.session import navigation

Cell = tuple[str, str] | tuple[str, str, str]  # of a row of metrics: label, value and perhaps more about the value
CHART_OPTIONS = {"displaylogo": False, "modeBarButtons": [["toImage"]]}


def chart(figure: go.Figure, key: str, of: str | None = None, **settings: Any) -> None:
    """A chart. Its image is saved under `of`, by default the selected run, and the key."""
    name = "-".join(filter(None, [navigation.selected_run() if of is None else of, key]))
    st.plotly_chart(
        figure, key=key, config={**CHART_OPTIONS, "toImageButtonOptions": {"filename": name}},
        alt=figure.layout.meta["alt"], **settings,
    )  # fmt: skip


def metrics(*cells: Cell) -> None:
    """A row of metrics: (label, value) or (label, value, more). The help is the glossary's text for the label, followed
    by `more`, which is specific to this value."""
    with st.container(horizontal=True, gap="xsmall"):
        for label, value, *more in cells:
            text = " ".join(filter(None, [glossary.about(label), *more]))
            st.metric(label, value, border=True, width="content", help=text or None)


def with_help(names: Iterable[Any], config: Mapping[str, Mapping[str, object]] | None = None) -> dict[str, Any]:
    """A `column_config` for these columns, with the glossary's text for each label or name as help. A help that
    `config` already has is kept."""
    columns: dict[str, dict[str, Any]] = {
        name: {**((config or {}).get(name) or st.column_config.Column())} for name in names
    }
    for name, column in columns.items():
        column["help"] = column["help"] or glossary.about(column["label"] or name) or None
    return columns


def concept(page: str, heading: str = "") -> None:
    """A heading, with a pop-over next to it that explains the concept of a page."""
    question, terms = glossary.CONCEPTS[page]
    with st.container(horizontal=True, vertical_alignment="center"):
        if heading:
            st.markdown(f"##### {heading}", width="content")
        with st.popover(question, type="tertiary", icon=":material/help:"):
            for term in terms:
                text, formula = glossary.TERMS[term]
                st.markdown(f"**{term[0].upper()}{term[1:]}.** {text}")
                if formula:
                    st.latex(formula)
