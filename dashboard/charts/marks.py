"""The marks, which have the same meaning in all charts.

Text and axes take their colours from Streamlit's Plotly theme. The colours here have a contrast of at least 3:1 on both
the light and the dark background.
"""

from typing import NamedTuple

ACCENT = "#3b7dd8"
CONTRAST = "#d9731a"
GREY = "#8a8f98"
FAINT = "rgba(138,143,152,0.35)"
SERIES = [ACCENT, "#12967f", "#9461c9", "#d1508f", "#93891c", "#2b9fc2", "#a0674b", GREY]  # none is similar to CONTRAST


class Mark(NamedTuple):
    """The look of one meaning in every chart: a colour, a symbol for points, and a pattern for bars."""

    colour: str
    symbol: str
    pattern: str = ""


KEPT = Mark(ACCENT, "square")
CUT = Mark(CONTRAST, "x", "/")
FROZEN = Mark(FAINT, "square-open", "x")
FINAL = Mark(ACCENT, "circle")
INITIAL = Mark(CONTRAST, "triangle-down-open")
REFERENCE = Mark(GREY, "diamond")

PERCENT_BAR = dict(thickness=10, ticksuffix=" %", tick0=0, dtick=25, outlinewidth=0)
WIDTH_SCALE = [[0, "rgba(59,125,216,0.06)"], [1, ACCENT]]  # Cividis is reserved for profiles
