"""Is the time where the work is? The share of MACs to the left and of milliseconds to the right, by layer."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.frame import figure, row_height, rows_axis, wings
from dashboard.charts.grouping import blocks
from dashboard.charts.marks import ACCENT, GREY
from dashboard.charts.tables import counted, percent, require

PALE = "#a9c6ee"  # what follows a layer


def layer_times(layers: pd.DataFrame) -> go.Figure:
    """layers: layer, kind, macs (counts), ms (of the layer itself) and after_ms (of what follows it up to the next
    layer, in a paler colour); rows in depth order. With many layers, a row is a block of layers."""
    layers = require(layers, "layers", ["layer", "kind", "macs", "ms", "after_ms"])
    rows = layers.assign(row=blocks(layers.layer.tolist())).groupby("row", sort=False, as_index=False).agg(
        {"kind": "first", "macs": "sum", "ms": "sum", "after_ms": "sum"}
    )
    total = max((rows.ms + rows.after_ms).sum(), 1e-12)
    macs, own, after = (100 * part for part in (rows.macs / max(rows.macs.sum(), 1), rows.ms / total,
                                                rows.after_ms / total))  # fmt: skip
    both = own + after
    details = np.stack([
        rows.row, rows.kind, rows.macs.map("{:,}".format), rows.ms.map("{:.3g}".format),
        rows.after_ms.map("{:.3g}".format),
    ], axis=1)
    common = dict(y=rows.index, orientation="h", hoverinfo="skip", constraintext="none", cliponaxis=False,
                  textposition="outside")  # fmt: skip
    traces = [
        go.Bar(x=-macs, marker=dict(color=GREY, line_width=0), showlegend=False,
               text=[percent(value / 100) for value in macs], **common).update(
            customdata=details, hoverinfo=None, hovertemplate="<b>%{customdata[0]}</b> · %{customdata[1]}<br>"
            "%{customdata[2]} MACs<br>%{customdata[3]} ms<br>%{customdata[4]} ms for what follows<extra></extra>"),
        go.Bar(x=own, name="the layer", marker=dict(color=ACCENT, line_width=0), **common),
        go.Bar(x=after, name="what follows it (norms, activations, pooling)", base=own,
               marker=dict(color=PALE, line_width=0),
               text=[percent(value / 100) for value in both], **common),
    ]  # fmt: skip
    alt = (
        f"Share of MACs and of milliseconds of {counted(len(layers), 'row')}: {rows.row.iloc[macs.argmax()]} has "
        f"{percent(macs.max() / 100)} of the MACs, {rows.row.iloc[both.argmax()]} takes {percent(both.max() / 100)} of "
        f"the time."
    )
    return figure(
        traces, alt, 88 + row_height(len(rows)) * len(rows), barmode="overlay", bargap=0.3, hovermode="y",
        yaxis=rows_axis(rows.row.tolist()), margin=dict(t=54),
        **wings("MACs", "milliseconds", max(macs.max(), both.max()) / 100),
    )
