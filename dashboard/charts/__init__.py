"""Pure functions `DataFrame -> plotly Figure`, which import no other package of the dashboard. (The tree of runs is an
ECharts option, because ECharts lays out trees.)

Each figure has an alt text in `figure.layout.meta["alt"]`, for `st.plotly_chart(..., alt=)`. An empty frame or a
missing column raises a ValueError that names what is missing.
"""

from dashboard.charts.accuracy import accuracy_curve, loss_curve
from dashboard.charts.comparison import apoz_comparison, survivors
from dashboard.charts.goal import goal_curve
from dashboard.charts.history import apoz_history, frontier, width_history
from dashboard.charts.layer_times import layer_times
from dashboard.charts.layers import butterfly, widths_preview
from dashboard.charts.network import network_drawing
from dashboard.charts.neurons import apoz_by_layer, apoz_heatmap, apoz_histogram, apoz_strip
from dashboard.charts.seeds import seed_frontier
from dashboard.charts.sweep import setting_effect, sweep_frontier
from dashboard.charts.tree import RunTree, run_tree
from dashboard.charts.trimming import trimming
from dashboard.charts.units import unit_heatmap, unit_history, unit_imbalance
from dashboard.charts.verification import roc, verification_history
from dashboard.charts.weights import byte_history, parameter_history, sparsity_history

__all__ = [
    "RunTree", "accuracy_curve", "apoz_by_layer", "apoz_comparison", "apoz_heatmap", "apoz_histogram", "apoz_history",
    "apoz_strip", "butterfly", "byte_history", "frontier", "goal_curve", "layer_times", "loss_curve",
    "network_drawing", "parameter_history", "roc", "run_tree", "seed_frontier", "setting_effect",
    "sparsity_history", "survivors", "sweep_frontier", "trimming", "unit_heatmap", "unit_history", "unit_imbalance",
    "verification_history", "width_history", "widths_preview",
]
