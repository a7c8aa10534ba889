"""The parts of the Plan page: where to begin, steps and their order, training, and the estimate."""

import itertools

import streamlit as st

from dashboard import rules, store, work
from dashboard.sortable import reset_order, sortable
from trimcore import orders, tables
from trimcore.costs import cost_of
from trimcore.errors import TrimError
from trimcore.graph import ChannelGraph
from trimcore.preview import Seen, Stage, preview
from trimcore.spec import Step, parse

CRITERIA = {
    "apoz": "APoZ (the paper's)", "l1": "L1 norm of the weights", "mean-activation": "mean activation",
    "random": "random (the control)",
}  # fmt: skip


# --- where to begin ---


def choose_beginning(draft: dict) -> tuple[str, int] | None:
    """(run, iteration) to branch from, or None for the weights that were chosen on Model."""
    options: list[tuple[str, int] | None] = [None]
    run_id = work.selected_run()
    if run_id and same_network(run_id, draft):
        branches = [(run_id, k) for k in sorted(tables.latest(store.events(run_id), "iteration"))]
        same_base = store.spec_of(run_id).base.weights == draft["base"]["weights"]
        options = branches + options if same_base else options + branches
    fresh = {"": "a new base network", "pretrained": "the pretrained weights"}.get(
        draft["base"]["weights"], "the checkpoint file")  # fmt: skip
    return st.selectbox(
        "Begin from", options, key=f"begin_{run_id}_{len(options)}_{options[0] is None}", persist_state="session",
        format_func=lambda o: fresh if o is None else f"iteration {o[1]} of {store.title(o[0])}",
        help="A run can go on from any iteration of the selected run: its weights are kept, nothing is trained twice.",
    )  # fmt: skip


def same_network(run_id: str, draft: dict) -> bool:
    """Whether the run is of the network and data of the draft."""
    try:
        asked = store.spec_of(run_id)
    except TrimError:
        return False
    return (asked.model, asked.data, asked.image_size) == (draft["model"], draft["data"], draft["image_size"])


def _base_profile(draft: dict) -> str | None:
    """The selected run, if its iteration 0 is what the draft would begin with."""
    run_id = work.selected_run()
    if run_id is None or not same_network(run_id, draft):
        return None
    asked = store.spec_of(run_id)
    return run_id if asked.parent is None and asked.base.weights == draft["base"]["weights"] else None


def profile_to_plan_with(draft: dict, begin: tuple[str, int] | None) -> dict[str, Seen] | None:
    """The profile that the preview goes by: of the beginning, else of the selected run's base if it is the same net."""
    run_id, iteration = begin or (_base_profile(draft), 0)
    if run_id is None:
        return None
    found = store.profile_of(run_id, iteration)
    if found.empty:
        return None
    return {
        layer: Seen(own.apoz.tolist(), own.original_neuron.tolist())
        for layer, own in found.groupby("layer", sort=False)
    }


# --- steps ---


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


def adopt(run_id: str) -> None:
    """Make the run's network and data the work at hand; for a button's callback."""
    asked = store.spec_of(run_id)
    kept = asked.model_dump(exclude_none=True, include={"image_size", "device", "base", "retrain", "seed"})
    work.replace_draft({**work.draft_for(asked.model, asked.data), **kept})


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
        set_steps(draft, [_new_step(step) for step in order(layers, mean, saved)])

    st.menu_button("Order the layers…", list(orders.ORDERS), key="order", icon=":material/low_priority:",
                   on_click=reorder, help="Ready-made steps, which replace those below.")  # fmt: skip


def steps_in_order(draft: dict) -> None:
    """The steps as cards that can be dragged, moved by keyboard, or by their arrows."""
    ids = _ids(draft)
    st.markdown("##### Steps, in the order in which they are carried out")
    if not ids:
        st.info("There is no step yet: the run would only train and profile the base network.")
        return
    by_id = dict(zip(ids, draft["step"], strict=True))
    items = [{"id": i, "title": ", ".join(step["layers"]), "caption": caption(step)} for i, step in by_id.items()]
    moved = sortable(items, "steps")
    if moved != ids:
        draft["step"][:] = [by_id[i] for i in moved]
        ids[:] = moved


def caption(step: dict) -> str:
    times = f"{step['iterations']} iteration{'s' if step['iterations'] > 1 else ''}"
    by = "" if step["criterion"] == "apoz" else f" by {CRITERIA[step['criterion']]}"
    own = f", own rules for {', '.join(step['layer'])}" if step["layer"] else ""
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
    shown = layers if every else [name for name in step["layers"] if name in layers]
    picked = st.pills("Layers", layers, selection_mode="multi", default=shown, key=f"{key}_layers") or []
    if picked:
        step["layers"] = ["all"] if every and picked == layers else picked
        step["layer"] = {name: own for name, own in step["layer"].items() if name in picked or every}
    else:
        st.warning("A step needs at least one layer; it keeps the ones it had.")
    step["rule"], step["value"] = rules.choose_rule(key, step["rule"], step["value"])
    left, right = st.columns(2)
    step["iterations"] = left.number_input("Iterations", 1, 100, step["iterations"], key=f"{key}_iterations")
    step["criterion"] = right.selectbox("Ranked by", list(CRITERIA), list(CRITERIA).index(step["criterion"]),
                                        format_func=CRITERIA.get, key=f"{key}_criterion")  # fmt: skip
    if step["criterion"] != "apoz" and step["rule"] == "absolute":
        st.warning("The rule 'absolute' compares APoZ: choose another rule for this criterion.")
    _own_values(step, key, layers if every else step["layers"])


def _own_values(step: dict, key: str, layers: list[str]) -> None:
    """A value of its own for single layers of the step."""
    with st.expander("Another value for single layers", icon=":material/tune:"):
        for name in layers:
            low, high, unit, begin = rules.RANGES[step["rule"]]
            left, right = st.columns([2, 3], vertical_alignment="center")
            own = left.toggle(name, name in step["layer"], key=f"{key}_{name}_own")
            if own:
                now = step["layer"].get(name, {"value": step["value"]})["value"]
                kind = right.slider if isinstance(unit, float) else right.number_input
                value = kind(f"Value for {name}", low, high, type(unit)(min(max(now, low), high)), unit,
                             key=f"{key}_{name}_{step['rule']}", label_visibility="collapsed")  # fmt: skip
                step["layer"][name] = {"rule": step["rule"], "value": float(value)}
            else:
                step["layer"].pop(name, None)


def _add(draft: dict, layers: list[str]) -> None:
    used = {name for step in draft["step"] for name in step["layers"]}
    rest = [name for name in layers if name not in used]
    set_steps(draft, [*draft["step"], _new_step(rest[-1:] or layers[-1:])])


def _remove(draft: dict, number: int) -> None:
    set_steps(draft, [step for k, step in enumerate(draft["step"]) if k != number])


# --- training ---


def training_settings(draft: dict, begin: tuple[str, int] | None) -> None:
    with st.expander("Training, stopping, repeating", icon=":material/settings:"):
        retrain, base = draft["retrain"], draft["base"]
        left, right = st.columns(2)
        work.field(left.number_input, "Epochs after each cut", retrain, "epochs", 0, 1000, group="retrain")
        work.field(right.number_input, "Learning rate", retrain, "lr", 1e-5, 10.0, format="%g", group="retrain")
        work.field(left.number_input, "Batch size", retrain, "batch_size", 1, 65_536, group="retrain")
        work.field(right.selectbox, "Augmentation", retrain, "augment", ["none", "shift", "shift+flip"],
                   group="retrain", help="shift: by up to 1/14 of its size; flip: mirrored.")  # fmt: skip
        if begin is None and base["weights"] in ("", "pretrained"):
            work.field(left.number_input, "Epochs of the base network", base, "epochs", 0, 1000, group="base")
            work.field(right.number_input, "Learning rate of the base", base, "lr", 1e-5, 10.0, format="%g",
                       group="base")  # fmt: skip
        base["augment"] = retrain["augment"]
        work.field(left.number_input, "Seed", draft, "seed", 0, 2**31 - 1)
        work.field(right.number_input, "Examples to profile", draft["profile"], "examples", 0, 10_000_000,
                   help="Of the validation split; 0 is all.")  # fmt: skip
        work.field(left.number_input, "Lowest accuracy, 0 to 1", draft["stop"], "min_accuracy", 0.0, 1.0, step=0.005,
                   format="%.3f", help="The run ends when the validation accuracy after retraining falls below it; "
                   "the iteration before is then the result.")  # fmt: skip
        work.field(right.text_input, "Name of the run", draft, "name", max_chars=80)
        work.field(st.toggle, "Also train the final widths from new weights", draft["control"], "scratch",
                   help="An honest control: does starting from the kept weights help at all?")  # fmt: skip


# --- what comes of it ---


def guessed(draft: dict) -> list[str]:
    """Criteria whose scores are not known before the run, though a rule of theirs goes by the scores."""
    return sorted({CRITERIA[s["criterion"]] for s in draft["step"] if s["criterion"] != "apoz" and is_estimate(s)})


def is_estimate(step: dict) -> bool:
    """Whether what the step removes depends on scores that retraining changes."""
    return step["rule"] in ("mean+std", "absolute") or any(own["rule"] in ("mean+std", "absolute")
                                                           for own in step["layer"].values())  # fmt: skip


def stages(draft: dict, graph: ChannelGraph, seen: dict[str, Seen] | None) -> list[Stage]:
    """The plan carried out on paper. Raises SpecError for a plan that the spec would refuse."""
    if seen is None:  # every neuron alike: rules that count are exact all the same
        seen = {n: Seen([0.0] * graph.layers[n].width, range(graph.layers[n].width)) for n in graph.trimmable()}
    return preview(graph, seen, parse({"step": draft["step"]}).step)


def asked(draft: dict, begin: tuple[str, int] | None) -> dict:
    """The spec's values as the page stands."""
    values = {key: value for key, value in draft.items() if key != "parent"}
    return values if begin is None else {**values, "parent": {"run": begin[0], "iteration": begin[1]}}


def seconds_for(values: dict) -> float | None:
    """About how long the run will take, from epochs that were timed here."""
    seconds = work.epoch_seconds(values["model"], values["data"], values["image_size"])
    if seconds is None:
        return None
    wanted = parse(values)
    epochs = wanted.base_epochs + wanted.iterations * wanted.retrain.epochs
    return seconds * epochs * (2 if values["control"]["scratch"] else 1)
