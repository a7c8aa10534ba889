"""A run's events as tables: the CSVs, the paper's table, and the data behind the charts. Pure functions.

May import `errors`. Works without torch.
"""

from trimcore.tables.captions import (
    configurations,
    counted_as_zero,
    cuts_text,
    measure_name,
    no_activation_text,
    widths_text,
    zeros_text,
)
from trimcore.tables.csvs import (
    CLASSES,
    CSVS,
    ITERATIONS,
    LAYERS,
    NEURONS,
    class_accuracy,
    csv_names,
    csv_of,
    csv_texts,
    has_zero_weights,
    iterations,
    layers,
    neurons,
    paper_table,
)
from trimcore.tables.metric import ACCURACY, Metric, metric_of, value_of
from trimcore.tables.outlook import Outlook, outlook
from trimcore.tables.recorded import (
    EPOCHS,
    UNITS,
    VERIFICATIONS,
    control_row,
    cuts,
    epochs,
    history,
    latest,
    neurons_a_unit,
    profiles,
    prunings,
    rocs,
    sparsity,
    units,
    verifications,
)
from trimcore.tables.sweeps import SWEEP, SweepRun, sweep

__all__ = [
    "ACCURACY", "CLASSES", "CSVS", "EPOCHS", "ITERATIONS", "LAYERS", "NEURONS", "SWEEP", "UNITS", "VERIFICATIONS",
    "Metric", "Outlook", "SweepRun", "class_accuracy", "configurations", "control_row", "counted_as_zero",
    "csv_names", "csv_of", "csv_texts", "cuts", "cuts_text", "epochs", "has_zero_weights", "history", "iterations",
    "latest", "layers", "measure_name", "metric_of", "neurons", "neurons_a_unit", "no_activation_text", "outlook",
    "paper_table", "profiles", "prunings", "rocs", "sparsity", "sweep", "units", "value_of", "verifications",
    "widths_text", "zeros_text",
]  # fmt: skip
