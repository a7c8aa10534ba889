"""Which run is best? And which plan came from which?"""

import zlib

import pandas as pd
import streamlit as st

from dashboard import charts, frame, links, notes, pruned, store, tree, versus, work
from dashboard.criteria import ranking
from dashboard.listing import MORE, read_runs
from dashboard.rivals import (
    differ_only_in_criterion,
    differ_only_in_seed,
    like_the_first,
    mean_over_seeds,
    spread,
    verdict,
)
from trimcore import tables
from trimcore.tables import published

PARAMETERS, NONZERO = "parameters", "non-zero parameters"
MEASURES = ["test accuracy", "compression", pruned.NONZERO, "verification"]  # that seeds are summed up for


def with_tags(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that have all tags which are asked for, where there are tags."""
    known = sorted({tag for tags in table.tags.dropna() for tag in tags})
    if not known:
        return table
    wanted = st.multiselect("Only runs with the tags", known, key="tags_wanted", placeholder="any")
    has = [set(wanted) <= set(tags or ()) for tags in table.tags]
    return table[has].reset_index(drop=True)


def choose(table: pd.DataFrame) -> list[str]:
    """The runs that are ticked, else those that compare with the newest."""
    table = table[[name for name in table if name not in MORE or table[name].notna().any()]]
    ids, none = table.id.tolist(), {"rows": [], "columns": [], "cells": []}
    key = f"compared_{zlib.crc32(' '.join(ids).encode())}"  # ticks are rows: they must not move to another run
    if links.leads("runs"):
        rows = links.read("runs", lambda text: [ids.index(run_id) for run_id in text.split("~")], [])
        st.session_state[key] = {"selection": none | {"rows": rows}}
    shown = table.drop(columns="id")
    chosen = st.dataframe(
        shown, hide_index=True, key=key, on_select="rerun",
        selection_mode="multi-row", alt="Runs with compression and accuracy",
        column_config=frame.explained(shown, {
            "compression": st.column_config.NumberColumn(format="%.2f×"),
            "MACs ratio": st.column_config.NumberColumn(format="%.1f×"),
            "measured": st.column_config.NumberColumn(format="%.1f×"),
            "measured, batch 1": st.column_config.NumberColumn(format="%.1f×"),
            "parameters": st.column_config.NumberColumn(format="localized"),
            "test accuracy": st.column_config.NumberColumn(format="percent"),
            "not zero": st.column_config.NumberColumn(format="localized"),
            pruned.NONZERO: st.column_config.NumberColumn(format="%.2f×"),
            "verification": st.column_config.NumberColumn(format="percent"),
        }),
    )  # fmt: skip
    picked = [ids[row] for row in chosen.selection.rows if row < len(ids)]
    links.tell("runs", lambda: "~".join(picked))
    if picked:
        return picked
    trimmed = [i for i, count in zip(table.id, table.iterations, strict=True) if count]
    if trimmed:
        st.caption("Nothing is ticked, so the newest run is shown with those that it can be compared with.")
    else:
        st.info("None of these runs has finished a cut yet. Launch a plan: with its first iteration it is compared.",
                icon=":material/hourglass_top:")  # fmt: skip
        frame.next_step("Go to Plan", "plan", "to_plan")
    return like_the_first({i: store.spec_of(i) for i in trimmed})[:6]


def accuracy_and_size(picked: list[str], groups: list[list[str]]) -> None:
    """The frontier of the runs; groups of seeds as one line each, where that is asked for."""
    rivals = differ_only_in_criterion([store.spec_of(i) for i in picked])
    names = {i: ranking(store.spec_of(i)) if rivals else store.title(i) for i in picked}
    frames = [tables.iterations(store.events(i)).assign(run=names[i]) for i in picked]
    points = pd.concat(frames) if frames else pd.DataFrame()
    frame.idea("compare", "Compression against test accuracy")
    if points.empty:
        st.info("None of these runs has a finished iteration yet.", icon=":material/hourglass_top:")
        return
    networks = {(store.spec_of(i).model, store.spec_of(i).data) for i in picked}
    rows = published.ON.get(next(iter(networks)), []) if len(networks) == 1 else []
    reference = pd.DataFrame([(n, c, a / 100) for n, _, c, _, a in rows], columns=["label", "compression", "accuracy"])
    by = PARAMETERS
    if any(tables.has_zero_weights(store.events(i)) for i in picked):
        by = st.segmented_control("Size in", [PARAMETERS, NONZERO], default=by, required=True, key="size_in")
    points, size = (pruned.without_zeros(points), pruned.NONZERO) if by == NONZERO else (points, "compression")
    drawn = charts.frontier
    if groups and st.toggle("Sum up seeds", key="sum_up_seeds", help="Means, with bars of one standard deviation."):
        together = {names[i]: f"{store.short_title(own[0])}, {len(own)} seeds" for own in groups for i in own}
        points, drawn = mean_over_seeds(points, together), charts.seed_frontier
    frame.chart(drawn(points, reference if len(reference) else None, size), "frontier", "compare")
    if rivals:
        st.markdown(f"These runs differ only in what ranks the neurons. {verdict(points)}")
    if len(networks) > 1:
        st.caption("These runs are of different networks or data: compression compares, accuracy does not.")
    if len(reference):
        st.caption("Grey: the paper's rows; accuracies as published, unverified.")


def in_words(row: pd.Series) -> pd.Series:
    """A row of `spread` with its numbers as text, in the measure's unit."""
    text = "{:.2%}" if row.measure in ("test accuracy", "verification") else "{:.2f}×"
    return row.map(lambda value: text.format(value) if isinstance(value, float) and pd.notna(value) else value)


def seeds(table: pd.DataFrame, groups: list[list[str]]) -> None:
    """A small table for each group of runs that differ only in their seed."""
    if groups:
        st.markdown("##### How far do seeds lie apart?")
    for own in groups:
        results = table[table.id.isin(own)].reindex(columns=["seed", *MEASURES])
        found = spread(results, MEASURES)
        numbers = ", ".join(map(str, sorted(results.seed)))
        st.markdown(frame.plain(f"{store.short_title(own[0])}: seeds {numbers}"))
        st.dataframe(
            found.apply(in_words, axis=1), hide_index=True, placeholder="—", width="content",
            alt="Mean and spread over seeds", column_config=frame.explained(found),
        )  # fmt: skip


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


def differences(picked: list[str]) -> None:
    st.markdown("##### What differs in what was asked")
    columns = {store.title(i): flat(store.spec_of(i).model_dump(exclude_none=True)) for i in picked}
    specs = pd.DataFrame(columns).fillna("—")
    different = specs[specs.nunique(axis=1) > 1]
    if different.empty:
        st.caption("Nothing: these runs repeat each other.")
    else:
        st.dataframe(different, alt="Settings in which the runs differ")


everything = read_runs()
if everything.empty:
    st.info("There are no runs to compare yet. Start one on **Model**.", icon=":material/info:")
    frame.next_step("Go to Model", "model", "to_model")
    st.stop()
st.markdown("##### Choose runs")
listed = with_tags(everything)
if listed.empty:
    st.info("No run has all of these tags.", icon=":material/label_off:")
else:
    picked = choose(listed)
    groups = differ_only_in_seed({i: store.spec_of(i) for i in picked})
    if picked:
        accuracy_and_size(picked, groups)
        seeds(everything, groups)
        if len(picked) > 1:
            differences(picked)
        versus.show(picked)
links.write()
tree.show()
if selected := work.selected_run():
    st.markdown("##### The selected run")
    st.caption(frame.plain(store.title(selected)))
    notes.show(selected)
    notes.controls(selected)
else:
    st.caption("Select a run in the side bar to give it a name, a note and tags, or to delete it.")
