"""The steps of a plan: as cards in order, and the chosen one's widgets."""

import itertools

import streamlit as st

from dashboard import criteria, rules, work
from dashboard.charts.many import MANY
from dashboard.planning.beginning import adopt, same_network
from dashboard.sortable import reset_order, sortable
from trimcore import orders
from trimcore.costs import cost_of
from trimcore.graph import ChannelGraph
from trimcore.preview import Seen
from trimcore.spec import Step

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
    steps = work.draft()["step"]
    set_steps(work.draft(), [{**step, "rule": rule, "value": value, "layer": {}} for step in steps])
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
    moved = sortable(items, "steps")
    if moved != ids:
        draft["step"][:] = [by_id[i] for i in moved]
        ids[:] = moved
        st.rerun()  # the steps' numbers are shown elsewhere too


def layers_text(layers: list[str]) -> str:
    """The layers of a step: their names while they can be read."""
    if layers == ["all"]:
        return "all layers"
    return ", ".join(layers) if len(layers) <= NAMED else f"{len(layers)} layers: {layers[0]} … {layers[-1]}"


def caption(step: dict) -> str:
    times = f"{step['iterations']} iteration{'s' if step['iterations'] > 1 else ''}"
    by = "" if step["criterion"] == "apoz" else f" by {criteria.LABELS[step['criterion']]}"
    own = f", own rules for {layers_text(list(step['layer']))}" if step["layer"] else ""
    return f"{step['rule']} {step['value']:g}{by} · {times}{own}"


def edit_step(draft: dict, layers: list[str]) -> None:
    """Widgets for the chosen step; each change is in the draft at once."""
    ids = _ids(draft)
    with st.container(border=True):
        if ids:
            names = {i: f"Step {number}" for number, i in enumerate(ids, 1)}
            picked = st.segmented_control("Edit", ids, default=ids[0], required=True, format_func=names.get,
                                          key=f"edit_{min(ids)}_{len(ids)}")  # fmt: skip
            number = ids.index(picked) if picked in ids else 0
            _edit(draft["step"][number], ids[number], layers)
        with st.container(horizontal=True):
            st.button("Add a step", icon=":material/add:", on_click=_add, args=(draft, layers))
            if ids:
                st.button("Remove this step", icon=":material/delete:", on_click=_remove, args=(draft, number))


def _edit(step: dict, key: str, layers: list[str]) -> None:
    every = step["layers"] == ["all"]
    picked = _choose_layers(layers, layers if every else [name for name in step["layers"] if name in layers], key)
    if picked:
        step["layers"] = ["all"] if picked == layers else picked
        step["layer"] = {name: own for name, own in step["layer"].items() if name in picked}
    else:
        st.warning("A step needs at least one layer; it keeps the ones it had.")
    step["rule"], step["value"] = rules.choose_rule(key, step["rule"], step["value"])
    left, right = st.columns(2)
    step["iterations"] = left.number_input("Iterations", 1, 100, step["iterations"], key=f"{key}_iterations")
    step["criterion"] = right.selectbox(
        "Ranked by", list(criteria.LABELS), list(criteria.LABELS).index(step["criterion"]),
        format_func=criteria.LABELS.get, key=f"{key}_criterion", help=criteria.HELP,
    )  # fmt: skip
    if step["criterion"] != "apoz" and step["rule"] == "absolute":
        st.warning("The rule 'absolute' compares APoZ: choose another rule for this criterion.")
    _own_values(step, key, layers if step["layers"] == ["all"] else step["layers"])


def _choose_layers(layers: list[str], shown: list[str], key: str) -> list[str]:
    """A chip for each layer; where they are many, all of them or a list to search."""
    if len(layers) <= MANY:
        return st.pills("Layers", layers, selection_mode="multi", default=shown, key=f"{key}_layers") or []
    if st.toggle(f"All {len(layers)} layers", shown == layers, key=f"{key}_all"):
        return layers
    picked = _search("Layers", layers, [] if shown == layers else shown, f"{key}_layers")
    return sorted(picked, key=layers.index)


def _search(label: str, names: list[str], begin: list[str], key: str) -> list[str]:
    """Some of many names. `begin` is what is chosen when it is first shown, or was forgotten on another page."""
    st.session_state[key] = [name for name in st.session_state.get(key, begin) if name in names]
    return st.multiselect(label, names, key=key, placeholder="none; type to search")


def _own_values(step: dict, key: str, layers: list[str]) -> None:
    """A value of its own for single layers of the step, with the rule that it was given for."""
    with st.expander("Another value for single layers", icon=":material/tune:"):
        names = _search("Layers with a value of their own", layers, list(step["layer"]), f"{key}_own")
        before, step["layer"] = step["layer"], {}
        for name in names:
            own = before.get(name, {"rule": step["rule"], "value": step["value"]})
            low, high, unit, _ = rules.RANGES[own["rule"]]
            kind = st.slider if isinstance(unit, float) else st.number_input
            value = kind(f"{own['rule']} for {name}", low, high, type(unit)(min(max(own["value"], low), high)), unit,
                         key=f"{key}_{name}_{own['rule']}")  # fmt: skip
            step["layer"][name] = {"rule": own["rule"], "value": float(value)}


def _add(draft: dict, layers: list[str]) -> None:
    used = {name for step in draft["step"] for name in step["layers"]}
    rest = [name for name in layers if name not in used]
    set_steps(draft, [*draft["step"], _new_step(rest[-1:] or layers[-1:])])


def _remove(draft: dict, number: int) -> None:
    set_steps(draft, [step for k, step in enumerate(draft["step"]) if k != number])
