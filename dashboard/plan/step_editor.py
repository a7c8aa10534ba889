"""The widgets of one step: what it prunes, in which layers, by which rule and how often. Edits apply immediately."""

from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard import glossary
from dashboard.charts.grouping import MANY
from dashboard.session import drafts
from dashboard.widgets import criteria, rules
from trimcore.graph.channel_graph import ChannelGraph
from trimcore.spec import WEIGHT_RULES, Step
from trimcore.spec.spec import CLASSIFICATION
from trimcore.surgery.magnitude import prunable

KINDS = {"neurons": "remove neurons", "weights": "prune weights"}


def edit(step: dict[str, Any], key: str, graph: ChannelGraph) -> None:
    kinds = {"neurons": layers_for("mean+std", graph) or list(graph.units), "weights": list(prunable(graph.model))}
    offered = [name for name in KINDS if kinds[name]] or list(KINDS)
    before = "weights" if step["rule"] in WEIGHT_RULES else "neurons"
    kind = st.segmented_control(
        "Step type", offered, default=before if before in offered else offered[0], required=True,
        format_func=KINDS.__getitem__, key=f"{key}_kind",
        help="Removing neurons makes the network itself smaller. Pruned weights are set to zero and stay zero during "
        "retraining. The shape of the network stays the same; only a sparse file becomes smaller.",
    )  # fmt: skip
    if kind != before:
        _replace(step, Step(layers=["all"], **_default_rule(kind)).model_dump())
    known = list(WEIGHT_RULES) if kind == "weights" else _rules_for(graph)
    rule, step["value"] = rules.choose_rule(f"{key}_{kind}", step["rule"], step["value"], known)
    if rule != step["rule"]:
        step["layer"] = {}  # the separate values were for another rule
    step["rule"], layers = rule, layers_for(rule, graph)
    every = step["layers"] == ["all"]
    shown = layers if every else [name for name in step["layers"] if name in layers]
    if picked := choose_layers(layers, shown, f"{key}_{_layer_kind(rule)}"):
        step["layers"] = ["all"] if picked == layers else picked
        step["layer"] = {name: own for name, own in step["layer"].items() if name in picked}
    else:
        st.warning("A step needs at least one layer. It keeps its previous layers until you choose one.")
    left, right = st.columns(2)
    step["iterations"] = left.number_input("Iterations", 1, 100, step["iterations"], key=f"{key}_iterations",
                                            help=glossary.about("iterations"))  # fmt: skip
    _choose_criterion(step, key, right)
    _own_epochs(step, key, left)
    _choose_multiple(step, key, right)
    if kind == "weights" and step["iterations"] > 1:
        st.caption(
            "The value rises over the iterations, fastest at first (Zhu and Gupta 2017)." if rule != "quality"
            else "The value rises over the iterations in equal steps."
        )  # fmt: skip
    if rule not in ("sparsity-overall", "smaller"):  # these have one value for all layers
        _own_values(step, key, layers if step["layers"] == ["all"] else step["layers"])


def layers_for(rule: str, graph: ChannelGraph) -> list[str]:
    """The layers to which a rule can be applied, in depth order."""
    if rule in WEIGHT_RULES:
        return list(prunable(graph.model))
    return list(graph.units) if rule == "maxout" else graph.trimmable()


def _rules_for(graph: ChannelGraph) -> list[str]:
    whole_layers = [*rules.LAYER_RULES, "smaller"] if graph.trimmable() or not graph.units else []
    return whole_layers + (["maxout"] if graph.units else [])


def _default_rule(kind: str) -> dict[str, Any]:
    rule = "sparsity" if kind == "weights" else "mean+std"
    return {"rule": rule, "value": rules.RANGES[rule][3]}


def _replace(step: dict[str, Any], other: dict[str, Any]) -> None:
    """Replace the values of a step but keep the dict object."""
    step.clear()
    step.update(other)


def _layer_kind(rule: str) -> str:
    """Rules that apply to the same layers share the choice of layers."""
    return "weights" if rule in WEIGHT_RULES else "units" if rule == "maxout" else "neurons"


def _choose_criterion(step: dict[str, Any], key: str, column: DeltaGenerator) -> None:
    known = criteria.criteria_for(step["rule"], drafts.draft().get("task", CLASSIFICATION))
    if step["criterion"] not in known:
        step["criterion"] = known[0]
    step["criterion"] = column.selectbox(
        "Criterion", known, known.index(step["criterion"]), format_func=criteria.LABELS.__getitem__,
        key=f"{key}_{_layer_kind(step['rule'])}_criterion", disabled=len(known) == 1,
        help=criteria.HELP_IN_UNITS if step["rule"] == "maxout" else criteria.HELP,
    )  # fmt: skip
    if step["criterion"] != "apoz" and step["rule"] == "absolute":
        st.warning("The rule 'absolute' compares APoZ with a threshold. Choose another rule for this criterion.")


def _own_epochs(step: dict[str, Any], key: str, column: DeltaGenerator) -> None:
    own = step.get("retrain") or {}
    st.session_state.setdefault(f"{key}_epochs", own.get("epochs"))
    epochs = column.number_input(
        "Retraining epochs, this step", 0, 1000, None, key=f"{key}_epochs", placeholder="default",
        help=glossary.about("retraining epochs, this step"),
    )  # fmt: skip
    own = {**own, "epochs": epochs}
    step["retrain"] = own if any(value is not None for value in own.values()) else None


def _choose_multiple(step: dict[str, Any], key: str, column: DeltaGenerator) -> None:
    if _layer_kind(step["rule"]) != "neurons":
        step["multiple"] = 1
        return
    step["multiple"] = column.number_input(
        "Round widths to multiples of", 1, 1024, step.get("multiple", 1), key=f"{key}_multiple",
        help=glossary.about("round widths to multiples of"),
    )  # fmt: skip


def choose_layers(layers: list[str], shown: list[str], key: str) -> list[str]:
    """A pill for each layer. For many layers, a toggle for all of them and a searchable list."""
    if len(layers) <= MANY:
        return st.pills("Layers", layers, selection_mode="multi", default=shown, key=f"{key}_layers") or []
    if st.toggle(f"All {len(layers)} layers", shown == layers, key=f"{key}_all"):
        return layers
    picked = _search("Layers", layers, [] if shown == layers else shown, f"{key}_layers")
    return sorted(picked, key=layers.index)


def _search(label: str, names: list[str], default: list[str], key: str) -> list[str]:
    """A choice among many names. `default` applies when it is first shown, or after another page was open."""
    st.session_state[key] = [name for name in st.session_state.get(key, default) if name in names]
    return st.multiselect(label, names, key=key, placeholder="None. Type to search")


def _own_values(step: dict[str, Any], key: str, layers: list[str]) -> None:
    """Separate values for individual layers of the step, each with the rule that it belongs to."""
    st.session_state.setdefault(f"{key}_single", bool(step["layer"]))  # expanded if there are any
    with st.expander("Values for individual layers", key=f"{key}_single", on_change="rerun",
                     icon=":material/tune:") as box:  # fmt: skip
        if not box.open:
            return
        names = _search("Layers with a separate value", layers, list(step["layer"]), f"{key}_own")
        before, step["layer"] = step["layer"], {}
        for name in names:
            own = before.get(name, {"rule": step["rule"], "value": step["value"]})
            low, high, unit, _ = rules.RANGES[own["rule"]]
            kind = st.slider if isinstance(unit, float) else st.number_input
            value = kind(f"{rules.label(own['rule'])} for {name}", low, high,
                         type(unit)(min(max(own["value"], low), high)), unit,
                         key=f"{key}_{name}_{own['rule']}")  # fmt: skip
            step["layer"][name] = {"rule": own["rule"], "value": float(value)}
