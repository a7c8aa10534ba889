"""What a person wants ("half the parameters") as a step of the plan, which can then be edited like any other."""

import streamlit as st

from dashboard import looking, work
from dashboard.charts.tables import counted
from dashboard.frame import plain
from dashboard.planning import bearing, opened
from dashboard.planning.steps import set_steps
from trimcore.errors import SpecError, TrimError
from trimcore.evaluation.accuracy import Measure
from trimcore.evaluation.masking import one_shot
from trimcore.graph.costs import Cost, cost_of
from trimcore.planning import targets
from trimcore.planning.plan import Plan
from trimcore.planning.sensitivity import Sensitivity
from trimcore.planning.targets import Accuracy, LessWork, NoLayerAbove, Smaller, Target
from trimcore.scoring.apoz import Profile
from trimcore.spec import Step

WISHES = {Smaller: "N times smaller", LessWork: "1/N of the MACs", NoLayerAbove: "no layer above X % APoZ",
          Accuracy: "at least X % accuracy before retraining"}  # fmt: skip
HELP = """What goes in each layer is proposed by APoZ: more of layers that save more parameters (or MACs) a neuron.
Where it was measured which layer can bear how much, that decides. Sizes are against the network to begin with."""
STRICTER = (0.5, 0.25, 0.1, 0.03, 0.0)  # shares of the loss that an accuracy allows
NAMED = 8  # layers of a proposal in words


@st.fragment
def section(draft: dict, begin: opened.Begin, cost: Cost) -> None:
    """`cost` is of the network to begin with."""
    wish = st.segmented_control("I want it…", list(WISHES), format_func=WISHES.get, wrap=True, key="wish",
                                persist_state="session", help=HELP)  # fmt: skip
    if wish is None:
        return
    found = bearing.best(draft, begin)
    if wish is Accuracy and found is None:
        _measure_first(draft, begin, cost)
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        target = _target(wish, found.base if found else 1.0)
        pressed = st.button("Propose", icon=":material/lightbulb:", key="propose")
    if found is None and wish is not NoLayerAbove:
        st.caption("By APoZ alone. Measure below which layer can bear how much, and it goes by that.")
    if pressed:
        try:
            with st.spinner("Looking for what can go…"):
                proposal = propose(draft, begin, target)
        except TrimError as error:
            st.error(plain(str(error)), icon=":material/error:")
            return
        if not draft["step"]:
            _accept(draft, [], proposal)
        st.session_state.proposal = proposal
    _confirm(draft, begin)


def propose(draft: dict, begin: opened.Begin, target: Target) -> dict:
    """A step that meets a target, with what it comes to in words: {"begin", "step", "text"}. Raises TrimError."""
    subject = looking.subject(*begin)
    seen = opened.profile(draft, subject)
    plan, shot = _planned(subject, seen, target, bearing.best(draft, begin))
    step = Step(**targets.as_step(plan, seen)).model_dump()
    now, then = cost_of(subject.graph), cost_of(subject.graph, plan)
    cuts = [f"{name} {seen[name].width:,} → {int(own['value']):,}" for name, own in step["layer"].items()]
    more = [f"{len(cuts) - NAMED} more layers"] if len(cuts) > NAMED else []
    text = (
        f"{', '.join(cuts[:NAMED] + more)}. {then.parameters:,} of {now.parameters:,} parameters "
        f"({now.parameters / then.parameters:.2f}× smaller), {then.macs:,} of {now.macs:,} MACs, "
        f"{shot.accuracy:.1%} accuracy before retraining on {counted(shot.examples, 'validation image')}."
    )
    return {"begin": begin, "step": step, "text": text}


def _planned(
    subject: looking.Subject, seen: Profile, target: Target, found: Sensitivity | None
) -> tuple[Plan, Measure]:  # fmt: skip
    """A plan, and what is left before retraining. What layers lose together can be more than the sum that is predicted:
    an accuracy is asked for more and more strictly, until real surgery leaves it."""
    asked = [target]
    if isinstance(target, Accuracy) and found:
        asked += [Accuracy(found.base - share * (found.base - target.at_least)) for share in STRICTER]
    for one in asked:
        plan = targets.propose(subject.graph, seen, one, sensitivity=found, cost_aware=True)
        shot = one_shot(subject.graph, plan, opened.batches(subject, looking.FEW))
        if not isinstance(target, Accuracy) or shot.accuracy >= target.at_least:
            return plan, shot
    raise SpecError(f"accuracy {target.at_least:g} cannot be had: the smallest cut that is foreseen to keep it leaves "
                    f"{shot.accuracy:g}")  # fmt: skip


def _target(wish: type[Target], base: float) -> Target:
    if wish in (Smaller, LessWork):
        return wish(st.number_input("N", 1.0, 1000.0, 2.0, 0.5, width=220, key=f"wish_{wish.__name__}",
                                    persist_state="session"))  # fmt: skip
    begin = 90.0 if wish is NoLayerAbove else max(0.0, round(100 * base - 1, 1))
    value = st.number_input("X, %", 0.0, 100.0, begin, 1.0, width=220, key=f"wish_{wish.__name__}",
                            persist_state="session")  # fmt: skip
    return wish(value / 100)


def _measure_first(draft: dict, begin: opened.Begin, cost: Cost) -> None:
    st.caption("For this it must be measured first which layer can bear how much.")
    images = min(bearing.IMAGES[0], work.data_summary(draft["data"]).splits["validation"])
    examples = bearing.IMAGES[0] if images == bearing.IMAGES[0] else 0
    guess = bearing.seconds(cost, len(cost.widths), images, bearing.SHARES["quick"])
    pressed = st.button(f"Measure it (about {work.in_words(guess)})", key="wish_measure", icon=":material/stethoscope:")
    if pressed and bearing.measure(draft, begin, examples, bearing.SHARES["quick"], guess):
        st.rerun()


def _confirm(draft: dict, begin: opened.Begin) -> None:
    """The proposal, and what becomes of the steps that are there."""
    proposal = st.session_state.get("proposal")
    if proposal is None or proposal["begin"] != begin:
        return
    with st.container(border=True):
        st.markdown(plain(proposal["text"]))
        if draft["step"] == [proposal["step"]]:
            st.caption("This is the plan now.")
            return
        with st.container(horizontal=True):
            label = f"Replace the {counted(len(draft['step']), 'step')}" if draft["step"] else "Take it"
            if st.button(label, key="proposal_replace", type="primary"):
                _accept(draft, [], proposal)
            if draft["step"] and st.button("Add as another step", key="proposal_add"):
                _accept(draft, draft["step"], proposal)
            if st.button("Discard", key="proposal_discard"):
                del st.session_state.proposal
                st.rerun()


def _accept(draft: dict, steps: list[dict], proposal: dict) -> None:
    set_steps(draft, [*steps, proposal["step"]])
    st.session_state.pop("proposal", None)
    st.toast(f"In the plan: {plain(proposal['text'])}")
    st.rerun()
