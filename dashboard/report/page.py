"""The page Report: the paper's table for the run, its files, and the commands that repeat it."""

import io
import shlex
import tomllib
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd
import streamlit as st

from dashboard.report import changes, commands, exports, html_report, quantization, shapes
from dashboard.session import headline, lineage, links, run_reader
from dashboard.text import plain
from dashboard.widgets import class_history, elements, notes, sizes
from dashboard.widgets.next_step import need_run, next_step
from dashboard.widgets.paper_table import paper_table
from dashboard.widgets.verification import verification
from trimcore import runs, tables
from trimcore.errors import TrimError
from trimcore.files.export import FORMATS
from trimcore.jobs import control


def speedup_text(row: pd.Series, batch: int | None) -> str:
    """The computed MACs ratio, and the measured latency ratios if the run has them."""
    one = ("1", row.latency_1_ratio)
    measured = [(str(batch), row.latency_ratio), one] if batch else [one]
    times = [f"{ratio:.1f}× (batch {size})" for size, ratio in measured if pd.notna(ratio)]
    return f"MACs ratio {row.macs_ratio:.1f}×" + (f", latency ratio {', '.join(times)}" if times else "")


run_id = need_run()
events = run_reader.events(run_id)
folder = runs.open_run(run_reader.folder(), run_id)
rows = tables.iterations(events)
title = run_reader.title(run_id)
st.caption(plain(title if run_id in title else f"{title}  ·  {run_id}"))
notes.show(run_id)
if rows.empty:
    st.info("This run has no finished iteration yet.", icon=":material/hourglass_top:")
    next_step("Open run", "run", "to_run")
    st.stop()

result = runs.result_in(events)
best, metric = rows[rows.iteration == result].iloc[0], tables.metric_of(events)
elements.metrics(
    ("Compression", f"{best.compression:.2f}×"),
    ("Parameters", f"{best.parameters:,}"),
    (f"Test {plain(metric.name)}", metric.text(best.metric_final), headline.direction(metric)),
    ("Latency", "–" if pd.isna(best.latency_ms) else f"{best.latency_ms:.2f} ms"),
    *sizes.metrics(events, best),
)
started = next((e for e in events if e["kind"] == "started"), {})
try:
    batch: int | None = run_reader.spec_of(run_id).retrain.batch_size
except TrimError:
    batch = None
st.caption(f"Relative to the base architecture: {speedup_text(best, batch)}. Timed on {started.get('device')}.")
elements.concept("report", f"Size and {plain(metric.name)} by iteration")
paper_table(events)
if made := tables.control_row(events):
    st.markdown(
        f":material/balance: **Control:** a network with the same widths, trained from scratch for {made['epochs']} "
        f"epochs, has a test {plain(metric.name)} of **{metric.text(tables.value_of(made, 'accuracy'))}**. With the "
        f"kept weights, it is {metric.text(best.metric_final)}."
    )

if tables.has_zero_weights(events):
    st.caption(sizes.EXPLANATION)
verification(events, [0, result])
class_history.section(events)
st.markdown("##### Files")
spec_text = run_reader.spec_text(run_id)
texts: dict[str, Callable[[], str]] = {  # written when they are downloaded
    **{name: partial(tables.csv_of, events, name) for name in tables.csv_names(events)},
    "spec.toml": lambda: spec_text,
}
ancestors = {run for run, _ in lineage.ancestors(run_reader.parents(), run_id)}
rebuilt = control.can_resume(folder)  # otherwise, only the program that carried out the run has the network
with_shapes = rebuilt and shapes.are_wanted(run_id, folder, result)


def packed() -> bytes:
    """All files, and the specs of the run's ancestors."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in texts.items():
            archive.writestr(name, text())
        for run in ancestors:
            archive.writestr(f"{run}.toml", run_reader.spec_text(run))
    return file.getvalue()


with st.container(horizontal=True):
    for name, text in texts.items():
        st.download_button(name, text, name, "text/csv" if name.endswith(".csv") else "text/plain", key=name,
                           icon=":material/download:", on_click="ignore")  # fmt: skip
    st.download_button("All files (.zip)", packed, f"{run_id}.zip", "application/zip", on_click="ignore",
                       icon=":material/folder_zip:", help="Includes the specs of the run's ancestors.")  # fmt: skip
    st.download_button(
        "HTML report", lambda: html_report.report(folder, shapes.as_html(folder, result) if with_shapes else ""),
        f"{run_id}.html", "text/html", on_click="ignore", key="html", icon=":material/article:",
        disabled=batch is None,
        help="One file with this page and the charts of the run. It opens without a network connection.",
    )  # fmt: skip

st.markdown("##### Network")
with st.container(horizontal=True, vertical_alignment="bottom"):
    links.bind("iteration", key := f"taken_{run_id}_{result}", rows.iteration.tolist(), result)
    iteration = st.selectbox("Iteration", rows.iteration.tolist(), width=160, key=key,
                             format_func=lambda i: f"{i} (result)" if i == result else str(i))  # fmt: skip
    format, pressed, scripts = "", False, False
    if rebuilt:
        links.bind("format", "format", exports.LABELS, next(iter(exports.LABELS)))
        format = st.selectbox("Format", list(exports.LABELS), format_func=exports.LABELS.__getitem__, width=260,
                              key="format")  # fmt: skip
        scripts = st.checkbox("With scripts", key="scripts", disabled=format == "sparse", help="Adds scripts that load "
                              "and time the file without trimcore. The download is then a zip file.")  # fmt: skip
        scripts = scripts and format != "sparse"  # which only trimcore reads
        pressed = st.button("Export", icon=":material/deployed_code:", help="Writes the file, reads it back and "
                            "compares it with the network.")  # fmt: skip
    elif (weights := runs.checkpoint_path(folder, iteration)).exists():
        st.download_button(f"Weights of iteration {iteration}", weights.read_bytes, f"{run_id}-{weights.name}",
                           "application/octet-stream", icon=":material/memory:", on_click="ignore",
                           help="A Python program passed the network to this run, so only that program can rebuild and "
                           "export it. The file has the state dict under `state`.")  # fmt: skip
    links.write_url()
exported = exports.existing(folder, iteration, format, scripts) if rebuilt else None
if pressed and exported is None:
    try:
        with st.spinner(f"Writing {exports.LABELS[format]} and checking it against the network…"):
            exported = exports.export(folder, iteration, format, scripts)
    except TrimError as error:
        st.error(plain(str(error)), icon=":material/error:")
if exported:
    st.download_button(
        f"Download iteration {iteration} as {exports.LABELS[format]}", exported.content, on_click="ignore",
        file_name=f"{run_id}-{exported.name}", mime="application/octet-stream", icon=":material/memory:",
    )  # fmt: skip
    st.caption(f":material/check: The file was read back; it {exported.check}.")
if rebuilt:
    shapes.section(run_id, folder, int(iteration))
    quantization.section(run_id, folder, int(iteration))

changed = st.container()  # filled last, because loading the data takes long for some
st.markdown("##### Command line")
runs_option = "" if run_reader.folder() == Path("runs") else f" --runs {shlex.quote(str(run_reader.folder()))}"
try:
    repeat = commands.repeat(tomllib.loads(spec_text), more=runs_option)
except ValueError as error:
    repeat = f"# cannot read the spec: {commands.one_line(str(error))}"
st.code(
    f"{repeat}\n"
    f"python -m trimcore report {run_id} --out report/{runs_option}\n"
    f"python -m dashboard.htmlreport {run_id} --out report.html{runs_option}"
    + (f"\npython -m trimcore shapes {run_id} --iteration {iteration} --csv shapes.csv{runs_option}"
       f"\npython -m trimcore export {run_id} --iteration {iteration} --format {format} "
       f"--out trimmed{FORMATS[format]}{' --script' if scripts else ''}{runs_option}" if rebuilt else ""),
    language=None, wrap_lines=True,
)
st.caption(f"Seed {started.get('seed')}, {started.get('device')}, PyTorch {started.get('torch')}.")
with changed:
    changes.section(run_id, events, rows, result)
