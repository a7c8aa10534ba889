"""The measures beside the drawing of a network: parameters on the left, MACs or time on the right."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.marks import ACCENT, CUT, FAINT, GREY
from dashboard.charts.tables import percent


class Wing(NamedTuple):
    """A measure beside the silhouette, as shares of the whole: before, and the bars that are left, longest first, with
    their colours and names."""

    head: str
    before: pd.Series
    left: list[tuple[pd.Series, str, str]]


def measures(layers: pd.DataFrame, whole_ms: float) -> tuple[Wing, Wing]:
    """The parameters on the left; on the right the MACs or, if `whole_ms` is not 0, the time: a pass also has parts
    that belong to no layer."""

    def shares(column: str) -> list[pd.Series]:
        return [layers[name] / max(layers[column].sum(), 1) for name in (column, f"{column}_after")]

    before, after = shares("parameters")
    parameters = Wing("parameters", before, [(after, ACCENT, "")])
    if not whole_ms:
        before, after = shares("macs")
        return parameters, Wing("MACs", before, [(after, GREY, "")])
    own, after = (layers[name].astype(float).fillna(0) / whole_ms for name in ("ms", "after_ms"))
    both = own + after
    return parameters, Wing("time", both, [(both, FAINT, "time of what follows"), (own, GREY, "")])


def bars_of(wing: Wing, axis: float, scale: float, hatched: dict[str, Any]) -> list[go.Bar | go.Scatter]:
    """The bars of a measure from the axis, to the left if the scale is negative, with the removed part on the outside.
    The largest share is written next to its bar, which gives the scale."""
    gone, row = wing.left[0][0] < wing.before, int(wing.before.argmax())
    left = [(share, fill, None, name) for share, fill, name in wing.left]
    bars = [(wing.before[gone], CUT.colour, hatched, ""), *left]
    return [
        *(go.Bar(x=scale * share, base=axis, y=share.index, orientation="h", width=0.8, hoverinfo="skip",
                 marker=dict(color=fill, line_width=0, pattern=pattern), name=name or None, showlegend=bool(name))
          for share, fill, pattern, name in bars),
        label([axis + scale * wing.before[row] + np.sign(scale) * 0.5], [row], [percent(wing.before[row])],
              "left" if scale < 0 else "right"),
    ]  # fmt: skip


def label(x: Sequence[float], y: Sequence[float], text: list[str], side: str) -> go.Scatter:
    return go.Scatter(x=x, y=y, text=text, mode="text", textposition=f"middle {side}", textfont_size=11,
                      hoverinfo="skip", showlegend=False, cliponaxis=False)  # fmt: skip
