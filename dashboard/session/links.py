"""Keep the view of a page in the URL, so that a link shares exactly that view.

A link is applied once: when it is opened, or when the browser's back button reaches it. After that, the URL follows the
widgets. A page binds each widget before it creates it, and writes the URL after it has created all of them. Default
values are not written to the URL. If a value of a link does not exist, one notice says so and the rest of the link is
ignored: the same neuron index in another layer is a different neuron.

(Streamlit's own `bind="query-params"` silently drops such values, writes labels, which change with a run's state, and
needs one key for all runs. Here each run keeps its own choice.)
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from dashboard.text import plain

T = TypeVar("T")
MAX_QUOTED = 40  # characters of a value that a notice quotes
NOTICE_SECONDS = 20  # how long a notice stays


@dataclass
class Link:
    """A link that was opened on a page: its values, and the names that have been applied."""

    page: str
    values: dict[str, str]
    applied: set[str] = field(default_factory=set)


def receive() -> None:
    """Call it once per script run, when the page is known and before it starts."""
    context = get_script_run_ctx()
    page = context.page_script_hash if context else ""
    back = getattr(context, "is_history_navigation", False)  # not part of Streamlit's public API
    if "link" not in st.session_state or back:
        st.session_state.link = Link(page, st.query_params.to_dict())
    elif (link := st.session_state.link) and link.page != page:
        st.session_state.link = None  # it was for the previous page
    st.session_state.link_texts = {}


def bind(name: str, key: str, options: Iterable[Any], default: Any = None, text: Callable[..., str] = str) -> None:
    """Set the value of the widget that is created next under `key`: from the link's `name`, else the value it had, else
    `default` (so the widget itself is created without a default). Its value, one of `options`, is written to the URL as
    `text(value)`, unless it is the default."""
    known, first = {text(option): option for option in options}, None if default is None else text(default)
    if should_apply(name):
        st.session_state[key] = read(name, known.__getitem__, default)
    elif (value := st.session_state.get(key)) is None or text(value) not in known:
        st.session_state[key] = default
    track(name, lambda: "" if (now := st.session_state.get(key)) is None or text(now) == first else text(now))


def should_apply(name: str) -> bool:
    """Whether the link's value for `name`, or its absence, has yet to be applied. True once per link and name."""
    link = st.session_state.link
    if link is None or name in link.applied:
        return False
    link.applied.add(name)
    return True


def read(name: str, known: Callable[[str], T], default: T) -> T:
    """The link's value for `name`, converted by `known`. `default` if the link has none, or if `known` raises a
    LookupError or ValueError because the value does not exist."""
    value = st.session_state.link.values.get(name)
    if value is None:
        return default
    try:
        return known(value)
    except (LookupError, ValueError):
        quoted = value if len(value) <= MAX_QUOTED else f"{value[:MAX_QUOTED]}…"
        text = f"The link contains {name} “{' '.join(quoted.split())}”, which does not exist. The rest is ignored."
        st.toast(plain(text), icon=":material/link_off:", duration=NOTICE_SECONDS)  # survives a rerun of the page
        ignore_rest()
        return default


def ignore_rest() -> None:
    """Apply no further values of the link."""
    st.session_state.link.values = {}


def track(name: str, text: Callable[[], str]) -> None:
    """Write `name` to the URL with the value that `text()` has at that time; leave it out if that is empty."""
    st.session_state.link_texts[name] = text


def write_url() -> None:
    """Write all bound and tracked values at once, because each change of the URL is a step of the back button."""
    before = st.query_params.to_dict()
    tracked = {name: text() for name, text in st.session_state.link_texts.items()}
    now = {name: value for name, value in (before | tracked).items() if value or name not in tracked}
    if now != before:
        st.query_params.from_dict(now)
