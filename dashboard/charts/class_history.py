"""The accuracy of each class over cuts and retraining, relative to the base."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.classes import INK, WORSE
from dashboard.charts.frame import figure, row_height, rows_axis
from dashboard.charts.marks import FINAL, INITIAL, Mark
from dashboard.charts.tables import counted, percent, require, shorten

MAX_CLASSES, MAX_ITERATIONS = 40, 40  # that are drawn
MAX_WRITTEN_ROWS, MAX_WRITTEN_COLUMNS = 20, 13  # of charts whose cells have room for numbers
BASE_WIDTH, GAP = 1.3, 0.25  # of the base's column and between two iterations, in cell widths
MIN_RANGE = 1.0  # the full colour stands for at least this many points
BETTER = [[0, WORSE[2][1]], [0.5, WORSE[1][1]], [1, WORSE[0][1]]]  # the same colours as for confusions
COLUMNS = ["iteration", "class", "accuracy_initial", "accuracy_final"]
Step = tuple[int, Mark]  # an iteration, and whether the values are those after its cut or after retraining


def class_history(classes: pd.DataFrame) -> go.Figure:
    """The change in accuracy relative to the base, in points. One row per class, the largest loss at the top; two cells
    per iteration, after the cut and after retraining.

    classes: iteration, class, accuracy_initial, accuracy_final (0..1 or NaN) of one split, with the same classes in the
    same order in each iteration. The first iteration with a final accuracy is the base. The full colour is the largest
    change after retraining; larger changes after a cut have the same colour. Only the MAX_CLASSES classes that lost
    the most accuracy and the last MAX_ITERATIONS iterations are shown.
    """
    names, steps, values = _in_columns(require(classes, "classes", COLUMNS))
    change = 100 * (values - values[:, :1])
    alt = _alt(names, steps, values, change)
    first = max(0, steps[-1][0] - MAX_ITERATIONS) if len(steps) > 1 else 0
    shown = [0, *(place for place, (iteration, _) in enumerate(steps) if place and iteration > first)]
    worst = np.argsort(change[:, (_places(steps, FINAL) or [-1])[-1]], kind="stable")[:MAX_CLASSES]
    names, steps = [names[row] for row in worst], [steps[place] for place in shown]
    values, change = values[np.ix_(worst, np.array(shown))], change[np.ix_(worst, np.array(shown))]
    edges, places = _layout(steps)
    centres = [(edges[place] + edges[place + 1]) / 2 for place in places]
    most = max(MIN_RANGE, float(np.nanmax(np.abs(change[:, _places(steps, FINAL) or slice(None)]))))
    written = len(names) <= MAX_WRITTEN_ROWS and len(steps) <= MAX_WRITTEN_COLUMNS
    return figure(
        [_cells(names, steps, values, change, edges, places), *_marks(steps, centres, 8 if written else 6),
         *([_numbers(values, change, centres)] if written else [])],
        alt, (80 if written else 130) + row_height(len(names)) * (len(names) + 1),
        margin=dict(t=32, r=12, b=8 if written else 90),
        coloraxis=dict(colorscale=BETTER, cmin=-most, cmax=most, showscale=not written, colorbar=dict(
            orientation="h", yref="container", y=0, yanchor="bottom", len=0.8, thickness=10, outlinewidth=0,
            tickvals=[-most, 0, most], ticktext=[f"−{most:.1f} points", "no change", f"+{most:.1f}"])),
        xaxis=_iterations_axis(steps, centres, written) | dict(range=[edges[0], edges[-1]]),
        yaxis=rows_axis([shorten(name, 14) for name in names]) | dict(range=[len(names) - 0.5, -1.4]),
        legend=dict(itemclick=False, itemdoubleclick=False),
    )  # fmt: skip


def _in_columns(classes: pd.DataFrame) -> tuple[list[str], list[Step], np.ndarray]:
    """Class names, (iteration, mark) of each column, and accuracies (classes, columns), the base's first."""
    classes = classes.assign(row=classes.groupby("iteration").cumcount())
    names = classes[classes.iteration == classes.iteration.iloc[0]]["class"].astype(str).tolist()
    columns: list[tuple[int, Mark, np.ndarray]] = []
    for _, rows in classes.groupby("iteration"):
        for mark, column in ((INITIAL, "accuracy_initial"), (FINAL, "accuracy_final")):
            if rows[column].notna().any() and (columns or mark == FINAL):
                own = rows.set_index("row")[column].reindex(range(len(names)))
                columns.append((int(rows.iteration.iloc[0]), mark, own.to_numpy(float)))
    if not columns:
        raise ValueError("classes has no final accuracy; needed: at least one iteration with a final accuracy")
    values = np.stack([values for _, _, values in columns], axis=1)
    seen = ~np.isnan(values).all(1)
    return [n for n, s in zip(names, seen, strict=True) if s], [column[:2] for column in columns], values[seen]


def _places(steps: list[Step], mark: Mark) -> list[int]:
    """The positions of the columns with a mark, without the base's."""
    return [place for place, step in enumerate(steps) if place and step[1] == mark]


def _alt(names: list[str], steps: list[Step], values: np.ndarray, change: np.ndarray) -> str:
    """The alt text: the largest loss at the end, the largest loss after a cut, and its recovery."""
    cuts = len({iteration for iteration, _ in steps[1:]})
    sentences = [f"Accuracy of {len(names):,} classes relative to the base, over {counted(cuts, 'iteration')}"]
    if finals := _places(steps, FINAL):
        last = change[:, finals[-1]]
        worst, lower = int(last.argmin()), int((last < 0).sum())
        lost = f", the largest loss in {names[worst]}, {percent(values[worst, 0])} to "
        lost += percent(values[worst, finals[-1]])
        sentences.append(f"After iteration {steps[finals[-1]][0]}, {lower:,} are lower{lost if lower else ''}")
    if initials := _places(steps, INITIAL):
        row, number = np.unravel_index(change[:, initials].argmin(), (len(names), len(initials)))
        place = initials[number]
        if change[row, place] < 0:
            recovered = change[row, place + 1] - change[row, place] if place + 1 in finals else None
            sentences.append(
                f"The largest loss after a cut was in iteration {steps[place][0]}: {names[row]} lost "
                f"{-change[row, place]:.1f} points"
                + (f" and recovered {recovered:.1f} in retraining" if recovered is not None else "")
            )
    return ". ".join(sentences) + "."


def _layout(steps: list[Step]) -> tuple[list[float], list[int]]:
    """The edges of all columns, including the gaps between iterations, and the positions of the steps' columns."""
    edges, places = [0.0], []
    for place, (iteration, _) in enumerate(steps):
        if place and iteration != steps[place - 1][0]:
            edges.append(edges[-1] + GAP)
        places.append(len(edges) - 1)
        edges.append(edges[-1] + (1.0 if place else BASE_WIDTH))
    return edges, places


def _cells(
    names: list[str], steps: list[Step], values: np.ndarray, change: np.ndarray, edges: list[float], places: list[int]
) -> go.Heatmap:
    """The heatmap; the gaps between iterations are columns without values."""
    z, share = np.full((2, len(names), len(edges) - 1), np.nan, np.float32)
    text = np.full(z.shape, "", dtype=object)
    z[:, places], share[:, places] = change, 100 * values
    for place, (iteration, mark) in zip(places, steps, strict=True):
        column = f"iteration {iteration}, {'final' if mark == FINAL else 'initial'}" if place else "base"
        text[:, place] = [f"<b>{shorten(name, 30)}</b>, {column}" for name in names]
    return go.Heatmap(
        z=z, x=edges, y=np.arange(len(names)), text=text.tolist(), customdata=share[:, :, None], xgap=1, ygap=1,
        coloraxis="coloraxis", hoverongaps=False,
        hovertemplate="%{text}<br>%{customdata[0]:.1f} % (%{z:+.1f} points)<extra></extra>",
    )  # fmt: skip


def _marks(steps: list[Step], centres: list[float], size: int) -> Iterator[go.Scatter]:
    """One mark above each column, which distinguishes cells after a cut from cells after retraining."""
    for mark, name in ((INITIAL, "after the cut"), (FINAL, "after retraining")):
        places = _places(steps, mark)
        yield go.Scatter(
            x=[centres[place] for place in places], y=[-0.95] * len(places), mode="markers", name=name,
            hoverinfo="skip",
            marker=dict(color=mark.colour, symbol=mark.symbol, size=size, line_width=2 * (mark == INITIAL)),
        )  # fmt: skip


def _numbers(values: np.ndarray, change: np.ndarray, centres: list[float]) -> go.Scatter:
    """The base's accuracy in per cent, and the non-zero changes in points. A separate trace, because a heatmap chooses
    poor text colours."""
    written = change.round(2) != 0
    written[:, 0] = True
    rows, columns = np.nonzero(written & ~np.isnan(change))
    text = [
        f"{change[cell]:+.{0 if abs(change[cell]) >= 9.95 else 1}f}".replace("-", "−")
        if cell[1] else percent(values[cell]).replace("\u00a0%", "")
        for cell in zip(rows, columns, strict=True)
    ]  # fmt: skip
    return go.Scatter(
        x=[centres[column] for column in columns], y=rows.tolist(), text=text, mode="text", hoverinfo="skip",
        showlegend=False, textfont=dict(color=INK, size=11),
    )


def _iterations_axis(steps: list[Step], centres: list[float], written: bool) -> dict[str, Any]:
    """One label per iteration, or per second (third, ...) iteration if there are many. If numbers are written, the
    base's label has their unit."""
    places: dict[int, list[float]] = {}
    for (iteration, _), centre in list(zip(steps, centres, strict=True))[1:]:
        places.setdefault(iteration, []).append(centre)
    shown, base = list(places)[:: -(-len(places) // 12)], steps[0][0]
    return dict(
        title="iteration", ticks="", showgrid=False, zeroline=False, fixedrange=True, tickangle=0,
        tickvals=[centres[0], *(float(np.mean(places[iteration])) for iteration in shown)],
        ticktext=[str(base) if not written else f"{base}, %" if base else "base %", *map(str, shown)],
    )
