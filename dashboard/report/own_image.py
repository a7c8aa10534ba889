"""An image that a viewer drops in, a part of What changed? on the page Report: both networks answer it."""

import threading
from typing import Any

import streamlit as st

from dashboard.charts import changes as charts
from dashboard.report.pair import Pair
from dashboard.text import plain
from dashboard.widgets import elements
from dashboard.widgets.pictures import picture
from trimcore.errors import TrimError
from trimcore.evaluation.own_image import Answered, answer, read_own
from trimcore.system.image_sandbox import ENDINGS, MAX_BYTES

MAX_WIDTH = 160  # pixels of the picture
_DECODING = threading.Lock()  # one image at a time, because each may take a lot of memory


def section(pair: Pair) -> None:
    """A place for a file, and the answers to it."""
    st.markdown("###### An image of your own")
    file = st.file_uploader("Drop in an image", list(ENDINGS), max_upload_size=MAX_BYTES >> 20, key="own_image",
                            help="Both networks answer it. It is not stored.")  # fmt: skip
    if file is None:
        return
    key = (file.file_id, pair.base.key, pair.trimmed.key)
    if st.session_state.get("own_answer", (None,))[0] != key:
        try:
            with st.spinner("Decoding the image in a separate process, and asking both networks…"):
                with _DECODING:
                    pixels = read_own(file.getvalue(), file.name, pair.data)
                st.session_state.own_answer = (key, pixels, answer(*pair.networks, pixels, pair.data, "cpu"))
        except TrimError as error:
            st.session_state.own_answer = (key, None, str(error))
    _, pixels, found = st.session_state.own_answer
    if pixels is None:
        st.error(plain(f"{found}."), icon=":material/broken_image:")
        return
    _show(pair, picture(pixels.numpy(), None), found)


def _show(pair: Pair, pixels: Any, found: Answered) -> None:
    named = found.classes.assign(**{"class": [pair.data.classes[number] for number in found.classes["class"]]})
    best = {column: named["class"].iloc[named[column].argmax()] for column in ("base", "trimmed")}
    left, right = st.columns([1, 4], gap="medium")
    with left:
        st.image(pixels, width=min(MAX_WIDTH, pixels.shape[1]), caption="as the networks see it",
                 alt="The image as the networks see it")  # fmt: skip
    with right:
        elements.metrics(
            ("Base", str(best["base"])), ("Trimmed", str(best["trimmed"])),
            ("Time of the base", f"{found.base_ms:.2f} ms"),
            ("Time of the trimmed network", f"{found.trimmed_ms:.2f} ms"),
        )  # fmt: skip
        elements.chart(charts.answers(named), "own_answers")
