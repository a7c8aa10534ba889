"""What a page shows stands in the URL, so that a link shares the exact view.

One rule: a link leads once, when it is opened or when the browser's back button reaches it; from then on the widgets
lead and the URL follows. A page binds each widget before it makes it, and writes when it has made all. What is as it
begins does not stand in the URL. What is asked for but not there is said in one line, and the rest of the link is left
out with it: the neuron of another layer is another neuron.

(Streamlit's own `bind="query-params"` drops such values without a word, writes labels, which change with a run's state,
and needs one key for all runs, where here each run keeps its own choice.)
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from dashboard.frame import plain

LONGEST = 40  # characters that are quoted of what a link asks for
SECONDS = 20  # that a notice stays


@dataclass
class Link:
    """A link that was opened on a page: what it asks for, and the names that have been followed."""

    page: str
    asked: dict[str, str]
    followed: set[str] = field(default_factory=set)


def arrive() -> None:
    """Once in each run of the script, when its page is known and before it begins."""
    context = get_script_run_ctx()
    back = getattr(context, "is_history_navigation", False)  # Streamlit promises no such thing
    if "link" not in st.session_state or back:
        st.session_state.link = Link(context.page_script_hash, st.query_params.to_dict())
    elif (link := st.session_state.link) and link.page != context.page_script_hash:
        st.session_state.link = None  # it was meant for the page that was left
    st.session_state.link_texts = {}


def bound(name: str, key: str, options: Iterable, begin=None, text: Callable[..., str] = str) -> None:
    """Give the widget that is made next under `key` its value: what a link asks for under `name`, or else the value
    that it had, or else `begin` (so the widget itself is made without a default). Its value, one of `options`, stands
    in the URL as `text(value)`; None does not."""
    known, first = {text(option): option for option in options}, None if begin is None else text(begin)
    if leads(name):
        st.session_state[key] = read(name, known.__getitem__, begin)
    elif (value := st.session_state.get(key)) is None or text(value) not in known:
        st.session_state[key] = begin
    tell(name, lambda: "" if (now := st.session_state.get(key)) is None or text(now) == first else text(now))


def leads(name: str) -> bool:
    """Whether a link is to be followed in what it says, or does not say, of `name`; asked once for each link."""
    link = st.session_state.link
    if link is None or name in link.followed:
        return False
    link.followed.add(name)
    return True


def read(name: str, known: Callable[[str], object], begin):
    """What the link asks for under `name`, or `begin` where it says nothing, or what is not there: what makes `known`
    raise a LookupError or ValueError."""
    asked = st.session_state.link.asked.get(name)
    if asked is None:
        return begin
    try:
        return known(asked)
    except (LookupError, ValueError):
        quoted = asked if len(asked) <= LONGEST else f"{asked[:LONGEST]}…"
        said = f"The link asks for {name} “{' '.join(quoted.split())}”, which is not there. The rest of it is left out."
        st.toast(plain(said), icon=":material/link_off:", duration=SECONDS)  # outlives a page that begins again
        leave()
        return begin


def leave() -> None:
    """Follow the link no further."""
    st.session_state.link.asked = {}


def tell(name: str, text: Callable[[], str]) -> None:
    """Let `name` stand in the URL as what `text()` is when it is written; not at all where it is empty."""
    st.session_state.link_texts[name] = text


def write() -> None:
    """Write what has been bound and told, all at once: each change of the URL is a step of the back button."""
    before = st.query_params.to_dict()
    told = {name: text() for name, text in st.session_state.link_texts.items()}
    now = {name: value for name, value in (before | told).items() if value or name not in told}
    if now != before:
        st.query_params.from_dict(now)
