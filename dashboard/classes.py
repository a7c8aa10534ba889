"""Which neurons serve which class, and what did the trim do to each class? A section of the Profile page.

All is measured on the validation split, since it helps to choose; the test split is only ever measured.
"""

from collections.abc import Generator

import numpy as np
import pandas as pd
import streamlit as st

from dashboard import frame, looking
from dashboard.charts import classes as charts
from dashboard.charts.tables import percent
from dashboard.frame import plain
from trimcore.data.batches import Batches
from trimcore.errors import TrimError
from trimcore.evaluation import confusion
from trimcore.evaluation.accuracy import EVALUATION_BATCH
from trimcore.scoring import per_class
from trimcore.scoring.apoz import passes

MATRIX = 50  # classes; more are a list of what broke most
ROWS = 40  # classes of the dot plot
WORST = 3  # confusions in words
PAIRS = 20  # in the list


@st.fragment
def section(run_id: str, iteration: int, base: int, layer: str) -> None:
    """Closed until somebody opens it; nothing is measured before. `base` is the iteration to compare with."""
    with st.expander("Which neurons serve which class?", key=f"classes_{run_id}", on_change="rerun",
                     icon=":material/category:") as box:  # fmt: skip
        if not box.open:
            return
        try:
            subject = looking.subject(run_id, iteration)
            examples = looking.images_choice(len(subject.data.validation), 0, f"class_images_{run_id}")
            _serving(subject, layer, examples)
            _compared(run_id, subject, iteration, base, examples)
        except TrimError as error:
            st.warning(plain(f"The classes cannot be looked at: {error}."), icon=":material/visibility_off:")


def _serving(subject: looking.Subject, layer: str, examples: int) -> None:
    found = _zeros(subject, examples)
    if found is None:
        return
    (apoz, selective), classes = found[layer], subject.data.classes
    original = st.toggle("Neurons in the order of the layer", key=f"class_order_{layer}", persist_state="session")
    order = np.arange(apoz.shape[1]) if original else selective
    frame.chart(charts.class_heatmap(apoz, classes, order), "class_heatmap")
    seen = ~np.isnan(apoz).any(1)
    text = f"APoZ of each neuron of {layer} in each class: dark where it fires, bright where it is silent. "
    text += "" if original else (
        "From left to right by the class for which a neuron fires most, the most selective first; those that never "
        "fire come last. "
    )  # fmt: skip
    wide, high = (-(-count // most) for count, most in ((len(order), charts.COLUMNS), (seen.sum(), charts.ROWS)))
    if max(wide, high) > 1:
        of = " and ".join(f"{size} {noun}" for size, noun in ((wide, "neurons"), (high, "classes")) if size > 1)
        text += f"A cell is the mean of up to {of}. "
    if not seen.all():
        text += f"{(~seen).sum():,} classes have no image here and are left out."
    st.caption(plain(text.strip()))


def _zeros(subject: looking.Subject, examples: int) -> dict[str, tuple[np.ndarray, np.ndarray]] | None:
    """Of each layer the APoZ by class, (classes, neurons) float32, since there may be millions, and the neurons in the
    order of `perclass.order`."""
    data, count = subject.data, examples or len(subject.data.validation)
    rounds = passes(subject.graph, subject.tolerance)

    def find() -> Generator[int, None, dict]:
        steps = per_class.counting_by_class(
            subject.graph.model, _batches(subject, examples), data.num_classes, subject.tolerance, graph=subject.graph
        )
        found = yield from steps
        by_layer = {name: own.apoz for name, own in found.layers.items()}
        return {name: (apoz.float().numpy(), per_class.order(apoz).numpy()) for name, apoz in by_layer.items()}

    return looking.look("zeros", (subject.mark, examples), find, rounds * count, rounds * subject.pace * count,
                        f"counting zeros class by class on {count:,} images")  # fmt: skip


def _confusions(subjects: list[looking.Subject], examples: int) -> list | None:
    """The confusion matrix of each, int64 (classes, classes)."""
    count = examples or len(subjects[0].data.validation)

    def find() -> Generator[int, None, list]:
        found = []
        for own in subjects:
            matrix = yield from confusion.confusing(own.graph.model, _batches(own, examples), own.data.num_classes)
            found.append(matrix)
        return found

    seconds = sum(subject.pace * count for subject in subjects)
    return looking.look("confusion", (*(own.mark for own in subjects), examples), find, count, seconds,
                        f"classifying {count:,} images with both networks")  # fmt: skip


def _batches(subject: looking.Subject, examples: int) -> Batches:
    return Batches(subject.data.validation.subset(examples), subject.data, EVALUATION_BATCH, "cpu")


def _compared(run_id: str, subject: looking.Subject, iteration: int, base: int, examples: int) -> None:
    st.markdown("###### What did the trim break?")
    if iteration == base:
        st.caption("This is the base. Choose a later iteration above, where there is one, to compare it with the base.")
        return
    matrices = _confusions([looking.subject(run_id, base), subject], examples)
    if matrices is None:
        return
    before, after = matrices
    names, classes = (_called(base, base), _called(iteration, base)), subject.data.classes
    worse = confusion.broken(before, after, PAIRS)
    told = [
        f"- **{plain(classes[true])}** is taken for **{plain(classes[wrong])}** in {percent(now)} of its images, "
        f"before in {percent(was)}." for true, wrong, was, now in worse[:WORST]
    ]  # fmt: skip
    st.markdown("\n".join(told) or "No confusion became more frequent.")
    shares = [confusion.per_class_accuracy(matrix).numpy() for matrix in matrices]
    table = pd.DataFrame({"class": classes, "before": shares[0], "after": shares[1]}).dropna()
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown("###### Which classes lost most?")
        worst = (table.after - table.before).sort_values(kind="stable").index[:ROWS]
        frame.chart(charts.class_accuracy(table.loc[worst], *names), "class_accuracy")
        if len(worst) < len(table):
            st.caption(f"The {ROWS} of {len(table):,} classes that lost most.")
    with right:
        if len(classes) <= MATRIX:
            st.markdown("###### Which confusions grew, and which shrank?")
            frame.chart(charts.confusion_change(before.numpy(), after.numpy(), classes), "confusion_change")
            st.caption("Images more or fewer than before; the diagonal has those that are recognised.")
        elif worse:
            st.markdown("###### Which confusions grew most?")
            rows = [(classes[t], classes[w], 100 * was, 100 * now) for t, w, was, now in worse]
            share = st.column_config.NumberColumn(format="%.1f %%", help="Share of the images of the class.")
            listed = pd.DataFrame(rows, columns=["class", "taken for", *names])
            st.dataframe(
                listed, hide_index=True, alt="The confusions that grew most, as shares of the class",
                column_config=frame.explained(listed, dict.fromkeys(names, share)),
            )  # fmt: skip


def _called(iteration: int, base: int) -> str:
    return "base" if iteration == base else f"after {iteration}"
