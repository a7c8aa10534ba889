"""The runs of a sweep: what each of them reaches at which size, and what a setting changes."""

import itertools
from collections.abc import Mapping
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.frame import figure
from dashboard.charts.marks import GREY, SERIES
from dashboard.charts.tables import counted, in_order, require
from dashboard.charts.values import best_place, hover, markup_name, metric_axis, phrase, scale, worst_place
from trimcore.tables import ACCURACY, Metric

DASHES = ["solid", "dot", "dash", "longdash", "dashdot", "longdashdot"]
SYMBOLS = ["circle", "square", "diamond", "triangle-up", "cross", "star"]
STOPPED = "x-thin-open"
APART = 0.06  # between marks of the same value, in steps of the axis
TICKS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]


def sweep_frontier(points: pd.DataFrame, names: Mapping[str, str], *, metric: Metric = ACCURACY) -> go.Figure:
    """The metric by compression, one line per run. The first setting gives the colour, the second the dashes.

    points: run, iteration, compression, metric (on validation), stopped (whether the run ended early), and a column of
    text for each setting. names: that column -> the short name of the setting.
    """
    points = require(points, "points", ["run", "iteration", "compression", "metric", "stopped", *names])
    first, last = list(names)[0], list(names)[-1]
    colours = dict(zip(in_order(points[first]), itertools.cycle(SERIES)))
    dashes = dict(zip(in_order(points[last]), itertools.cycle(DASHES))) if len(names) > 1 else {}
    traces = []
    for _, rows in points.groupby("run", sort=False):
        rows = rows.sort_values("iteration")
        end, colour = rows.iloc[-1], colours[rows[first].iloc[0]]
        title = ", ".join(f"{name} {end[key]}" for key, name in names.items())
        symbols = ["circle"] * (len(rows) - 1) + [STOPPED if end.stopped else "circle"]
        traces.append(go.Scatter(
            x=rows.compression, y=scale(metric) * rows.metric, mode="lines+markers", legendgroup=end[first],
            showlegend=False, line=dict(color=colour, width=2, dash=dashes.get(end[last], "solid")),
            marker=dict(symbol=symbols, size=[11 if symbol == STOPPED else 7 for symbol in symbols],
                        line=dict(color=colour, width=2)),
            customdata=[[title, iteration, "<br>stopped here" if symbol == STOPPED else ""]
                        for iteration, symbol in zip(rows.iteration, symbols, strict=True)],
            hovertemplate="<b>%{customdata[0]}</b>, iteration %{customdata[1]}<br>"
            f"{hover(metric, 'y')} at %{{x:.2f}}×%{{customdata[2]}}<extra></extra>",
        ))
    traces += [_legend(f"{names[first]} {value}", colour, group=value) for value, colour in colours.items()]
    traces += [_legend(f"{names[last]} {value}", GREY, dash) for value, dash in dashes.items()]
    most = points.iloc[points.compression.argmax()]
    runs = counted(points.run.nunique(), "run")
    alt = (f"Validation {metric.name} by compression for {runs} of a sweep: the smallest network is compressed "
           f"{most.compression:.1f} times with {phrase(metric, most.metric)}; "
           f"{counted(int(points[points.stopped].run.nunique()), 'run')} stopped early.")
    return figure(traces, alt, 360, xaxis=_times_axis(points.compression, title="compression"),
                  yaxis=metric_axis(metric), margin=dict(t=56))


def setting_effect(
    results: pd.DataFrame, key: str, name: str, other: str = "", other_name: str = "", *, metric: Metric = ACCURACY
) -> go.Figure:
    """What a setting changes: the metric above, the compression below, by the value of the setting.

    results: one row per run: metric (on validation), compression, stopped, and columns of text for the settings `key`
    and, if there are two, `other`. Values are in the order of their first row. A line joins the means of the values
    none of whose runs stopped early: others would be means over other runs.
    """
    results = require(results, "results", ["metric", "compression", "stopped", key])
    values = in_order(results[key])
    groups = in_order(results[other]) if other else [""]
    place = {value: number for number, value in enumerate(values)}
    shown = results.assign(x=results[key].map(place), value=scale(metric) * results.metric)
    whole = shown[~shown.groupby("x").stopped.transform("any").astype(bool)]
    traces = []
    for panel, column, text in (("", "value", hover(metric, "y")), ("2", "compression", "%{y:.2f}×")):
        mean = whole.groupby("x")[column].mean()
        traces.append(go.Scatter(
            x=mean.index, y=mean, yaxis=f"y{panel}", mode="lines", line=dict(color=GREY, width=2),
            hoverinfo="skip", showlegend=False,
        ))
        for number, group in enumerate(groups):
            rows = shown[shown[other] == group] if other else shown
            look = SERIES[number % len(SERIES)]
            traces.append(go.Scatter(
                x=rows.x + APART * (number - (len(groups) - 1) / 2), y=rows[column], yaxis=f"y{panel}", mode="markers",
                name=f"{other_name} {group}".strip(),
                legendgroup=group, showlegend=bool(other) and not panel, cliponaxis=False,
                marker=dict(color=look, size=10, line=dict(color=look, width=2), symbol=[
                    SYMBOLS[number % len(SYMBOLS)] + ("-open" if stopped else "") for stopped in rows.stopped]),
                customdata=[[f"{name} {value}", f", {other_name} {group}" if other else "",
                             ", stopped early" if stopped else ""]
                            for value, stopped in zip(rows[key], rows.stopped, strict=True)],
                hovertemplate=f"<b>%{{customdata[0]}}</b>%{{customdata[1]}}<br>{text}%{{customdata[2]}}"
                "<extra></extra>",
            ))
    means = (whole if len(whole) else shown).groupby(key, sort=False).metric.mean()
    best = best_place(metric, means), worst_place(metric, means)
    alt = (f"Validation {metric.name} and compression by {name}, for {counted(len(values), 'value')}: on average best "
           f"with {best[0]}, {phrase(metric, means[best[0]])}, and worst with {best[1]}, "
           f"{phrase(metric, means[best[1]])}.")
    title = dict(text=f"{markup_name(metric)}{'' if metric.higher_is_better else ', lower is better'}")
    return figure(
        traces, alt, 400, margin=dict(t=40),
        xaxis=dict(title=name, tickvals=list(place.values()), ticktext=values, anchor="y2", zeroline=False,
                   range=[-0.4, len(values) - 0.6], showgrid=False),
        yaxis=metric_axis(metric) | dict(domain=[0.56, 1], title=title),
        yaxis2=_times_axis(shown.compression, domain=[0, 0.46], title="compression"),
    )


def _legend(name: str, colour: str, dash: str = "solid", group: str | None = None) -> go.Scatter:
    """An entry of the legend. With a group, a click hides the runs of that value."""
    return go.Scatter(x=[None], y=[None], mode="lines", name=name, line=dict(color=colour, width=2, dash=dash),
                      legendgroup=group, hoverinfo="skip")


def _times_axis(values: pd.Series, **settings: Any) -> dict[str, Any]:
    """An axis of compressions; logarithmic if they differ much."""
    if values.max() <= 10:
        return dict(ticksuffix="×", zeroline=False) | settings
    return dict(type="log", tickvals=TICKS, ticktext=[f"{tick}×" for tick in TICKS], zeroline=False) | settings
