"""The steps of a plan: as cards in order, ready-made orders, and what adds and removes them."""

import itertools

import streamlit as st

from dashboard import criteria, rules, work
from dashboard.charts.many import MANY
from dashboard.planning import card
from dashboard.planning.beginning import adopt, same_network
from dashboard.sortable import reset_order, sortable
from trimcore.graph.channel_graph import ChannelGraph
from trimcore.graph.costs import cost_of
from trimcore.planning import orders
from trimcore.planning.preview import Seen
from trimcore.spec import WEIGHT_RULES, Step

NAMED = 4  # the most layers whose names stand on a card
STEPS = 12  # of an order of very many layers


def _ids(draft: dict) -> list[str]:
    """A stable name for each step of the draft, for widgets and for dragging."""
    known = st.session_state.setdefault("step_ids", [])
    counter = st.session_state.setdefault("step_counter", itertools.count(1))
    if len(known) != len(draft["step"]) or st.session_state.get("step_of") is not draft["step"]:
        known[:] = [f"step{next(counter)}" for _ in draft["step"]]
        st.session_state.step_of = draft["step"]
    return known


def set_steps(draft: dict, steps: list[dict]) -> None:
    """Replace all steps; for callbacks."""
    draft["step"] = steps
    reset_order("steps")


def plan_with(run_id: str, rule: str, value: float) -> None:
    """Plan the run's network with one rule, and open the plan; for a button's callback."""
    if not same_network(run_id, work.draft()):
        adopt(run_id)
    steps = [_by_rule(step, rule, value) for step in work.draft()["step"]]
    set_steps(work.draft(), steps)
    work.go_to("plan")


def _by_rule(step: dict, rule: str, value: float) -> dict:
    """A step that cuts neurons with another rule, but for layers whose units are pruned; one that prunes weights as it
    is."""
    if step["rule"] in WEIGHT_RULES:
        return step
    known = criteria.fitting(rule)
    criterion = step["criterion"] if step["criterion"] in known else known[0]
    inside = {name: own for name, own in step["layer"].items() if own["rule"] == "maxout"}
    return {**step, "rule": rule, "value": value, "layer": inside, "criterion": criterion}


def plan_units(run_id: str, layers: list[str], k: int) -> None:
    """Plan to remove the least relevant neuron of each unit until no maximum is left, and open the plan; for a button's
    callback. (Rueda et al. 2017: k - 1 iterations.)"""
    if not same_network(run_id, work.draft()):
        adopt(run_id)
    set_steps(work.draft(), [Step(layers=layers, rule="maxout", value=1, iterations=k - 1).model_dump()])
    work.go_to("plan")


def _new_step(layers: list[str], iterations: int = 1) -> dict:
    return Step(layers=layers, iterations=iterations).model_dump()


def order_buttons(draft: dict, graph: ChannelGraph, seen: dict[str, Seen] | None) -> None:
    """Ready-made orders, which replace the steps."""
    if seen is None:
        return
    layers = list(seen)
    mean = {name: sum(layer.apoz) / len(layer.apoz) for name, layer in seen.items()}
    costs = cost_of(graph).layers
    saved = {name: round(costs[name].parameters * mean[name]) for name in layers}

    def reorder() -> None:
        order = orders.ORDERS[st.session_state.order]
        set_steps(draft, [_new_step(step) for step in few_steps(order(layers, mean, saved))])

    several = f" Of {len(layers)} layers, neighbours in the order share a step." if len(layers) > MANY else ""
    st.menu_button("Order the layers…", list(orders.ORDERS), key="order", icon=":material/low_priority:",
                   on_click=reorder, help=f"Ready-made steps, which replace those below.{several}")  # fmt: skip


def few_steps(order: orders.Order) -> orders.Order:
    """The order with neighbours in one step where there would be very many: each step costs a retraining."""
    size = -(-len(order) // STEPS) if len(order) > MANY else 1
    return [[*itertools.chain(*order[first : first + size])] for first in range(0, len(order), size)]


def steps_in_order(draft: dict) -> None:
    """The steps as cards that can be dragged, moved by keyboard, or by their arrows."""
    ids = _ids(draft)
    st.markdown("##### Steps, in the order in which they are carried out")
    if not ids:
        st.info("There is no step yet: the run would only train and profile the base network.")
        return
    by_id = dict(zip(ids, draft["step"], strict=True))
    items = [{"id": i, "title": layers_text(step["layers"]), "caption": caption(step)} for i, step in by_id.items()]

    def move(order: list[str]) -> None:
        if set(_ids(draft)) == set(by_id):  # else a button has changed the steps in the same moment
            draft["step"][:], ids[:] = [by_id[i] for i in order], order

    sortable(items, "steps", move)


def layers_text(layers: list[str]) -> str:
    """The layers of a step: their names while they can be read."""
    if layers == ["all"]:
        return "all layers"
    return ", ".join(layers) if len(layers) <= NAMED else f"{len(layers)} layers: {layers[0]} … {layers[-1]}"


def caption(step: dict) -> str:
    times = f"{step['iterations']} iteration{'s' if step['iterations'] > 1 else ''}"
    by = "" if step["criterion"] == criteria.fitting(step["rule"])[0] else f" by {criteria.LABELS[step['criterion']]}"
    own = f", own rules for {layers_text(list(step['layer']))}" if step["layer"] else ""
    rounded = f", widths in multiples of {step['multiple']}" if step.get("multiple", 1) > 1 else ""
    return f"{rules.called(step['rule'])} {step['value']:g}{by} · {times}{own}{rounded}"


def edit_step(draft: dict, graph: ChannelGraph) -> None:
    """Widgets for the chosen step; each change is in the draft at once."""
    ids = _ids(draft)
    with st.container(border=True):
        if ids:
            names = {i: f"Step {number}" for number, i in enumerate(ids, 1)}
            picked = st.segmented_control("Edit", ids, default=ids[0], required=True, format_func=names.get,
                                          key=f"edit_{min(ids)}_{len(ids)}")  # fmt: skip
            number = ids.index(picked) if picked in ids else 0
            card.edit(draft["step"][number], ids[number], graph)
        with st.container(horizontal=True):
            st.button("Add a step", icon=":material/add:", on_click=_add, args=(draft, graph.trimmable()))
            st.button(
                "Add a weight pruning step", icon=":material/grain:", on_click=_add_weights, args=(draft,),
                help="Holds the smallest weights at zero, best after the steps that cut neurons (Rueda et al. 2017).",
            )  # fmt: skip
            if ids:
                st.button("Remove this step", icon=":material/delete:", on_click=_remove, args=(draft, number))


def _add_weights(draft: dict) -> None:
    set_steps(draft, [*draft["step"], Step(layers=["all"], rule="sparsity", value=0.7).model_dump()])


def _add(draft: dict, layers: list[str]) -> None:
    """A step on the last layer that has none."""
    used = {name for step in draft["step"] for name in step["layers"]}
    rest = [name for name in layers if name not in used]
    set_steps(draft, [*draft["step"], _new_step(rest[-1:] or layers[-1:])])


def _remove(draft: dict, number: int) -> None:
    set_steps(draft, [step for k, step in enumerate(draft["step"]) if k != number])
