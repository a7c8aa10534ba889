"""Further numbers of a run: maxout units, non-zero parameters and verification."""

from typing import Any

import pandas as pd

from dashboard.text import units_text
from dashboard.widgets.elements import Cell
from trimcore import tables

EXPLANATION = "**Three sizes.** *Parameters* are all parameters of the network; removing neurons reduces them. "
EXPLANATION += "*Non-zero parameters* are those that weight pruning leaves; the network still computes with the zeros. "
EXPLANATION += "*Bytes* are the size of a file, either dense or with only the non-zero weights and the gaps between "
EXPLANATION += "them. Zeros save space only in the sparse file."
NONZERO = "compression, non-zero"


def with_nonzero_compression(rows: pd.DataFrame) -> pd.DataFrame:
    """`tables.iterations` with a compression that counts only non-zero parameters."""
    return rows.assign(compression=rows.compression * rows.parameters / rows.nonzero_parameters)


def metrics(events: list[dict[str, Any]], row: pd.Series) -> list[Cell]:
    """Further metrics of an iteration, if it has any. row: of `tables.iterations`."""
    cells: list[Cell] = []
    k = tables.latest(events, "iteration")[row.iteration].get("k") or {}
    if k:
        cells.append(("Neurons per unit (k)", units_text(k)))
    if tables.has_zero_weights(events):
        ratio = with_nonzero_compression(row.to_frame().T).compression.iloc[0]
        cells.append(("Non-zero parameters", f"{row.nonzero_parameters:,}", f"Compression, non-zero: {ratio:.2f}×."))
    if pd.notna(row.verification):
        error = "" if pd.isna(row.verification_error) else f" ± {row.verification_error:.2%}"
        cells.append(("Verification", f"{row.verification:.2%}{error}"))
    return cells
