"""A section of the page Profile: the APoZ of each neuron by class, and how trimming changed each class.

Everything is measured on the validation split, because decisions are based on it. The test split is only used for
evaluation.
"""

from collections.abc import Generator
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.charts import classes as charts
from dashboard.charts.tables import percent
from dashboard.profile import measurement
from dashboard.session import run_network, run_reader
from dashboard.text import plain
from dashboard.widgets import elements
from trimcore.data.batches import Batches
from trimcore.errors import TrimError
from trimcore.evaluation import confusion
from trimcore.evaluation.accuracy import EVALUATION_BATCH
from trimcore.scoring import per_class
from trimcore.scoring.apoz import passes
from trimcore.spec.spec import CLASSIFICATION

MATRIX = 50  # maximum classes of a confusion matrix; for more classes, a list shows the largest increases
ROWS = 40  # maximum classes in the dot plot
WORST = 3  # confusions described in sentences
PAIRS = 20  # confusions in the list


@st.fragment
def section(run_id: str, iteration: int, base: int, layer: str) -> None:
    """Collapsed at first; nothing is measured until it is opened. `base` is the iteration to compare with."""
    with st.expander("APoZ and accuracy by class", key=f"classes_{run_id}", on_change="rerun",
                     icon=":material/category:") as box:  # fmt: skip
        if not box.open:
            return
        try:
            if run_reader.spec_of(run_id).task != CLASSIFICATION:
                st.caption("Only a classification has classes to compare. This run learns another task.")
                return
            subject = run_network.subject(run_id, iteration)
            if subject.data.is_own:
                st.caption("Classes are compared on data sets of images, not on data of your own.")
                return
            examples = measurement.choose_images(len(subject.data.validation), 0, f"class_images_{run_id}")
            _apoz(subject, layer, examples)
            _comparison(run_id, subject, iteration, base, examples)
        except TrimError as error:
            st.warning(plain(f"The classes cannot be shown: {error}."), icon=":material/visibility_off:")


def _apoz(subject: run_network.Subject, layer: str, examples: int) -> None:
    found = _zeros(subject, examples)
    if found is None:
        return
    (apoz, selective), classes = found[layer], subject.data.classes
    original = st.toggle("Sort neurons by index", key=f"class_order_{layer}", persist_state="session")
    order = np.arange(apoz.shape[1]) if original else selective
    elements.chart(charts.class_heatmap(apoz, classes, order), "class_heatmap")
    seen = ~np.isnan(apoz).any(1)
    text = f"APoZ of each neuron of {layer} in each class. Dark: active; bright: mostly zero. "
    text += "" if original else (
        "Neurons are sorted by the class for which they are most active, the most selective first. Neurons that are "
        "never active come last. "
    )  # fmt: skip
    wide, high = (-(-count // most) for count, most in ((len(order), charts.COLUMNS), (seen.sum(), charts.ROWS)))
    if max(wide, high) > 1:
        sizes = " and ".join(f"{size} {noun}" for size, noun in ((wide, "neurons"), (high, "classes")) if size > 1)
        text += f"Each cell is the mean of up to {sizes}. "
    if not seen.all():
        text += f"{(~seen).sum():,} of {len(seen):,} classes have no images here and are not shown."
    st.caption(plain(text.strip()))


def _zeros(subject: run_network.Subject, examples: int) -> dict[str, tuple[np.ndarray, np.ndarray]] | None:
    """For each layer, the APoZ by class, (classes, neurons) float32 because there may be millions of values, and the
    neurons in the order of `per_class.order`."""
    data, count = subject.data, examples or len(subject.data.validation)
    rounds = passes(subject.graph, subject.tolerance)

    def find() -> Generator[int, None, dict[str, tuple[np.ndarray, np.ndarray]]]:
        steps = per_class.counting_by_class(
            subject.graph.model, _batches(subject, examples), data.num_classes, subject.tolerance, graph=subject.graph
        )
        found = yield from steps
        by_layer = {name: own.apoz for name, own in found.layers.items()}
        return {name: (apoz.float().numpy(), per_class.order(apoz).numpy()) for name, apoz in by_layer.items()}

    seconds = rounds * subject.seconds_per_image * count
    return measurement.measure("zeros", (subject.key, examples), find, rounds * count, seconds,
                               f"counting zeros by class on {count:,} images")  # fmt: skip


def _confusions(subjects: list[run_network.Subject], examples: int) -> list[Any] | None:
    """The confusion matrix of each network, int64 (classes, classes)."""
    count = examples or len(subjects[0].data.validation)

    def find() -> Generator[int, None, list[Any]]:
        found = []
        for own in subjects:
            matrix = yield from confusion.confusing(own.graph.model, _batches(own, examples), own.data.num_classes)
            found.append(matrix)
        return found

    seconds = sum(subject.seconds_per_image * count for subject in subjects)
    return measurement.measure("confusion", (*(own.key for own in subjects), examples), find, count, seconds,
                               f"classifying {count:,} images with both networks")  # fmt: skip


def _batches(subject: run_network.Subject, examples: int) -> Batches:
    return Batches(subject.data.validation.subset(examples), subject.data, EVALUATION_BATCH, "cpu")


def _comparison(run_id: str, subject: run_network.Subject, iteration: int, base: int, examples: int) -> None:
    st.markdown("###### Changes since the base")
    if iteration == base:
        st.caption("This is the base. Choose a later iteration above to compare it with the base.")
        return
    matrices = _confusions([run_network.subject(run_id, base), subject], examples)
    if matrices is None:
        return
    before, after = matrices
    names, classes = (_label(base, base), _label(iteration, base)), subject.data.classes
    worse = confusion.broken(before, after, PAIRS)
    sentences = [
        f"- **{plain(classes[true])}** is predicted as **{plain(classes[wrong])}** in {percent(now)} of its images, up "
        f"from {percent(was)}." for true, wrong, was, now in worse[:WORST]
    ]  # fmt: skip
    st.markdown("\n".join(sentences) or "No confusion became more frequent.")
    shares = [confusion.per_class_accuracy(matrix).numpy() for matrix in matrices]
    table = pd.DataFrame({"class": classes, "before": shares[0], "after": shares[1]}).dropna()
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown("###### Accuracy by class")
        worst = (table.after - table.before).sort_values(kind="stable").index[:ROWS]
        elements.chart(charts.class_accuracy(table.loc[worst], *names), "class_accuracy")
        if len(worst) < len(table):
            st.caption(f"The {ROWS} of {len(table):,} classes that lost the most accuracy are shown.")
    with right:
        if len(classes) <= MATRIX:
            st.markdown("###### Change in confusions")
            elements.chart(charts.confusion_change(before.numpy(), after.numpy(), classes), "confusion_change")
            st.caption("Change in the number of images. Correct predictions are on the diagonal.")
        elif worse:
            st.markdown("###### Confusions that increased the most")
            rows = [(classes[t], classes[w], 100 * was, 100 * now) for t, w, was, now in worse]
            share = st.column_config.NumberColumn(format="%.1f %%", help="The share of the images of the true class.")
            listed = pd.DataFrame(rows, columns=["class", "predicted as", *names])
            st.dataframe(
                listed, hide_index=True, alt="The confusions that increased the most, as shares of the class",
                column_config=elements.with_help(listed, dict.fromkeys(names, share)),
            )  # fmt: skip


def _label(iteration: int, base: int) -> str:
    return "base" if iteration == base else f"after {iteration}"
