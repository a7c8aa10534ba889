"""Neurons that a person keeps or cuts by hand, whatever a rule says, and why.

The decisions are in the steps of the plan, `never_cut` and `also_cut`, by index in the base model. A spec has no place
for reasons: they are remembered in the browser's session.
"""

import streamlit as st

from dashboard import planning, work
from dashboard.frame import plain
from dashboard.planning.steps import set_steps
from trimcore.spec import WEIGHT_RULES, Step

WORDS = {"never_cut": "kept", "also_cut": "cut"}
LONGEST = 120  # of a reason
Decision = tuple[str, int, str]  # layer, neuron in the base model, key of WORDS


def in_step(step: dict, layer: str) -> bool:
    """Whether a step removes neurons of a layer, so that single ones can be named."""
    rule = step["layer"].get(layer, step)["rule"]
    return (step["layers"] == ["all"] or layer in step["layers"]) and rule not in ("maxout", *WEIGHT_RULES)


def decisions(draft: dict) -> list[Decision]:
    """What is decided by hand in the steps of a draft, each once."""
    found = {
        (layer, neuron, key): None
        for step in draft["step"] for key in WORDS for layer, neurons in step[key].items() for neuron in neurons
    }  # fmt: skip
    return sorted(found)


def decide(draft: dict, layer: str, neuron: int, key: str, reason: str = "") -> None:
    """Keep (`never_cut`) or cut (`also_cut`) a neuron in every step that removes neurons of its layer. Where there is
    none, a cut makes one, which removes nothing else; it comes before weights are pruned."""
    undo(draft, layer, neuron)
    steps = draft["step"]
    if key == "also_cut" and not any(in_step(step, layer) for step in steps):
        place = next((i for i, step in enumerate(steps) if step["rule"] in WEIGHT_RULES), len(steps))
        alone = Step(layers=[layer], rule="absolute", value=1.0).model_dump()
        set_steps(draft, [*steps[:place], alone, *steps[place:]])
    for step in draft["step"]:
        if in_step(step, layer):
            step[key] = {**step[key], layer: sorted({*step[key].get(layer, ()), neuron})}
    reasons()[layer, neuron, key] = reason.strip()[:LONGEST]


def undo(draft: dict, layer: str, neuron: int) -> None:
    """Leave a neuron to the rules again."""
    for step in draft["step"]:
        for key in WORDS:
            left = {name: [i for i in own if (name, i) != (layer, neuron)] for name, own in step[key].items()}
            step[key] = {name: own for name, own in left.items() if own}
    for key in WORDS:
        reasons().pop((layer, neuron, key), None)


def in_words(step: dict) -> str:
    """What a step has been told by hand: "by hand 1 kept, 2 cut"; "" where it is nothing."""
    counts = {word: sum(len(neurons) for neurons in step[key].values()) for key, word in WORDS.items()}
    told = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    return f"by hand {told}" if told else ""


def tidied(step: dict) -> dict:
    """A step without what was decided for layers that it has no more, or whose rule leaves no such choice."""
    return step | {key: {name: own for name, own in step[key].items() if in_step(step, name)} for key in WORDS}


def reasons() -> dict[Decision, str]:
    return st.session_state.setdefault("reasons", {})


def controls(run_id: str, layer: str, neuron: int) -> None:
    """Keep it, cut it, or leave it to the rule; `neuron` is its index in the base model."""
    same = planning.same_network(run_id, work.draft())
    steps = work.draft()["step"] if same else []
    now = [key for key in WORDS if (layer, neuron, key) in decisions({"step": steps})]
    if now:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(_told((layer, neuron, now[0])))
            _undo_button(layer, neuron, "card")
        return
    if any(step["layer"].get(layer, step)["rule"] == "maxout" and layer in step["layers"] for step in steps):
        st.caption("The plan removes the least relevant of each unit here, which leaves no choice by hand.")
        return
    nothing = same and not any(in_step(step, layer) for step in steps)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        reason = st.text_input("Why? (remembered with the decision)", key=f"why_{run_id}_{layer}_{neuron}",
                               max_chars=LONGEST, placeholder="fires for class 3 only")  # fmt: skip
        for key, label, icon in (("never_cut", "Keep it", "lock"), ("also_cut", "Cut it by hand", "content_cut")):
            idle = nothing and key == "never_cut"
            if st.button(label, icon=f":material/{icon}:", key=f"{key}_{run_id}_{layer}_{neuron}", disabled=idle,
                         help="No step of the plan cuts neurons of this layer." if idle else None):  # fmt: skip
                if not same:
                    planning.adopt(run_id)
                decide(work.draft(), layer, neuron, key, reason)
                st.rerun()  # the list and the table show it too


def listed(run_id: str) -> None:
    """All decisions of the plan for this network, each with its reason and a way back; nothing where there are none."""
    found = decisions(work.draft()) if planning.same_network(run_id, work.draft()) else []
    if not found:
        return
    st.markdown("##### By hand")
    st.caption("What **Plan** does whatever its rules say, by index in the base model.")
    with st.container(height=240 if len(found) > 4 else "content", border=False, key="by_hand"):
        for layer, neuron, key in found:
            with st.container(horizontal=True, vertical_alignment="center"):
                st.markdown(_told((layer, neuron, key)))
                _undo_button(layer, neuron, "list")


def _told(decision: Decision) -> str:
    layer, neuron, key = decision
    why = reasons().get(decision, "")
    return f"**{plain(layer)}**, neuron {neuron}: **{WORDS[key]} by hand**{f': {plain(why)}' if why else ''}"


def _undo_button(layer: str, neuron: int, place: str) -> None:
    if st.button("Undo", icon=":material/undo:", key=f"undo_{place}_{layer}_{neuron}"):
        undo(work.draft(), layer, neuron)
        st.rerun()
