"""A list of cards that the user can reorder by dragging, with the keyboard, or with each card's arrow buttons."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import streamlit as st

_HERE = Path(__file__).parent
_html, _css, _js = ((_HERE / f"sortable.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js"))
_mount = st.components.v2.component("trimcore_sortable", html=_html, css=_css, js=_js)


def sortable(
    items: list[dict[str, Any]], key: str, on_move: Callable[[list[str]], None] = lambda ids: None
) -> list[str]:
    """Show `items` as cards and return their ids in the user's order. `on_move` is called with a new order before the
    page is rerun, like a callback.

    items: dicts with id (unique), title and caption, in the initial order. A page may pass the same list on every run,
    or pass back the returned order. Adding and removing items keeps the order of the others; a list in a new order is
    shown as given. To return to an order that was given before, call `reset_order` first.
    """
    given = [item["id"] for item in items]
    if len(set(given)) < len(given):
        raise ValueError(f"ids of items must be unique, got {given}")
    memory = st.session_state.get(_slot(key), {"given": given, "order": given, "revision": 0})
    moved = _moved(key)
    fresh = moved if moved and moved["revision"] != memory["revision"] else None
    if [i for i in given if i in memory["order"]] in (_common(memory["given"], given), _common(memory["order"], given)):
        order = merge_order(given, fresh["ids"] if fresh else memory["order"])
    else:
        order = given
    revision = fresh["revision"] if fresh else memory["revision"]
    # Stored under a separate key, because Streamlit discards a widget's state while another page is open.
    st.session_state[_slot(key)] = {"given": given, "order": order, "revision": revision}
    by_id = {item["id"]: item for item in items}
    cards = [{"id": i, "title": by_id[i]["title"], "caption": by_id[i].get("caption", "")} for i in order]
    _mount(
        key=key, data={"items": cards, "revision": revision},
        on_moved_change=lambda: on_move(merge_order(given, st.session_state[key]["moved"]["ids"])),
    )
    return order


def reset_order(key: str) -> None:
    """Discard the user's order, so that the next `sortable` with this key shows its items as given."""
    moved = _moved(key)
    memory = st.session_state.get(_slot(key), {"revision": 0})
    revision = moved["revision"] if moved else memory["revision"]
    st.session_state[_slot(key)] = {"given": [], "order": [], "revision": revision}


def merge_order(given: list[str], order: list[str]) -> list[str]:
    """`order` without ids that are not in `given`. An id that `order` lacks follows its predecessor in `given`.

    merge_order(["a", "b", "c"], ["c", "a", "x"]) -> ["c", "a", "b"]
    """
    merged = [i for i in dict.fromkeys(order) if i in given]
    for place, identity in enumerate(given):
        if identity not in merged:
            merged.insert(merged.index(given[place - 1]) + 1 if place else 0, identity)
    return merged


def _common(ids: list[str], given: list[str]) -> list[str]:
    return [i for i in ids if i in given]


def _slot(key: str) -> str:
    return f"{key}:order"


def _moved(key: str) -> dict[str, Any] | None:
    """The browser's last message: ids in their new order, and a revision that grows with each move. None before."""
    moved: dict[str, Any] | None = st.session_state.get(key, {}).get("moved")
    return moved
