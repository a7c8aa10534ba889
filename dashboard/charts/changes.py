"""Charts of answers that changed: between which classes, and how two networks answer one image."""

import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.frame import figure, integer_step, percent_axis, row_height, rows_axis
from dashboard.charts.marks import ACCENT, CONTRAST, FINAL, GREY, REFERENCE
from dashboard.charts.tables import counted, percent, require, shorten

KINDS = {"right to wrong": (CONTRAST, "/"), "wrong to right": (ACCENT, ""), "wrong to other wrong": (GREY, "x")}
MAX_PAIRS = 10
MAX_NAME = 14  # characters of a class


def class_pairs(table: pd.DataFrame, selected: tuple[str, str] | None = None, labelled: bool = True) -> go.Figure:
    """Between which classes answers changed, the most frequent pairs at the top.

    table: base_answer, trimmed_answer (names of classes), one column of counts for each of KINDS, and images; the most
    frequent first. The pair `selected` is drawn in full colour, and the others are paler. Without labels, nothing is
    right or wrong, so the bars have one part.
    """
    table = require(table, "changes", ["base_answer", "trimmed_answer", *KINDS, "images"])
    rows = table.head(MAX_PAIRS)
    names = [f"{shorten(str(a), MAX_NAME)} → {shorten(str(b), MAX_NAME)}"
             for a, b in zip(rows.base_answer, rows.trimmed_answer, strict=True)]  # fmt: skip
    chosen = [selected in (None, pair) for pair in zip(rows.base_answer, rows.trimmed_answer, strict=True)]
    traces = [
        go.Bar(
            x=rows[kind], y=list(range(len(rows))), orientation="h", name=kind, customdata=names,
            marker=dict(color=colour, line_width=0, opacity=[1.0 if each else 0.3 for each in chosen], pattern=dict(
                shape=pattern, size=6, solidity=0.15, fillmode="overlay", fgcolor="rgba(255,255,255,0.75)")),
            selected=dict(marker=dict(opacity=1)), unselected=dict(marker=dict(opacity=1)),
            hovertemplate=f"<b>%{{customdata}}</b><br>%{{x:,}} {kind}<extra></extra>",
        )
        for kind, (colour, pattern) in (KINDS if labelled else {"images": (ACCENT, "")}).items() if rows[kind].any()
    ]  # fmt: skip
    first = rows.iloc[0]
    alt = f"{counted(int(table.images.sum()), 'answer')} changed between {counted(len(table), 'pair')} of classes, "
    alt += f"most often from {first.base_answer} to {first.trimmed_answer}: {counted(int(first.images), 'image')}."
    return figure(
        traces, alt, 90 + row_height(len(rows)) * len(rows), barmode="stack", bargap=0.3,
        xaxis=dict(title="images", zeroline=False, fixedrange=True, rangemode="tozero",
                   dtick=integer_step(float(rows.images.max()))),
        yaxis=rows_axis(names) | dict(tickvals=list(range(len(rows))), ticktext=names), showlegend=labelled,
    )  # fmt: skip


def answers(table: pd.DataFrame) -> go.Figure:
    """How two networks answer one image. table: class (names), base and trimmed (probabilities 0..1)."""
    table = require(table, "answers", ["class", "base", "trimmed"])
    names, rows = [shorten(str(name), 2 * MAX_NAME) for name in table["class"]], list(range(len(table)))
    traces = [
        go.Bar(
            x=100 * table[column], y=rows, orientation="h", name=label, marker=dict(color=mark.colour, line_width=0),
            text=[percent(share) for share in table[column]], textposition="outside", constraintext="none",
            cliponaxis=False, customdata=table["class"],
            hovertemplate="<b>%{customdata}</b><br>%{text}<extra></extra>",
        )
        for column, label, mark in (("base", "base", REFERENCE), ("trimmed", "trimmed", FINAL))
    ]  # fmt: skip
    best = {column: table.iloc[table[column].argmax()] for column in ("base", "trimmed")}
    alt = "; ".join(f"{column}: {row['class']}, {percent(row[column])}" for column, row in best.items())
    return figure(
        traces, f"The most probable classes of the image. {alt}.", 80 + 36 * len(rows), barmode="group", bargap=0.25,
        xaxis=percent_axis(range=[0, 115], tick0=0, dtick=25, fixedrange=True),
        yaxis=rows_axis(names) | dict(tickvals=rows, ticktext=names),
    )  # fmt: skip
