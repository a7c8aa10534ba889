"""Runs that differ only in their seed, drawn as one line with means and standard deviations."""

import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.history import frontier
from dashboard.charts.tables import require
from dashboard.charts.values import hover, scale
from trimcore.tables import ACCURACY, Metric

SPREAD = ["metric_std", "compression_std", "seeds"]


def seed_frontier(
    points: pd.DataFrame, reference: pd.DataFrame | None = None, size: str = "compression", *,
    metric: Metric = ACCURACY,
) -> go.Figure:  # fmt: skip
    """`frontier` over several seeds, with error bars of one standard deviation.

    points: as for `frontier`, each a mean over `seeds` (count) runs, with metric_std and compression_std, the sample
    standard deviations; NaN for a single seed.
    """
    points = require(points, "points", ["run", "iteration", *SPREAD])
    chart = frontier(points, reference, size, metric=metric)
    rows = points.set_index(["run", "iteration"])
    for trace in chart.data:
        if trace.mode != "lines+markers":
            continue
        own = rows.loc[[tuple(place) for place in trace.customdata]].fillna(dict.fromkeys(SPREAD, 0))
        bars = dict(type="data", color=trace.line.color, thickness=1.5, width=4)
        trace.error_y = bars | {"array": scale(metric) * own.metric_std}
        trace.error_x = bars | {"array": own.compression_std}
        trace.customdata = [
            [run, iteration, count, scale(metric) * value, compression]
            for (run, iteration), count, value, compression in zip(
                own.index, own.seeds, own.metric_std, own.compression_std, strict=True
            )
        ]
        trace.hovertemplate = (
            f"<b>%{{customdata[0]}}</b>, iteration %{{customdata[1]}}<br>final {hover(metric, 'y').removesuffix(' %')} "
            f"± {hover(metric, 'customdata[3]')} "
            "at %{x:.2f} ± %{customdata[4]:.2f}×<br>seeds: %{customdata[2]}<extra></extra>"
        )
    several = points[points.seeds > 1].run.nunique()
    text = f" {several} of the lines are means over seeds, with error bars of one standard deviation."
    return chart.update_layout(meta={"alt": chart.layout.meta["alt"] + text})
