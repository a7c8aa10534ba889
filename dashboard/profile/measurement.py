"""Measurements on demand: with a progress bar, after a button if they take long, and cached."""

from collections.abc import Callable, Generator, Hashable
from typing import Any, TypeVar

import streamlit as st

from dashboard.session import run_network
from dashboard.text import duration

T = TypeVar("T")
CHOICES = (run_network.QUICK_IMAGES, 2_000)
QUICK = 10.0  # seconds; longer measurements wait for a button
MAX_CACHED = {"neuron": 64, "maps": 32, "zeros": 3, "confusion": 16}  # results per kind; `zeros` has a row per neuron


def choose_images(total: int, default: int, key: str) -> int:
    """The number of images to use, 0 for all. A choice is shown only if there are many images."""
    options = [n for n in CHOICES if n < total] + [0]
    if len(options) == 1:
        return 0
    return st.segmented_control(
        "Images", options, default=default if default in options else 0, required=True, key=key,
        persist_state="session", format_func=lambda n: f"{n:,}" if n else f"all {total:,}",
        help="The first images of the validation split.",
    )  # fmt: skip


def measure(
    kind: str, key: Hashable, find: Callable[[], Generator[int, None, T]], total: int, seconds: float, what: str
) -> T | None:
    """The return value of `find()`, which yields how many of `total` images are done. Cached under `kind` and `key`.

    A progress bar shows the text `what`. A long measurement waits for a button and returns None until it is pressed.
    Raises what `find` raises.
    """
    cache = _cache(kind)
    found: T | None = cache.pop(key, None)
    if found is None:
        button_key = f"look_{kind}_{hash(key)}"
        label = f"Measure now (about {duration(seconds)})"
        if seconds > QUICK and not st.button(label, key=button_key, icon=":material/search:"):
            return None
        found = _with_bar(find(), total, f"{what} (about {duration(seconds)})")
    cache[key] = found  # ordered by last use
    while len(cache) > MAX_CACHED[kind]:
        cache.pop(next(iter(cache)), None)
    return found


def _with_bar(steps: Generator[int, None, T], total: int, what: str) -> T:
    text, place = f"{what[0].upper()}{what[1:]}…", st.empty()
    place.progress(0.0, text)
    try:
        while True:
            place.progress(min(1.0, next(steps) / max(total, 1)), text)
    except StopIteration as end:
        found: T = end.value
        return found
    finally:
        steps.close()
        place.empty()


@st.cache_resource(show_spinner=False)
def _cache(kind: str) -> dict[Hashable, Any]:
    return {}
