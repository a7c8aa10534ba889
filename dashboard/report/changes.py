"""The section What changed? of the page Report: what the trimmed network answers differently from the base."""

from typing import Any

import pandas as pd
import streamlit as st

from dashboard.charts import changes as charts
from dashboard.charts.tables import percent, rows_of, shorten
from dashboard.report import own_image, robustness
from dashboard.report.pair import Pair, about_seconds, load
from dashboard.session import links, run_reader
from dashboard.text import duration, plain
from dashboard.widgets import elements
from dashboard.widgets.pictures import picture
from trimcore.data.splits import Folder
from trimcore.errors import DataError, TrimError
from trimcore.evaluation import changes
from trimcore.spec.spec import AGREEMENT, CLASSIFICATION
from trimcore.tables.csv_text import as_csv

QUICK = 5.0  # seconds; what takes longer waits for a button
MORE = 24  # images that are shown at first, and added by each click
MAX_WIDTH = 128  # pixels of a picture
ALL = ""


@st.fragment
def section(run_id: str, events: list[dict[str, Any]], rows: pd.DataFrame, result: int) -> None:
    """rows: of `tables.iterations`. result: the iteration that is shown first."""
    st.markdown("##### What changed?")
    try:
        asked = run_reader.spec_of(run_id)
        if asked.task not in (CLASSIFICATION, AGREEMENT):
            st.caption(f"Answers are compared for a classification. This run's task is {plain(asked.task)}.")
            return
        later = [number for number in rows.iteration.tolist() if number]
        if not later:
            st.caption("This run has no trimmed network yet whose answers could be compared with the base.")
            return
        iteration, split = _choices(run_id, later, result if result in later else later[-1])
        seconds = about_seconds(events, rows, asked.data, iteration, split)
        opened = f"changes_opened_{run_id}_{iteration}_{split}"
        if seconds > QUICK and not st.session_state.get(opened):
            st.button(f"Compare the answers (about {duration(seconds)})", icon=":material/compare:",
                      key="compare_answers", on_click=st.session_state.__setitem__, args=(opened, True),
                      help="Loads the run's data, and asks both networks about each image.")  # fmt: skip
            return
        _show(load(run_id, iteration, split), run_id, labelled=asked.task == CLASSIFICATION)
    except TrimError as error:
        st.caption(f":material/visibility_off: {plain(f'The answers cannot be compared: {error}.')}")
    finally:
        links.write_url()


def _choices(run_id: str, later: list[int], first: int) -> tuple[int, str]:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        links.bind("trimmed", key := f"trimmed_{run_id}", later, first)
        iteration = st.selectbox("Trimmed network", later, key=key, width=200,
                                 format_func=lambda i: f"iteration {i}{' (result)' if i == first else ''}")  # fmt: skip
        links.bind("images", key := f"images_{run_id}", ["test", "validation"], "test")
        split = st.segmented_control("Images", ["test", "validation"], key=key, required=True) or "test"
    return iteration, split


def _show(pair: Pair, run_id: str, labelled: bool) -> None:
    table = _compared(pair)
    found, counts = changes.changed(table), changes.kinds(table)
    elements.metrics(
        ("Answers changed", f"{len(found):,} of {len(table):,}"),
        *([(kind.capitalize(), f"{count:,}") for kind, count in counts.items()] if labelled else []),
    )
    fewer = f"the first {len(table):,} of {len(pair.split):,} {pair.split_name} images"
    if len(table) < len(pair.split):
        st.caption(f"Compared on {fewer}. The command line compares all of them.")
    if len(found):
        _which(pair, run_id, found, labelled)
        names = changes.named(table, pair.split, pair.data)
        st.download_button("changes.csv", lambda: as_csv(names), "changes.csv", "text/csv", key="changes_csv",
                           icon=":material/download:", on_click="ignore",
                           help="Both answers to each image that was compared.")  # fmt: skip
    else:
        st.caption("Both networks give the same answer to every image.")
    robustness.section(pair, labelled)
    own_image.section(pair)


def _compared(pair: Pair) -> pd.DataFrame:
    examples = pair.examples()
    classes, images = pair.data.num_classes, len(pair.split)

    def valid(table: pd.DataFrame) -> bool:
        if list(table.columns) != changes.COLUMNS:
            return False
        numbers = table[changes.NUMBERS].apply(pd.to_numeric)
        places = [(numbers.image, images), *((numbers[name], classes) for name in changes.NUMBERS[1:4])]
        inside = all(column.between(0, most - 1).all() and (column % 1 == 0).all() for column, most in places)
        return inside and bool(table.change.isin(["", *changes.KINDS]).all())

    with st.spinner("Asking both networks about each image…", show_time=True):
        return pair.kept("changes", examples, valid).find_or_measure(
            lambda: changes.compare(*pair.networks, pair.split.subset(examples), pair.data, "cpu")
        )


def _which(pair: Pair, run_id: str, found: pd.DataFrame, labelled: bool) -> None:
    """The classes between which answers changed, a choice among them, and the images."""
    classes = pair.data.classes
    names = changes.pairs(found)
    for column in ("base_answer", "trimmed_answer"):
        names[column] = names[column].map(lambda number: classes[number])
    texts = {f"{row.base_answer}-{row.trimmed_answer}": row for row in rows_of(names)}
    key = f"pair_{run_id}_{pair.iteration}_{pair.split_name}"
    links.bind("pair", key, [ALL, *texts], ALL)
    chosen = texts.get(st.session_state[key])
    selected = (chosen.base_answer, chosen.trimmed_answer) if chosen else None
    st.markdown("###### Between which classes?")

    def pick() -> None:
        points = st.session_state.changed_pairs.selection.points
        st.session_state[key] = list(texts)[points[0]["point_index"]] if points else ALL

    figure = charts.class_pairs(names, selected, labelled)
    elements.chart(figure, "changed_pairs", on_select=pick, selection_mode="points")
    if len(names) > charts.MAX_PAIRS:
        st.caption(f"The {charts.MAX_PAIRS} most frequent of {len(names):,} pairs.")
    st.selectbox(
        "Base answer → new answer", [ALL, *texts], key=key, width=320,
        format_func=lambda text: f"{texts[text].base_answer} → {texts[text].trimmed_answer} ({texts[text].images})"
        if text else f"all {len(found):,}",
    )  # fmt: skip
    if chosen:
        number = {name: place for place, name in enumerate(classes)}
        ends = number[chosen.base_answer], number[chosen.trimmed_answer]
        found = found[(found.base_answer == ends[0]) & (found.trimmed_answer == ends[1])]
    _strip(pair, found, f"shown_{key}_{st.session_state[key]}", labelled)


def _strip(pair: Pair, found: pd.DataFrame, key: str, labelled: bool) -> None:
    shown = st.session_state.setdefault(key, MORE)
    st.caption("Each image with the answer of the base → the answer of the trimmed network, and their confidences. "
               "Those come first in which trimming lowered the confidence in the base's answer the most.")  # fmt: skip
    with st.container(horizontal=True, gap="small", key="changed_images"):
        for row in rows_of(found.head(shown)):
            _image(pair, row, labelled)
    if len(found) > shown:
        st.button(f"Show more ({len(found) - shown:,} left)", key="more_changes", icon=":material/expand_more:",
                  on_click=st.session_state.__setitem__, args=(key, shown + MORE))  # fmt: skip


def _image(pair: Pair, row: Any, labelled: bool) -> None:
    label, was, now = (pair.data.classes[number] for number in (row.label, row.base_answer, row.trimmed_answer))
    short = [plain(shorten(name, charts.MAX_NAME)) for name in (label, was, now)]
    text = f"**{short[1]} → {short[2]}**  \n{percent(row.base_confidence)} → {percent(row.trimmed_confidence)}"
    below = f"label {short[0]} · #{row.image}" if labelled else f"#{row.image}"
    try:
        pixels = picture(pair.split.image(row.image).numpy(), None)
    except DataError:  # the file has gone
        st.caption(f"{text}  \n{below}")
        return
    name = pair.split.name(row.image) if isinstance(pair.split, Folder) else f"image {row.image}"
    st.image(pixels, width=min(MAX_WIDTH, pixels.shape[1]), caption=f"{text}  \n{below}",
             alt=f"{name} of class {label}: {was} before, {now} after trimming")  # fmt: skip
