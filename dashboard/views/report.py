"""What do I take away? The paper's table for the run, its files, and the command that repeats it."""

import io
import shlex
import tomllib
import zipfile
from pathlib import Path

import pandas as pd
import streamlit as st

from dashboard import broken, exports, frame, htmlreport, lineage, links, notes, pruned, repeating, store
from trimcore import runs, tables
from trimcore.errors import TrimError


def gains(row: pd.Series, batch: int | None) -> str:
    """What was computed to be gained, and what was measured, where the run has measured it."""
    one = ("1", row.latency_1_ratio)
    measured = [(str(batch), row.latency_ratio), one] if batch else [one]
    times = [f"{ratio:.1f}× (batch {size})" for size, ratio in measured if pd.notna(ratio)]
    return f"MACs ratio {row.macs_ratio:.1f}×" + (f", measured {', '.join(times)}" if times else "")


run_id = frame.need_run()
events = store.events(run_id)
folder = runs.open_run(store.folder(), run_id)
rows = tables.iterations(events)
st.caption(f"{frame.plain(store.title(run_id))}  ·  `{run_id}`")
notes.show(run_id)
if rows.empty:
    st.info("This run has no finished iteration to report yet.", icon=":material/hourglass_top:")
    frame.next_step("Watch the run", "run", "to_run")
    st.stop()

result = runs.result_in(events)
best = rows[rows.iteration == result].iloc[0]
frame.metrics(
    ("Compression", f"{best.compression:.2f}×"),
    ("Parameters", f"{best.parameters:,}"),
    ("Test accuracy", f"{best.accuracy_final:.2%}"),
    ("Latency", f"{best.latency_ms:.2f} ms"),
    *pruned.metrics(events, best),
)
started = next((e for e in events if e["kind"] == "started"), {})
try:
    batch = store.spec_of(run_id).retrain.batch_size
except TrimError:
    batch = None
st.caption(f"Against the base architecture: {gains(best, batch)}. Timed on {started.get('device')}.")
frame.idea("report", "The paper's table, for this run")
frame.paper_table(events)
if made := tables.control_row(events):
    st.markdown(
        f":material/balance: The same widths from new weights, {made['epochs']} epochs: test accuracy "
        f"**{made['accuracy']:.2%}**, against {best.accuracy_final:.2%} from the kept weights."
    )

if tables.has_zero_weights(events):
    st.caption(pruned.KEPT)
pruned.verification(events, [0, result])
broken.shown(events)
st.markdown("##### Files")
texts = tables.csv_texts(events)
texts["spec.toml"] = (folder / "spec.toml").read_text("utf-8")
came_from = {run for run, _ in lineage.ancestors(store.parents(), run_id)}
specs = {f"{run}.toml": (store.folder() / run / "spec.toml").read_text("utf-8") for run in came_from}
packed = io.BytesIO()
with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
    for name, text in {**texts, **specs}.items():
        archive.writestr(name, text)
with st.container(horizontal=True):
    for name, text in texts.items():
        st.download_button(name, text, name, "text/csv" if name.endswith(".csv") else "text/plain", key=name,
                           icon=":material/download:", on_click="ignore")  # fmt: skip
    st.download_button("all as .zip", packed.getvalue(), f"{run_id}.zip", "application/zip", on_click="ignore",
                       icon=":material/folder_zip:", help="With the specs of the runs that it came from.")  # fmt: skip
    st.download_button(
        "report as HTML", lambda: htmlreport.report(folder), f"{run_id}.html", "text/html", on_click="ignore",
        key="html", icon=":material/article:", disabled=batch is None,
        help="One file with this page and the charts of the run, to be read without a network. Made in a second.",
    )  # fmt: skip

st.markdown("##### The network")
with st.container(horizontal=True, vertical_alignment="bottom"):
    links.bound("iteration", key := f"taken_{run_id}_{result}", rows.iteration.tolist(), result)
    iteration = st.selectbox("Iteration", rows.iteration.tolist(), width=160, key=key,
                             format_func=lambda i: f"{i}, the result" if i == result else str(i))  # fmt: skip
    links.bound("format", "format", exports.LABELS, next(iter(exports.LABELS)))
    format = st.selectbox("Format", list(exports.LABELS), format_func=exports.LABELS.get, width=260, key="format")
    links.write()
    asked = st.button("Prepare", icon=":material/deployed_code:", help="Writes the file, reads it back and compares.")
made_file = exports.found(folder, iteration, format)
if asked and made_file is None:
    try:
        with st.spinner(f"Writing {exports.LABELS[format]}, reading it back and comparing it with the network…"):
            made_file = exports.prepare(folder, iteration, format)
    except TrimError as error:
        st.error(frame.plain(str(error)), icon=":material/error:")
if made_file:
    st.download_button(
        f"iteration {iteration} as {exports.LABELS[format]}", made_file.path.read_bytes, on_click="ignore",
        file_name=f"{run_id}-{made_file.path.name}", mime="application/octet-stream", icon=":material/memory:",
    )  # fmt: skip
    st.caption(f":material/check: Read back, it {made_file.said}.")

st.markdown("##### The same from the command line")
there = "" if store.folder() == Path("runs") else f" --runs {shlex.quote(str(store.folder()))}"
try:
    repeated = repeating.repeat(tomllib.loads(texts["spec.toml"]), more=there)
except ValueError as error:
    repeated = f"# the spec cannot be read: {repeating.one_line(str(error))}"
st.code(
    f"{repeated}\n"
    f"python -m trimcore report {run_id} --out report/{there}\n"
    f"python -m dashboard.htmlreport {run_id} --out report.html{there}\n"
    f"python -m trimcore export {run_id} --iteration {iteration} --format {format} "
    f"--out trimmed{exports.FORMATS[format]}{there}",
    language="bash",
)
st.caption(f"Seed {started.get('seed')}, {started.get('device')}, PyTorch {started.get('torch')}.")
