"""Which run is best?"""

import pandas as pd
import streamlit as st

from dashboard import charts, frame, pruned, store
from dashboard.criteria import ranking
from dashboard.rivals import differ_only_in_criterion, like_the_first, verdict
from trimcore import published, runs, tables
from trimcore.errors import TrimError

MORE = ["not zero", pruned.NONZERO, "verification"]  # columns for runs that have them
PARAMETERS, NONZERO = "parameters", "non-zero parameters"


def more(events: list[dict], row: pd.Series) -> dict:
    """What a run says beyond its size and accuracy, if it does."""
    said = {"verification": row.verification}
    if tables.has_zero_weights(events):
        ratio = pruned.without_zeros(row.to_frame().T).compression.iloc[0]
        said |= {"not zero": row.nonzero_parameters, pruned.NONZERO: ratio}
    return said


found = []
for run_id in store.run_ids():
    try:
        asked = store.spec_of(run_id)
    except TrimError:
        continue
    rows = tables.iterations(store.events(run_id))
    last = rows[rows.iteration == runs.result_in(store.events(run_id))].iloc[0] if len(rows) else None
    events = store.events(run_id)
    found.append({
        "id": run_id, "run": store.title(run_id), "state": store.status(run_id).state, "model": asked.model,
        "data": asked.data, "criterion": ranking(asked), "compression": None if last is None else last.compression,
        "test accuracy": None if last is None else last.accuracy_final,
        "parameters": None if last is None else last.parameters,
        "MACs ratio": None if last is None else last.macs_ratio,
        "measured": None if last is None else last.latency_ratio,
        "measured, batch 1": None if last is None else last.latency_1_ratio,
        **({} if last is None else more(events, last)),
        "iterations": max(len(rows) - 1, 0), "seed": asked.seed,
    })  # fmt: skip
if not found:
    st.info("There are no runs to compare yet. Start one on **Model**.", icon=":material/info:")
    frame.next_step("Go to Model", "model", "to_model")
    st.stop()

table = pd.DataFrame(found)
table = table[[name for name in table if name not in MORE or table[name].notna().any()]]
st.markdown("##### Choose runs")
chosen = st.dataframe(
    table.drop(columns="id"), hide_index=True, key="compared", on_select="rerun", selection_mode="multi-row",
    alt="Runs with compression and accuracy",
    column_config={
        "compression": st.column_config.NumberColumn(format="%.2f×"),
        "MACs ratio": st.column_config.NumberColumn(format="%.1f×"),
        "measured": st.column_config.NumberColumn(
            format="%.1f×", help="How many times as long the base architecture takes for a training batch."
        ),
        "measured, batch 1": st.column_config.NumberColumn(
            format="%.1f×", help="How many times as long the base architecture takes for one example."
        ),
        "parameters": st.column_config.NumberColumn(format="localized"),
        "test accuracy": st.column_config.NumberColumn(format="percent"),
        "not zero": st.column_config.NumberColumn(format="localized", help="Parameters that are not held at zero."),
        pruned.NONZERO: st.column_config.NumberColumn(format="%.2f×"),
        "verification": st.column_config.NumberColumn(format="percent", help="Mean accuracy over ten folds."),
    },
)  # fmt: skip
picked = [table.id[row] for row in chosen.selection.rows if row < len(table)]
if not picked:
    trimmed = [i for i, count in zip(table.id, table.iterations, strict=True) if count]
    picked = like_the_first({i: store.spec_of(i) for i in trimmed})[:6]
    st.caption("Nothing is ticked, so the newest run is shown with those that it can be compared with.")
rivals = differ_only_in_criterion([store.spec_of(i) for i in picked])
names = {i: ranking(store.spec_of(i)) if rivals else store.title(i) for i in picked}
frames = [tables.iterations(store.events(i)).assign(run=names[i]) for i in picked]
points = pd.concat(frames) if frames else pd.DataFrame()
if points.empty:
    st.info("None of these runs has a finished iteration yet.", icon=":material/hourglass_top:")
    st.stop()

networks = {(store.spec_of(i).model, store.spec_of(i).data) for i in picked}
rows = published.ON.get(next(iter(networks)), []) if len(networks) == 1 else []
reference = pd.DataFrame([(n, c, a / 100) for n, _, c, _, a in rows], columns=["label", "compression", "accuracy"])
st.markdown("##### Compression against test accuracy")
by = PARAMETERS
if any(tables.has_zero_weights(store.events(i)) for i in picked):
    by = st.segmented_control("Size in", [PARAMETERS, NONZERO], default=by, required=True, key="size_in")
points, size = (pruned.without_zeros(points), pruned.NONZERO) if by == NONZERO else (points, "compression")
frame.chart(charts.frontier(points, reference if len(reference) else None, size), "frontier")
if rivals:
    st.markdown(f"These runs differ only in what ranks the neurons. {verdict(points)}")
if len(networks) > 1:
    st.caption("These runs are of different networks or data: compression compares, accuracy does not.")
if len(reference):
    st.caption("Grey: the paper's rows; accuracies as published, unverified.")


def flat(values: dict, prefix: str = "") -> dict[str, str]:
    """A spec as `section.key` -> text."""
    out = {}
    for key, value in values.items():
        if isinstance(value, dict):
            out.update(flat(value, f"{prefix}{key}."))
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for number, item in enumerate(value, 1):
                out.update(flat(item, f"{prefix}{key} {number}."))
        else:
            out[prefix + key] = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return out


if len(picked) > 1:
    st.markdown("##### What differs in what was asked")
    columns = {store.title(i): flat(store.spec_of(i).model_dump(exclude_none=True)) for i in picked}
    specs = pd.DataFrame(columns).fillna("—")
    different = specs[specs.nunique(axis=1) > 1]
    if different.empty:
        st.caption("Nothing: these runs repeat each other.")
    else:
        st.dataframe(different, alt="Settings in which the runs differ")
