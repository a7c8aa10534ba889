"""Pure functions `DataFrame -> plotly Figure`.

Each figure carries one sentence that says what it shows, `figure.layout.meta["alt"]`, for `st.plotly_chart(..., alt=)`.
A frame that is empty or lacks a column raises a ValueError that names what is missing.
"""

from dashboard.charts.accuracy import accuracy_curve, loss_curve
from dashboard.charts.history import apoz_history, frontier, width_history
from dashboard.charts.layers import butterfly, widths_preview
from dashboard.charts.network import network_drawing
from dashboard.charts.neurons import apoz_by_layer, apoz_heatmap, apoz_histogram, apoz_strip
from dashboard.charts.seeds import seed_frontier
from dashboard.charts.tree import run_tree
from dashboard.charts.units import unevenness, unit_heatmap, unit_history
from dashboard.charts.verification import roc, verification_history
from dashboard.charts.versus import apoz_versus, survivors
from dashboard.charts.weights import byte_history, parameter_history, sparsity_history

__all__ = [
    "accuracy_curve", "apoz_by_layer", "apoz_heatmap", "apoz_histogram", "apoz_history", "apoz_strip", "apoz_versus",
    "butterfly", "byte_history", "frontier", "loss_curve", "network_drawing", "parameter_history", "roc", "run_tree",
    "seed_frontier", "sparsity_history", "survivors", "unevenness", "unit_heatmap", "unit_history",
    "verification_history", "width_history", "widths_preview",
]
