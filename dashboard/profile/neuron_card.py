"""A card on the page Profile that inspects one neuron, chosen in the table or by index. It is measured when chosen."""

from collections.abc import Generator, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from dashboard import glossary
from dashboard.charts import neuron as charts
from dashboard.charts.tables import counted, percent
from dashboard.profile import manual_cuts, measurement
from dashboard.session import run_network, run_reader
from dashboard.text import plain
from dashboard.widgets import elements
from dashboard.widgets.pictures import SIDE, picture
from trimcore.data.items import Items
from trimcore.errors import DataError, TrimError
from trimcore.evaluation import inspection
from trimcore.evaluation.inspection import Neuron
from trimcore.spec.spec import CLASSIFICATION

PASSES = inspection.PASSES + 1  # forward passes: one of inspection.PASSES is repeated without the neuron
STRIP = 7  # images in a row


def table(listed: pd.DataFrame, key: str, **settings: Any) -> None:
    """A table of neurons with a column `neuron`. Choosing a row, or an index below it, stores the index under `key`."""
    rows, numbers = f"{key}_rows", listed.neuron.tolist()

    def pick() -> None:
        found = st.session_state[rows]["selection"]["rows"]
        st.session_state[key] = numbers[found[0]] if found else None

    st.dataframe(listed, hide_index=True, key=rows, on_select=pick, selection_mode="single-row", **settings)
    st.number_input(
        "Inspect neuron", 0, len(numbers) - 1, value=None, key=key, persist_state="session",
        placeholder="Select a row or type an index", help=glossary.about("neuron"),
    )  # fmt: skip


@st.fragment
def card(run_id: str, iteration: int, layer: str, neuron: int, original: int) -> None:
    """The card of one neuron. `neuron` is its index in the network of the iteration, `original` in the base network."""
    with st.container(border=True, key="neuron_card"):
        also = f" ({original} in the base network)" if original != neuron else ""
        st.markdown(f"##### Neuron {neuron} of {plain(layer)}{also}")
        try:
            if run_reader.spec_of(run_id).task != CLASSIFICATION:
                _without_images(run_id, layer, original, "This run learns another task.")
                return
            subject = run_network.subject(run_id, iteration)
            if subject.data.is_own:
                _without_images(run_id, layer, original, "Data of your own have no images that can be drawn.")
                return
            total = len(subject.data.validation)
            examples = measurement.choose_images(total, run_network.QUICK_IMAGES, f"neuron_images_{run_id}")
            found = _inspect(subject, layer, neuron, examples)
            if found is None:
                return
            strip = _strip_images(subject, run_id)
            maps = _maps(subject, layer, neuron, tuple(image for image, *_ in found.exciting), tuple(strip))
        except TrimError as error:
            st.warning(plain(f"This neuron cannot be inspected: {error}."), icon=":material/visibility_off:")
            return
        manual_cuts.controls(run_id, layer, original)
        _numbers(found)
        left, right = st.columns(2, gap="large")
        with left:
            _filter(found)
        with right:
            _activations(found)
        with left:
            st.markdown("###### APoZ by class")
            elements.chart(charts.apoz_by_class(found.apoz_by_class.numpy(), subject.data.classes), "neuron_classes")
        with right:
            _cost(found)
        _top_images(subject, found, maps)
        _strip(subject, strip, maps)


def _without_images(run_id: str, layer: str, original: int, why: str) -> None:
    """The card of a run whose neurons cannot be inspected; they can still be chosen for removal."""
    manual_cuts.controls(run_id, layer, original)
    st.caption(f"A neuron is inspected on the images of a classification. {why}")


def _inspect(subject: run_network.Subject, layer: str, neuron: int, examples: int) -> Neuron | None:
    total, data = examples or len(subject.data.validation), subject.data

    def find() -> Generator[int, None, Neuron]:
        return inspection.inspecting(subject.graph, layer, neuron, data.validation, data, "cpu", examples=examples,
                                     tolerance=subject.tolerance, most=STRIP)  # fmt: skip

    return measurement.measure("neuron", (subject.key, layer, neuron, examples), find, inspection.PASSES * total,
                               PASSES * subject.seconds_per_image * total,
                               f"inspecting the neuron on {total:,} images")  # fmt: skip


def _maps(subject: run_network.Subject, layer: str, neuron: int, *images: tuple[int, ...]) -> dict[int, np.ndarray]:
    """The neuron's feature maps, (h, w), on images of the validation split. Unreadable images are skipped."""
    found: dict[int, np.ndarray] = {}
    for chosen in filter(None, images):
        key = (subject.key, layer, neuron, chosen)
        seconds = (PASSES + 1) * subject.seconds_per_image * len(chosen)
        what = f"computing feature maps of {len(chosen)} images"
        find = partial(_map_of, subject, layer, neuron, chosen)
        maps = measurement.measure("maps", key, find, 1, seconds, what)
        found |= maps or {}
    return found


def _map_of(
    subject: run_network.Subject, layer: str, neuron: int, images: tuple[int, ...]
) -> Generator[int, None, dict[int, np.ndarray]]:
    yield 0
    split, places = subject.data.validation.take(list(images)), range(len(images))
    try:
        own = inspection.inspect(subject.graph, layer, neuron, split, subject.data, "cpu", images=places, most=0)
    except DataError:  # none of these images can be read
        return {}
    return {images[i]: map.numpy() for i, map in own.maps.items()}


def _numbers(found: Neuron) -> None:
    seen, change = found.before.examples, found.without.value - found.before.value
    elements.metrics(
        ("Zero at", f"{found.apoz:.1%} of positions", "The neuron's APoZ on these images."),
        ("All zero on", f"{found.silent:,} of {seen:,}", "The images on which the whole feature map is zero."),
        ("Accuracy without it", f"{found.without.value:.2%}",
         f"With the neuron: {found.before.value:.2%}. Measured on {seen:,} validation images, without retraining."),
        ("Change", f"{100 * change:+.2f} points", "The change in accuracy when only this neuron is set to zero."),
        *([] if found.before.loss is None or found.without.loss is None else [
            ("Change in loss", f"{found.without.loss - found.before.loss:+.4f}",
             f"The loss with the neuron is {found.before.loss:.4f}."),
        ]),
        ("Parameters saved", f"{found.parameters:,}", "The parameters that are removed with the neuron."),
        ("MACs saved", f"{found.macs:,}", "The multiply-accumulates of one example that are removed with the neuron."),
    )  # fmt: skip


def _filter(found: Neuron) -> None:
    shape = tuple(found.weights.shape)
    small = f", the strongest {charts.SLICES} of {counted(shape[0], 'input')}" if shape[0] > charts.SLICES else ""
    st.markdown("###### Incoming weights")
    bias = "no bias" if found.bias is None else f"bias {found.bias:+.4f}"
    what = f"Weights {'×'.join(map(str, shape))}{small if len(shape) > 1 and found.weights[0].numel() > 1 else ''}"
    most = float(found.weights.abs().max())
    st.caption(f"{what}; {bias}, norm {found.norm:.4f}. Colours range from −{most:.3g} (blue) to +{most:.3g} (orange). "
               "The numbers are input indices.")  # fmt: skip
    elements.chart(charts.filter_slices(found.weights.numpy()), "neuron_filter")


def _activations(found: Neuron) -> None:
    counts = found.histogram.numpy()
    share = found.exact_zeros / max(1, found.exact_zeros + int(counts.sum()))
    st.markdown("###### Activations")
    st.caption(f"{percent(share)} of the activations are exactly zero. The chart shows the others.")
    if counts.sum():
        figure = charts.activation_histogram(counts, found.edges.numpy(), found.exact_zeros)
        elements.chart(figure, "neuron_activations")
    else:
        st.info("The neuron is always zero on these images.", icon=":material/blur_off:")


def _cost(found: Neuron) -> None:
    st.markdown("###### Weights removed with the neuron")
    others = [i for i in found.together if i not in found.mates]
    if len(others) > 1:
        st.caption(f"These {len(others)} neurons of the layer can only be removed together: {_some(others)}.")
    if found.mates:
        st.caption(f"The neuron shares a maxout unit with {_some(found.mates)}. The numbers above are for this neuron "
                   "alone. Removing it by APoZ or manually removes the whole unit.")  # fmt: skip
    takes = pd.DataFrame({"tensor": list(found.takes), "weights": list(found.takes.values())})
    st.dataframe(
        takes, hide_index=True, height=min(245, 38 + 35 * len(takes)),
        alt="Tensors that shrink when the neuron is removed",
        column_config=elements.with_help(
            takes, {"weights": st.column_config.NumberColumn("weights removed", format="localized")}
        ),
    )  # fmt: skip


def _some(numbers: Sequence[int], most: int = 12) -> str:
    text = ", ".join(map(str, numbers[:most]))
    return text if len(numbers) <= most else f"{text}, … ({len(numbers)})"


def _top_images(subject: run_network.Subject, found: Neuron, maps: dict[int, np.ndarray]) -> None:
    st.markdown("###### Images with the highest activation")
    if not found.exciting:
        st.caption("There are none. The neuron is zero on all images.")
        return
    below = " Below each image: its feature map, from blue (lowest) to yellow (highest)."
    st.caption(f"Class and largest activation.{'' if found.size == (1, 1) else below}")
    _pictures(subject, {image: f"{most:.3g}" for image, most, _ in found.exciting}, maps)


def _strip_images(subject: run_network.Subject, run_id: str) -> range:
    total = len(subject.data.validation)
    first = int(st.session_state.get(_strip_key(subject), 0))
    return range(min(first, total - 1), min(first + STRIP, total))


def _strip_key(subject: run_network.Subject) -> str:
    return f"neuron_strip_{subject.data.name}"


def _strip(subject: run_network.Subject, images: range, maps: dict[int, np.ndarray]) -> None:
    st.markdown("###### Other images")
    st.number_input(f"First of {STRIP} validation images", 0, len(subject.data.validation) - 1,
                    help="The index of the first image that is shown, starting at 0.", step=STRIP,
                    key=_strip_key(subject), persist_state="session", width=280)  # fmt: skip
    _pictures(subject, {image: f"{maps[image].max():.3g}" for image in images if image in maps}, maps)


def _pictures(subject: run_network.Subject, captions: dict[int, str], maps: dict[int, np.ndarray]) -> None:
    """Images with their captions, above their feature maps, which share one colour scale."""
    own = [maps[image] for image in captions if image in maps]
    low, high = (min(0.0, *(float(m.min()) for m in own)), max(float(m.max()) for m in own)) if own else (0.0, 1.0)
    split, classes = subject.data.validation, subject.data.classes
    assert not isinstance(split, Items)  # data of the user's own have no card
    with st.container(horizontal=True, gap="small"):
        for image, text in captions.items():
            label = classes[int(split.labels[image])]
            st.image(
                picture(split.image(image).numpy(), maps.get(image), low, high), width=SIDE,
                caption=f"**{plain(label)}** · {text}  \nimage {image}",
                alt=f"image {image} of class {label}, activation {text}",
            )  # fmt: skip
