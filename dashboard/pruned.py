"""What pruning beyond whole neurons and verification leave to be told: on the pages Run and Report."""

import pandas as pd
import streamlit as st

from dashboard import charts, frame, glossary
from trimcore import tables

BYTES = "Of a safetensors file: dense stores every weight; sparse stores those that are not zero, and the gaps between "
BYTES += "them as one byte each (Han et al. 2016)."
KEPT = "**Three sizes.** *Parameters* are what the network has; pruning neurons makes them fewer. *Non-zero* are those "
KEPT += "that weight pruning leaves; the network still computes with all of them. *Bytes* are what a file takes, dense "
KEPT += "or with values and gaps only: there the zeros pay, and nowhere else."


NONZERO = "compression, non-zero"


def without_zeros(rows: pd.DataFrame) -> pd.DataFrame:
    """`tables.iterations` with the compression that counts only the parameters that are not zero."""
    return rows.assign(compression=rows.compression * rows.parameters / rows.nonzero_parameters)


def metrics(events: list[dict], row: pd.Series) -> list[tuple[str, ...]]:
    """Further big numbers of an iteration, where there is something to tell. row: of `tables.iterations`."""
    cells = []
    k = tables.latest(events, "iteration")[row.iteration].get("k") or {}
    if k:
        cells.append(("Neurons a unit (k)", frame.units_text(k)))
    if tables.has_zero_weights(events):
        ratio = without_zeros(row.to_frame().T).compression.iloc[0]
        cells.append(("Not zero", f"{row.nonzero_parameters:,}", f"Base parameters / these: {ratio:.2f}×."))
    if pd.notna(row.verification):
        error = "" if pd.isna(row.verification_error) else f" ± {row.verification_error:.2%}"
        cells.append(("Verification", f"{row.verification:.2%}{error}"))
    return cells


def history(events: list[dict], rows: pd.DataFrame) -> None:
    """Charts of a run that has maxout units or prunes weights, two in a row. rows: of `tables.iterations`."""
    units, zeros, told = tables.units(events), tables.sparsity(events), []
    if units.iteration.nunique() > 1:
        help = "100 %: it is the maximum as often as the others. Near 0 %: nothing is lost when it goes."
        told.append(("Relevance of the weakest neuron of each unit", charts.unit_history(units), "unit_history", help))
    if len(zeros):
        help = "After each step that holds weights at zero."
        told.append(("Weights of each layer that are zero", charts.sparsity_history(zeros), "sparsity", help))
    if tables.has_zero_weights(events) and len(rows) > 1:
        help = "Those that are not zero are all that weight pruning leaves; the network computes with the zeros too."
        told.append(("Parameters", charts.parameter_history(rows), "parameter_history", help))
        if rows.bytes_dense.notna().any():
            told.append(("Bytes of the file", charts.byte_history(rows), "byte_history", BYTES))
    places = [column for _ in told[::2] for column in st.columns(2, gap="large")]
    for column, (title, figure, key, help) in zip(places, told, strict=False):
        with column:
            st.markdown(f"##### {title}", help=help)
            frame.chart(figure, key)


def verification(events: list[dict], iterations: list[int]) -> None:
    """Accuracy through the iterations, and the ROC of some of them."""
    found, curves = tables.verifications(events), tables.rocs(events)
    if found.empty:
        return
    last = found.iloc[-1]
    of = "the test split" if last.pairs == "test" else last.pairs
    st.markdown("##### Verification: are two images of the same?", help=glossary.listed("verification", "AUC"))
    st.caption(frame.plain(
        f"{last['count']:,} pairs of {of}, by the {last.distance} distance of what enters {last.layer}; ten folds."
    ))  # fmt: skip
    left, right = st.columns(2, gap="large")
    with left:
        frame.chart(charts.verification_history(found), "verification_history")
    chosen = curves[curves.iteration.isin(iterations)]
    if len(chosen):
        names = chosen.iteration.map(lambda k: "base" if k == 0 else f"iteration {k}")
        with right:
            frame.chart(charts.roc(chosen.assign(curve=names)), "roc")
