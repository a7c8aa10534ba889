"""The steps of a plan: cards in order, preset orders, and buttons to add and remove steps."""

import itertools
import math
from typing import Any

import streamlit as st

from dashboard.charts.grouping import MANY
from dashboard.plan import step_editor
from dashboard.text import layers_text
from dashboard.widgets import criteria, draft_steps, rules
from dashboard.widgets.sortable import sortable
from trimcore.graph.channel_graph import ChannelGraph
from trimcore.graph.costs import cost_of
from trimcore.planning import orders
from trimcore.planning.preview import Seen
from trimcore.spec import Step
from trimcore.tables.recorded import mean_apoz

STEPS = 12  # maximum, if an order of many layers is merged


def _ids(draft: dict[str, Any]) -> list[str]:
    """A stable id for each step of the draft, for widgets and for dragging."""
    known: list[str] = st.session_state.setdefault("step_ids", [])
    counter = st.session_state.setdefault("step_counter", itertools.count(1))
    if len(known) != len(draft["step"]) or st.session_state.get("step_of") is not draft["step"]:
        known[:] = [f"step{next(counter)}" for _ in draft["step"]]
        st.session_state.step_of = draft["step"]
    return known


def _new_step(layers: list[str], iterations: int = 1) -> dict[str, Any]:
    return Step(layers=layers, iterations=iterations).model_dump()


def order_buttons(draft: dict[str, Any], graph: ChannelGraph, seen: dict[str, Seen] | None) -> None:
    """A menu of preset orders, which replace the steps."""
    if seen is None:
        return
    layers = list(seen)
    mean = {name: mean_apoz(layer.apoz) for name, layer in seen.items()}
    costs = cost_of(graph).layers
    saved = {name: 0 if math.isnan(mean[name]) else round(costs[name].parameters * mean[name]) for name in layers}

    def reorder() -> None:
        order = orders.ORDERS[st.session_state.order]
        draft_steps.set_steps(draft, [_new_step(step) for step in merged_steps(order(layers, mean, saved))])

    several = f" Several of the {len(layers)} layers share a step." if len(layers) > MANY else ""
    st.menu_button("Order layers…", list(orders.ORDERS), key="order", icon=":material/low_priority:",
                   on_click=reorder, help=f"Replaces the steps below with a preset order.{several}")  # fmt: skip


def merged_steps(order: orders.Order) -> orders.Order:
    """The order with neighbouring layers merged into one step if there would be many, because each step retrains."""
    size = -(-len(order) // STEPS) if len(order) > MANY else 1
    return [[*itertools.chain(*order[first : first + size])] for first in range(0, len(order), size)]


def steps_in_order(draft: dict[str, Any]) -> None:
    """The steps as cards that can be reordered by dragging, with the keyboard or with arrow buttons."""
    ids = _ids(draft)
    st.markdown("##### Steps in order")
    if not ids:
        st.info("The plan has no steps. The run would only train and profile the base network.")
        return
    by_id = dict(zip(ids, draft["step"], strict=True))
    items = [{"id": i, "title": layers_text(step["layers"]), "caption": caption(step)} for i, step in by_id.items()]

    def move(order: list[str]) -> None:
        if set(_ids(draft)) == set(by_id):  # else a button has changed the steps at the same time
            draft["step"][:], ids[:] = [by_id[i] for i in order], order

    sortable(items, "steps", move)


def caption(step: dict[str, Any]) -> str:
    default = criteria.criteria_for(step["rule"])[0]
    times = f"{step['iterations']} iteration{'s' if step['iterations'] > 1 else ''}"
    by = "" if step["criterion"] == default else f" by {criteria.NAMES[step['criterion']]}"
    own = f", separate values for {layers_text(list(step['layer']))}" if step["layer"] else ""
    rounded = f", widths in multiples of {step['multiple']}" if step.get("multiple", 1) > 1 else ""
    return f"{rules.label(step['rule'])} {step['value']:g}{by} · {times}{own}{rounded}"


def edit_step(draft: dict[str, Any], graph: ChannelGraph) -> None:
    """The widgets of the chosen step. Edits apply to the draft immediately."""
    ids = _ids(draft)
    with st.container(border=True):
        if ids:
            names = {i: f"Step {number}" for number, i in enumerate(ids, 1)}
            picked = st.segmented_control("Edit", ids, default=ids[0], required=True, format_func=names.__getitem__,
                                          key=f"edit_{min(ids)}_{len(ids)}")  # fmt: skip
            number = ids.index(picked) if picked in ids else 0
            step_editor.edit(draft["step"][number], ids[number], graph)
        with st.container(horizontal=True):
            st.button("Add step", icon=":material/add:", on_click=_add, args=(draft, graph.trimmable()))
            st.button(
                "Add weight pruning", icon=":material/grain:", on_click=_add_weights, args=(draft,),
                help="Sets the smallest weights to zero. Works best after the steps that remove neurons "
                "(Rueda et al. 2017).",
            )  # fmt: skip
            if ids:
                st.button("Remove step", icon=":material/delete:", on_click=_remove, args=(draft, number))


def _add_weights(draft: dict[str, Any]) -> None:
    draft_steps.set_steps(draft, [*draft["step"], Step(layers=["all"], rule="sparsity", value=0.7).model_dump()])


def _add(draft: dict[str, Any], layers: list[str]) -> None:
    """Add a step for the last layer that has none."""
    used = {name for step in draft["step"] for name in step["layers"]}
    rest = [name for name in layers if name not in used]
    draft_steps.set_steps(draft, [*draft["step"], _new_step(rest[-1:] or layers[-1:])])


def _remove(draft: dict[str, Any], number: int) -> None:
    draft_steps.set_steps(draft, [step for k, step in enumerate(draft["step"]) if k != number])
