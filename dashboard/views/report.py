"""What do I take away? The paper's table for the run, its files, and the command that repeats it."""

import io
import zipfile

import streamlit as st

from dashboard import frame, store
from trimcore import runs, tables

run_id = frame.need_run()
events = store.events(run_id)
folder = runs.open_run(store.folder(), run_id)
rows = tables.iterations(events)
st.caption(f"{store.title(run_id)}  ·  `{run_id}`")
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
    ("Latency", f"{best.latency_ms:.2f} ms", "Median of one forward pass of a training batch, on the run's device."),
)
st.markdown("##### The paper's table, for this run")
paper = tables.paper_table(events)
st.dataframe(paper, hide_index=True, placeholder="—", alt="Configuration, compression, initial and final accuracy")
if made := tables.control_row(events):
    st.markdown(
        f":material/balance: The same widths from new weights, {made['epochs']} epochs: test accuracy "
        f"**{made['accuracy']:.2%}**, against {best.accuracy_final:.2%} from the kept weights."
    )

st.markdown("##### Files")
texts = tables.csv_texts(events)
texts["spec.toml"] = (folder / "spec.toml").read_text("utf-8")
packed = io.BytesIO()
with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
    for name, text in texts.items():
        archive.writestr(name, text)
checkpoint = runs.checkpoint_path(folder, result)
with st.container(horizontal=True):
    for name, text in texts.items():
        st.download_button(name, text, name, "text/csv" if name.endswith(".csv") else "text/plain", key=name,
                           icon=":material/download:", on_click="ignore")  # fmt: skip
    st.download_button("all as .zip", packed.getvalue(), f"{run_id}.zip", "application/zip", on_click="ignore",
                       icon=":material/folder_zip:")  # fmt: skip
    if checkpoint.is_file():
        st.download_button(
            f"trimmed weights (iteration {result})", checkpoint.read_bytes, f"{run_id}-iteration-{result:02d}.pt",
            "application/octet-stream", on_click="ignore", icon=":material/memory:",
            help="State dict with the table of widths; torch.load(weights_only=True) reads it.",
        )  # fmt: skip

st.markdown("##### The same from the command line")
st.code(
    f"python -m trimcore run spec.toml\n"
    f"python -m trimcore report {run_id} --out report/\n"
    f"python -m trimcore export {run_id} --format onnx --out trimmed.onnx",
    language="bash",
)
started = next((e for e in events if e["kind"] == "started"), {})
st.caption(f"Seed {started.get('seed')}, {started.get('device')}, PyTorch {started.get('torch')}.")
