"""Manual decisions: neurons that the user keeps or removes regardless of the rules, with a reason.

The decisions are stored in the steps of the plan, in `never_cut` and `also_cut`, by index in the base network. A spec
has no field for reasons, so these are kept in the browser session.
"""

from typing import Any

import streamlit as st

from dashboard.session import drafts
from dashboard.text import plain
from dashboard.widgets.draft_steps import set_steps
from trimcore.spec import WEIGHT_RULES, Step

ACTIONS = {"never_cut": "kept", "also_cut": "removed"}
MAX_REASON = 120  # characters
Decision = tuple[str, int, str]  # layer, neuron in the base network, key of ACTIONS


def in_step(step: dict[str, Any], layer: str) -> bool:
    """Whether a step removes neurons of a layer, so that it can list individual neurons."""
    rule = step["layer"].get(layer, step)["rule"]
    return (step["layers"] == ["all"] or layer in step["layers"]) and rule not in ("maxout", *WEIGHT_RULES)


def decisions(draft: dict[str, Any]) -> list[Decision]:
    """The manual decisions in the steps of a draft, without duplicates."""
    found = {
        (layer, neuron, key): None
        for step in draft["step"] for key in ACTIONS for layer, neurons in step[key].items() for neuron in neurons
    }  # fmt: skip
    return sorted(found)


def decide(draft: dict[str, Any], layer: str, neuron: int, key: str, reason: str = "") -> None:
    """Keep (`never_cut`) or remove (`also_cut`) a neuron in every step that removes neurons of its layer. If no step
    does, `also_cut` adds a step that removes nothing else, before the steps that prune weights."""
    undo(draft, layer, neuron)
    steps = draft["step"]
    if key == "also_cut" and not any(in_step(step, layer) for step in steps):
        place = next((i for i, step in enumerate(steps) if step["rule"] in WEIGHT_RULES), len(steps))
        alone = Step(layers=[layer], rule="absolute", value=1.0).model_dump()
        set_steps(draft, [*steps[:place], alone, *steps[place:]])
    for step in draft["step"]:
        if in_step(step, layer):
            step[key] = {**step[key], layer: sorted({*step[key].get(layer, ()), neuron})}
    reasons()[layer, neuron, key] = reason.strip()[:MAX_REASON]


def undo(draft: dict[str, Any], layer: str, neuron: int) -> None:
    """Discard the decision for a neuron, so that the rules apply again."""
    for step in draft["step"]:
        for key in ACTIONS:
            left = {name: [i for i in own if (name, i) != (layer, neuron)] for name, own in step[key].items()}
            step[key] = {name: own for name, own in left.items() if own}
    for key in ACTIONS:
        reasons().pop((layer, neuron, key), None)


def summary(step: dict[str, Any]) -> str:
    """The manual decisions in a step as text: "manual: 1 kept, 2 removed"; "" without any."""
    counts = {word: sum(len(neurons) for neurons in step[key].values()) for key, word in ACTIONS.items()}
    text = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    return f"manual: {text}" if text else ""


def without_stale(step: dict[str, Any]) -> dict[str, Any]:
    """A step without decisions for layers that it no longer has, or whose rule does not allow them."""
    return step | {key: {name: own for name, own in step[key].items() if in_step(step, name)} for key in ACTIONS}


def reasons() -> dict[Decision, str]:
    known: dict[Decision, str] = st.session_state.setdefault("reasons", {})
    return known


def controls(run_id: str, layer: str, neuron: int) -> None:
    """Buttons to keep or remove a neuron, or to undo that. `neuron` is its index in the base network."""
    same = drafts.run_matches(run_id, drafts.draft())
    steps = drafts.draft()["step"] if same else []
    now = [key for key in ACTIONS if (layer, neuron, key) in decisions({"step": steps})]
    if now:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(_decision_text((layer, neuron, now[0])))
            _undo_button(layer, neuron, "card")
        return
    if any(step["layer"].get(layer, step)["rule"] == "maxout" and layer in step["layers"] for step in steps):
        st.caption("The plan removes the least relevant neurons of each unit in this layer. You cannot choose "
                   "individual neurons.")  # fmt: skip
        return
    nothing = same and not any(in_step(step, layer) for step in steps)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        reason = st.text_input("Reason (optional)", key=f"why_{run_id}_{layer}_{neuron}",
                               max_chars=MAX_REASON, placeholder="active for class 3 only")  # fmt: skip
        for key, label, icon in (("never_cut", "Keep neuron", "lock"), ("also_cut", "Remove neuron", "content_cut")):
            unused = nothing and key == "never_cut"
            if st.button(label, icon=f":material/{icon}:", key=f"{key}_{run_id}_{layer}_{neuron}", disabled=unused,
                         help="No step of the plan removes neurons of this layer." if unused else None):  # fmt: skip
                if not same:
                    drafts.adopt(run_id)
                decide(drafts.draft(), layer, neuron, key, reason)
                st.rerun()  # the list and the table show the decision, too


def show_list(run_id: str) -> None:
    """The manual decisions in the plan for this network, each with its reason and an undo button, if there are any."""
    found = decisions(drafts.draft()) if drafts.run_matches(run_id, drafts.draft()) else []
    if not found:
        return
    st.markdown("##### Manual decisions")
    st.caption("**Plan** applies these decisions regardless of its rules. Neuron indices refer to the base network.")
    with st.container(height=240 if len(found) > 4 else "content", border=False, key="by_hand"):
        for layer, neuron, key in found:
            with st.container(horizontal=True, vertical_alignment="center"):
                st.markdown(_decision_text((layer, neuron, key)))
                _undo_button(layer, neuron, "list")


def _decision_text(decision: Decision) -> str:
    layer, neuron, key = decision
    why = reasons().get(decision, "")
    return f"**{plain(layer)}**, neuron {neuron}: **manually {ACTIONS[key]}**{f' ({plain(why)})' if why else ''}"


def _undo_button(layer: str, neuron: int, place: str) -> None:
    if st.button("Undo", icon=":material/undo:", key=f"undo_{place}_{layer}_{neuron}"):
        undo(drafts.draft(), layer, neuron)
        st.rerun()
