"""What does one neuron do? A card on the Profile page: chosen in the table or by number, measured when it is chosen."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import streamlit as st
from plotly.colors import sample_colorscale

from dashboard import by_hand, frame, glossary, looking
from dashboard.charts import neuron as charts
from dashboard.charts.tables import counted, percent
from dashboard.frame import plain
from trimcore.errors import DataError, TrimError
from trimcore.evaluation import inspection
from trimcore.evaluation.inspection import Neuron

PASSES = inspection.PASSES + 1  # forward passes of a look: one of PASSES measures without the neuron too
STRIP = 7  # pictures in a row
SIDE = 96  # pixels of a picture
PALETTE = np.array(sample_colorscale("Cividis", np.linspace(0, 1, 256), colortype="tuple"))


def table(listed: pd.DataFrame, key: str, **settings) -> None:
    """A table of neurons, column `neuron`: choosing a row, or a number below it, chooses the neuron `chosen(key)`."""
    rows, numbers = f"{key}_rows", listed.neuron.tolist()

    def pick() -> None:
        found = st.session_state[rows]["selection"]["rows"]
        st.session_state[key] = numbers[found[0]] if found else None

    st.dataframe(listed, hide_index=True, key=rows, on_select=pick, selection_mode="single-row", **settings)
    st.number_input(
        "Look at neuron", 0, len(numbers) - 1, value=None, key=key, persist_state="session",
        placeholder="choose a row, or type its number", help=glossary.about("neuron"),
    )  # fmt: skip


@st.fragment
def card(run_id: str, iteration: int, layer: str, neuron: int, original: int) -> None:
    """All about one neuron; `neuron` is its number in the network of the iteration, `original` in the base model."""
    with st.container(border=True, key="neuron_card"):
        also = f" (in the base model {original})" if original != neuron else ""
        st.markdown(f"##### What does neuron {neuron} of {plain(layer)} do?{also}")
        try:
            subject = looking.subject(run_id, iteration)
            total = len(subject.data.validation)
            examples = looking.images_choice(total, looking.FEW, f"neuron_images_{run_id}")
            found = _look(subject, layer, neuron, examples)
            if found is None:
                return
            strip = _strip_images(subject, run_id)
            maps = _maps(subject, layer, neuron, tuple(image for image, *_ in found.exciting), tuple(strip))
        except TrimError as error:
            st.warning(plain(f"This neuron cannot be looked at: {error}."), icon=":material/visibility_off:")
            return
        by_hand.controls(run_id, layer, original)
        _numbers(found)
        left, right = st.columns(2, gap="large")
        with left:
            _filter(found)
        with right:
            _activations(found)
        with left:
            st.markdown("###### For which classes is it silent?")
            frame.chart(charts.apoz_by_class(found.apoz_by_class.numpy(), subject.data.classes), "neuron_classes")
        with right:
            _cost(found)
        _exciting(subject, found, maps)
        _strip(subject, strip, maps)


def _look(subject: looking.Subject, layer: str, neuron: int, examples: int) -> Neuron | None:
    total, data = examples or len(subject.data.validation), subject.data

    def find():
        return inspection.inspecting(subject.graph, layer, neuron, data.validation, data, "cpu", examples=examples,
                                     tolerance=subject.tolerance, most=STRIP)  # fmt: skip

    return looking.look("neuron", (subject.mark, layer, neuron, examples), find, inspection.PASSES * total,
                        PASSES * subject.pace * total, f"looking at {total:,} images")  # fmt: skip


def _maps(subject: looking.Subject, layer: str, neuron: int, *images: tuple[int, ...]) -> dict[int, np.ndarray]:
    """The neuron's maps, (h, w), on images of the validation split; unreadable ones are left out."""
    found: dict[int, np.ndarray] = {}
    for chosen in filter(None, images):
        key = (subject.mark, layer, neuron, chosen)
        seconds = (PASSES + 1) * subject.pace * len(chosen)
        what = f"drawing its maps of {len(chosen)} images"
        seen = looking.look("maps", key, lambda now=chosen: _seen(subject, layer, neuron, now), 1, seconds, what)
        found |= seen or {}
    return found


def _seen(subject: looking.Subject, layer: str, neuron: int, images: tuple[int, ...]):
    yield 0
    split, places = subject.data.validation.take(list(images)), range(len(images))
    try:
        own = inspection.inspect(subject.graph, layer, neuron, split, subject.data, "cpu", images=places, most=0)
    except DataError:  # none of these few can be read
        return {}
    return {images[i]: map.numpy() for i, map in own.maps.items()}


def _numbers(found: Neuron) -> None:
    seen, change = found.before.examples, found.without.accuracy - found.before.accuracy
    frame.metrics(
        ("Zero on", f"{found.apoz:.1%} of positions", "Its APoZ on these images."),
        ("Silent on", f"{found.silent:,} of {seen:,}", "Images on which all of its map is zero."),
        ("Accuracy without it", f"{found.without.accuracy:.2%}",
         f"Before: {found.before.accuracy:.2%}, on {seen:,} images of the validation split; nothing is retrained."),
        ("Change", f"{100 * change:+.2f} points", "Of accuracy, when it alone is held at zero."),
        ("Loss", f"{found.without.loss - found.before.loss:+.4f}", f"Before: {found.before.loss:.4f}."),
        ("Parameters saved", f"{found.parameters:,}", "That go with it."),
        ("MACs saved", f"{found.macs:,}", "Multiply-accumulates of one example that go with it."),
    )  # fmt: skip


def _filter(found: Neuron) -> None:
    shape = tuple(found.weights.shape)
    small = f", of {counted(shape[0], 'input')} the strongest {charts.SLICES}" if shape[0] > charts.SLICES else ""
    st.markdown("###### What does it look for?")
    bias = "no bias" if found.bias is None else f"bias {found.bias:+.4f}"
    what = f"Weights {'×'.join(map(str, shape))}{small if len(shape) > 1 and found.weights[0].numel() > 1 else ''}"
    most = float(found.weights.abs().max())
    st.caption(f"{what}; {bias}, norm {found.norm:.4f}. From −{most:.3g} (blue) to +{most:.3g} (orange); the numbers "
               "are those of its inputs.")  # fmt: skip
    frame.chart(charts.filter_slices(found.weights.numpy()), "neuron_filter")


def _activations(found: Neuron) -> None:
    counts = found.histogram.numpy()
    share = found.exact_zeros / max(1, found.exact_zeros + int(counts.sum()))
    st.markdown("###### How strongly does it fire?")
    st.caption(f"Exactly zero on {percent(share)} of positions; the others:")
    if counts.sum():
        frame.chart(charts.activation_histogram(counts, found.edges.numpy(), found.exact_zeros), "neuron_activations")
    else:
        st.info("It never fires on these images.", icon=":material/blur_off:")


def _cost(found: Neuron) -> None:
    st.markdown("###### What goes with it?")
    others = [i for i in found.together if i not in found.mates]
    if len(others) > 1:
        st.caption(f"{len(others)} neurons of the layer only go together: {_some(others)}.")
    if found.mates:
        st.caption(f"It shares a maxout unit with {_some(found.mates)}. Measured is the neuron alone; by APoZ or by "
                   "hand the whole unit goes.")  # fmt: skip
    takes = pd.DataFrame({"tensor": list(found.takes), "weights": list(found.takes.values())})
    st.dataframe(
        takes, hide_index=True, height=min(245, 38 + 35 * len(takes)), alt="Tensors that become smaller without it",
        column_config=frame.explained(
            takes, {"weights": st.column_config.NumberColumn("weights that go", format="localized")}
        ),
    )  # fmt: skip


def _some(numbers: Sequence[int], most: int = 12) -> str:
    told = ", ".join(map(str, numbers[:most]))
    return told if len(numbers) <= most else f"{told}, … ({len(numbers)})"


def _exciting(subject: looking.Subject, found: Neuron, maps: dict[int, np.ndarray]) -> None:
    st.markdown("###### Which images excite it most?")
    if not found.exciting:
        st.caption("None: it is zero on all of them.")
        return
    where = "" if found.size == (1, 1) else "; below each its feature map, from blue (lowest) to yellow (highest)"
    st.caption(f"With the largest activation, and the class{where}.")
    _pictures(subject, {image: f"{most:.3g}" for image, most, _ in found.exciting}, maps)


def _strip_images(subject: looking.Subject, run_id: str) -> range:
    total = len(subject.data.validation)
    first = int(st.session_state.get(_strip_key(subject), 0))
    return range(min(first, total - 1), min(first + STRIP, total))


def _strip_key(subject: looking.Subject) -> str:
    return f"neuron_strip_{subject.data.name}"


def _strip(subject: looking.Subject, images: range, maps: dict[int, np.ndarray]) -> None:
    st.markdown("###### What does it make of other images?")
    st.number_input(f"Images of the validation split, {STRIP} from number", 0, len(subject.data.validation) - 1,
                    help="The first that is shown, counted from 0.", step=STRIP, key=_strip_key(subject),
                    persist_state="session", width=280)  # fmt: skip
    _pictures(subject, {image: f"{maps[image].max():.3g}" for image in images if image in maps}, maps)


def _pictures(subject: looking.Subject, told: dict[int, str], maps: dict[int, np.ndarray]) -> None:
    """Pictures with what is `told` of each, over their feature maps, which share one scale."""
    own = [maps[image] for image in told if image in maps]
    low, high = (min(0.0, *(float(m.min()) for m in own)), max(float(m.max()) for m in own)) if own else (0.0, 1.0)
    split, classes = subject.data.validation, subject.data.classes
    with st.container(horizontal=True, gap="small"):
        for image, text in told.items():
            label = classes[int(split.labels[image])]
            st.image(
                picture(split.image(image).numpy(), maps.get(image), low, high), width=SIDE,
                caption=f"**{plain(label)}** · {text}  \nimage {image}",
                alt=f"image {image} of class {label}, activation {text}",
            )  # fmt: skip


def picture(pixels: np.ndarray, map: np.ndarray | None, low: float = 0.0, high: float = 1.0) -> np.ndarray:
    """An image (C, H, W) uint8, enlarged without blurring, and its feature map (h, w) in Cividis from `low` to `high`
    below it, as large; nothing below for a map of one position. (height, side, 3) uint8"""
    side = pixels.shape[-1] * max(1, -(-SIDE // pixels.shape[-1]))
    image = _enlarged(pixels.transpose(1, 2, 0), side)
    image = np.broadcast_to(image, (side, side, 3)) if image.shape[2] == 1 else image
    if map is None or map.size == 1:
        return np.ascontiguousarray(image)
    level = (255 * ((map - low) / ((high - low) or 1.0)).clip(0, 1)).round().astype(int)
    gap = np.full((4, side, 3), 128, np.uint8)
    return np.concatenate([image, gap, (255 * _enlarged(PALETTE[level], side)).round().astype(np.uint8)])


def _enlarged(values: np.ndarray, side: int) -> np.ndarray:
    """(h, w, ...) -> (side, side, ...), each place that of the nearest value."""
    rows, columns = (np.arange(side) * n // side for n in values.shape[:2])
    return values[rows][:, columns]


