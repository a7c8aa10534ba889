"""A list of cards that people put in order, by dragging, by keyboard or with each card's arrow buttons."""

from collections.abc import Callable
from pathlib import Path

import streamlit as st

_HERE = Path(__file__).parent
_mount = st.components.v2.component("trimcore_sortable", **{
    kind: (_HERE / f"sortable.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js")
})


def sortable(items: list[dict], key: str, on_move: Callable[[list[str]], None] = lambda ids: None) -> list[str]:
    """Show `items` as cards and return their ids in the order that the user gave them. `on_move` is told of a new order
    before the page is drawn again, as a callback is.

    items: dicts with id (unique), title and caption, in the order to begin with. A page may pass the same list on every
    run or pass back what was returned. Items that come or go keep the order of the others; a list in a new order shows
    as it is given. To go back to an order that was given before, call `reset_order` first.
    """
    given = [item["id"] for item in items]
    if len(set(given)) < len(given):
        raise ValueError(f"ids of items must be unique, got {given}")
    memory = st.session_state.get(_slot(key), {"given": given, "order": given, "revision": 0})
    moved = _moved(key)
    fresh = moved and moved["revision"] != memory["revision"]
    if [i for i in given if i in memory["order"]] in (_common(memory["given"], given), _common(memory["order"], given)):
        order = merge_order(given, moved["ids"] if fresh else memory["order"])
    else:
        order = given
    revision = moved["revision"] if fresh else memory["revision"]
    # Under a name of its own: Streamlit forgets a widget's state while another page is shown.
    st.session_state[_slot(key)] = {"given": given, "order": order, "revision": revision}
    by_id = {item["id"]: item for item in items}
    cards = [{"id": i, "title": by_id[i]["title"], "caption": by_id[i].get("caption", "")} for i in order]
    _mount(
        key=key, data={"items": cards, "revision": revision},
        on_moved_change=lambda: on_move(merge_order(given, _moved(key)["ids"])),
    )
    return order


def reset_order(key: str) -> None:
    """Forget what the user moved, so that the next `sortable` with this key shows its items as given."""
    moved = _moved(key)
    memory = st.session_state.get(_slot(key), {"revision": 0})
    revision = moved["revision"] if moved else memory["revision"]
    st.session_state[_slot(key)] = {"given": [], "order": [], "revision": revision}


def merge_order(given: list[str], order: list[str]) -> list[str]:
    """`order` without ids that are not given; a given id that it lacks follows its predecessor in `given`.

    merge_order(["a", "b", "c"], ["c", "a", "x"]) -> ["c", "a", "b"]
    """
    merged = [i for i in dict.fromkeys(order) if i in given]
    for place, identity in enumerate(given):
        if identity not in merged:
            merged.insert(merged.index(given[place - 1]) + 1 if place else 0, identity)
    return merged


def _common(ids, given):
    return [i for i in ids if i in given]


def _slot(key):
    return f"{key}:order"


def _moved(key):
    """What the browser sent last: ids in their new order, and a revision that grows at each move; None before any."""
    return st.session_state.get(key, {}).get("moved")
