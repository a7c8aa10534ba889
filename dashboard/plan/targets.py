"""Turn a target, such as half the parameters, into a step of the plan that can be edited like any other."""

import streamlit as st

from dashboard.charts.tables import counted
from dashboard.plan import measurement, sensitivity
from dashboard.plan.metric import planned_metric
from dashboard.plan.origin import StartPoint
from dashboard.session import run_network
from dashboard.session.data_summary import data_summary
from dashboard.text import duration, plain
from dashboard.widgets.draft_steps import set_steps
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
from trimcore.tables import Metric

TARGETS = {Smaller: "N times smaller", LessWork: "1/N of the MACs", NoLayerAbove: "no layer above X % APoZ",
          Accuracy: "metric before retraining"}  # fmt: skip
HELP = """Proposes how many neurons to remove from each layer. The proposal uses the sensitivity of the layers if it has
been measured. Otherwise it uses APoZ and removes more from layers that save more parameters (or MACs) per neuron. Sizes
are relative to the starting network."""
TIGHTENING = (0.5, 0.25, 0.1, 0.03, 0.0)  # shares of the loss of accuracy that a target allows
MAX_NAMED_LAYERS = 8  # of a proposal


@st.fragment
def section(draft: dict, start: StartPoint, cost: Cost) -> None:
    """`cost` is of the starting network."""
    metric = planned_metric(draft, start)
    names = TARGETS | {Accuracy: _wish(metric)}
    kind = st.segmented_control("Target", list(names), format_func=names.get, wrap=True, key="wish",
                                persist_state="session", help=HELP)  # fmt: skip
    if kind is None:
        return
    found = sensitivity.best(draft, start)
    if kind is Accuracy and found is None:
        _measure_first(draft, start, cost)
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        target = _target(kind, found.base if found else 1.0, metric)
        pressed = st.button("Propose", icon=":material/lightbulb:", key="propose")
    if found is None and kind is not NoLayerAbove:
        st.caption("This proposal will use APoZ only. For a better one, measure the sensitivity below first.")
    if pressed:
        try:
            with st.spinner("Computing a proposal…"):
                proposal = propose(draft, start, target)
        except TrimError as error:
            st.error(plain(str(error)), icon=":material/error:")
            return
        if not draft["step"]:
            _accept(draft, [], proposal)
        st.session_state.proposal = proposal
    _confirm(draft, start)


def propose(draft: dict, start: StartPoint, target: Target) -> dict:
    """A step that meets a target, with its result as text: {"start", "step", "text"}. Raises TrimError."""
    subject = run_network.subject(*start)
    seen, metric = measurement.profile(draft, subject), subject.task.metric
    plan, measured = _planned(subject, seen, target, sensitivity.best(draft, start))
    step = Step(**targets.as_step(plan, seen)).model_dump()
    now, then = cost_of(subject.graph), cost_of(subject.graph, plan)
    cuts = [f"{name} {seen[name].width:,} → {int(own['value']):,}" for name, own in step["layer"].items()]
    more = [f"{len(cuts) - MAX_NAMED_LAYERS} more layers"] if len(cuts) > MAX_NAMED_LAYERS else []
    text = (
        f"{', '.join(cuts[:MAX_NAMED_LAYERS] + more)}. {then.parameters:,} of {now.parameters:,} parameters "
        f"({now.parameters / then.parameters:.2f}× smaller), {then.macs:,} of {now.macs:,} MACs, "
        f"{metric.text(measured.value, 1)} {metric.name} before retraining on "
        f"{counted(measured.examples, 'validation image' if metric.is_accuracy else 'validation example')}."
    )
    return {"start": start, "step": step, "text": text}


def _planned(
    subject: run_network.Subject, seen: Profile, target: Target, found: Sensitivity | None
) -> tuple[Plan, Measure]:  # fmt: skip
    """A plan, and its metrics before retraining. Cutting several layers together can cost more than the predicted sum.
    A target for the metric is therefore tightened until the cut network meets it."""
    asked, metric = [target], subject.task.metric
    if isinstance(target, Accuracy) and found:
        asked += [Accuracy(found.base - share * (found.base - target.at_least)) for share in TIGHTENING]
    for one in asked:
        plan = targets.propose(subject.graph, seen, one, sensitivity=found, cost_aware=True)
        batches = measurement.batches(subject, run_network.QUICK_IMAGES)
        measured = one_shot(subject.graph, plan, batches, task=subject.task)
        if not isinstance(target, Accuracy) or not metric.is_better(target.at_least, measured.value):
            return plan, measured
    raise SpecError(f"{metric.name} {target.at_least:g} cannot be reached: the smallest cut that was predicted to "
                    f"reach it leaves {measured.value:g}")  # fmt: skip


def _wish(metric: Metric) -> str:
    bound = "at least" if metric.higher_is_better else "at most"
    return f"{bound} X{' %' if metric.percent else ''} {metric.name} before retraining"


def _target(kind: type[Target], base: float, metric: Metric) -> Target:
    if kind in (Smaller, LessWork):
        return kind(st.number_input("N", 1.0, 1000.0, 2.0, 0.5, width=220, key=f"wish_{kind.__name__}",
                                    persist_state="session"))  # fmt: skip
    if kind is Accuracy and not metric.percent:
        start = float(f"{base * (1.05 if not metric.higher_is_better else 0.95):.4g}")
        return kind(st.number_input("X", value=start, format="%.4g", width=220, key="wish_value",
                                    persist_state="session"))  # fmt: skip
    default = 90.0 if kind is NoLayerAbove else max(0.0, round(100 * base - 1, 1))
    value = st.number_input("X, %", 0.0, 100.0, default, 1.0, width=220, key=f"wish_{kind.__name__}",
                            persist_state="session")  # fmt: skip
    return kind(value / 100)


def _measure_first(draft: dict, start: StartPoint, cost: Cost) -> None:
    st.caption("This target requires the sensitivity of the layers. Measure it first.")
    images = min(sensitivity.IMAGES[0], data_summary(draft["data"]).splits["validation"])
    examples = sensitivity.IMAGES[0] if images == sensitivity.IMAGES[0] else 0
    estimate = sensitivity.seconds(cost, len(cost.widths), images, sensitivity.SHARES["quick"])
    pressed = st.button(f"Measure now (about {duration(estimate)})", key="wish_measure", icon=":material/stethoscope:")
    if pressed and sensitivity.measure(draft, start, examples, sensitivity.SHARES["quick"], estimate):
        st.rerun()


def _confirm(draft: dict, start: StartPoint) -> None:
    """The proposal, with buttons to replace the steps, add it to them, or discard it."""
    proposal = st.session_state.get("proposal")
    if proposal is None or proposal["start"] != start:
        return
    with st.container(border=True):
        st.markdown(plain(proposal["text"]))
        if draft["step"] == [proposal["step"]]:
            st.caption("The plan consists of this proposal.")
            return
        with st.container(horizontal=True):
            label = f"Replace {counted(len(draft['step']), 'step')}" if draft["step"] else "Use proposal"
            if st.button(label, key="proposal_replace", type="primary"):
                _accept(draft, [], proposal)
            if draft["step"] and st.button("Add as a step", key="proposal_add"):
                _accept(draft, draft["step"], proposal)
            if st.button("Discard", key="proposal_discard"):
                del st.session_state.proposal
                st.rerun()


def _accept(draft: dict, steps: list[dict], proposal: dict) -> None:
    set_steps(draft, [*steps, proposal["step"]])
    st.session_state.pop("proposal", None)
    st.toast(f"Added to the plan: {plain(proposal['text'])}")
    st.rerun()
