"""The section INT8 of the page Report: what 8-bit integers cost and save, for the base and for the trimmed network."""

import importlib.util
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from dashboard.report import exports
from dashboard.session import run_reader
from dashboard.text import plain
from dashboard.widgets import elements
from trimcore import runs
from trimcore.errors import TrimError
from trimcore.evaluation.quantized import CALIBRATION, COLUMNS, KINDS, warnings_of
from trimcore.files.export import INT8
from trimcore.files.quantization import PACKAGES

FIXED_SECONDS = 10  # to start, and to write and quantize the files of two networks
TASKS = ("classification", "agreement")


def section(run_id: str, folder: Path, iteration: int) -> None:
    """The table of base and trimmed network in float and INT8, or a button that measures it."""
    st.markdown("##### INT8")
    if missing := [name for name in PACKAGES if importlib.util.find_spec(name) is None]:
        st.caption(f"INT8 needs packages that are not installed: `pip install {' '.join(missing)}`")
        return
    try:
        task = run_reader.spec_of(run_id).task
    except TrimError:
        task = TASKS[0]
    if task not in TASKS:
        st.caption(f"INT8 is judged by its accuracy, so it needs a classification. This run's task is {plain(task)}.")
        return
    table = read(folder, iteration)
    if table is None:
        seconds = about_seconds(run_reader.events(run_id))
        pressed = st.button(f"Measure INT8 (about {seconds} s)", icon=":material/speed:", key="measure_int8",
                            help=f"Quantizes the base network and the network of iteration {iteration} with "
                            f"{CALIBRATION} validation images, and measures both on the test split.")  # fmt: skip
        if not pressed:
            return
        try:
            with st.spinner("Quantizing and measuring…"):
                exports.export(folder, iteration, INT8)
        except TrimError as error:
            st.error(plain(str(error)), icon=":material/error:")
            return
        table = read(folder, iteration)
        if table is None:
            st.error("The table could not be read back.", icon=":material/error:")
            return
    _show(table, exports.table_path(folder))


def _show(table: pd.DataFrame, path: Path) -> None:
    for line in warnings_of(table):
        st.warning(plain(line), icon=":material/warning:")
    shown = table.drop(columns="batch").rename(columns={"latency_1_ms": "ms, 1 image", "latency_ms": _many(table)})
    shown["accuracy"] *= 100
    st.dataframe(
        shown, hide_index=True, key="int8", alt="Accuracy, bytes and milliseconds in float and in INT8",
        column_config=elements.with_help(shown, {
            "accuracy": st.column_config.NumberColumn(format="%.1f %%"),
            "bytes": st.column_config.NumberColumn(format="localized"),
            **dict.fromkeys(["ms, 1 image", _many(table)], st.column_config.NumberColumn(format="%.3f")),
        }),
    )  # fmt: skip
    st.caption("Measured by ONNX Runtime on the CPU of this server; all networks are timed in turns.")
    st.download_button(path.name, path.read_bytes, path.name, "text/csv", key="int8_csv", icon=":material/download:",
                       on_click="ignore")  # fmt: skip


def _many(table: pd.DataFrame) -> str:
    return f"ms, {int(table.batch.iloc[0])} images"


def read(folder: Path, iteration: int) -> pd.DataFrame | None:
    """The table that was measured for this iteration; None if there is none, or an older one than the network."""
    path = exports.table_path(folder)
    try:
        table = pd.read_csv(path)
        made = max(runs.checkpoint_path(folder, number).stat().st_mtime_ns for number in (0, iteration))
        if list(table.columns) != COLUMNS or path.stat().st_mtime_ns < made:
            return None
        numbers = [column for column in COLUMNS if column not in ("network", "numbers")]
        table[numbers] = table[numbers].apply(pd.to_numeric)
    except (OSError, ValueError):  # a file of others may have anything in it
        return None
    rows = [(number, kind) for number in dict.fromkeys([0, iteration]) for kind in KINDS]
    return table if list(zip(table.iteration, table.numbers, strict=True)) == rows else None


def about_seconds(events: list[dict[str, Any]]) -> int:
    """How long the measurement takes: four passes over the test split, and the calibration of two networks."""
    started = next((event for event in events if event["kind"] == "started"), {})
    images: int = 4 * started.get("splits", {}).get("test", 0) + 2 * CALIBRATION
    times = [event.get("latency_1_ms") or 0.0 for event in events if event["kind"] == "iteration"]
    slowest: float = max(times, default=0.0)
    return round(FIXED_SECONDS + images * slowest / 1000)
