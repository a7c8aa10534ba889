"""Turn a goal, such as twice as fast, into a step of the plan that can be edited like any other."""

import time
from typing import Any

import streamlit as st

from dashboard.charts.tables import counted
from dashboard.plan import goal, measurement, recommendation, sensitivity, timing
from dashboard.plan.goal import Goal
from dashboard.plan.metric import planned_metric
from dashboard.plan.origin import StartPoint
from dashboard.session import run_network
from dashboard.session.data_summary import data_summary
from dashboard.text import duration, plain
from dashboard.widgets import elements
from dashboard.widgets.draft_steps import set_steps
from trimcore.errors import SpecError, TrimError
from trimcore.evaluation.accuracy import Measure
from trimcore.evaluation.masking import one_shot
from trimcore.graph.costs import Cost, cost_of
from trimcore.graph.removal import removed_groups
from trimcore.planning import targets
from trimcore.planning.plan import Plan
from trimcore.planning.sensitivity import Sensitivity
from trimcore.planning.targets import Accuracy, NoLayerAbove
from trimcore.scoring.apoz import Profile
from trimcore.spec import Step
from trimcore.timing.prediction import TimeModel

TIGHTENING = (0.5, 0.25, 0.1, 0.03, 0.0)  # shares of the loss of accuracy that a target allows
MAX_NAMED_LAYERS = 8  # of a proposal
WITHOUT_ASKING = 8.0  # seconds that measuring the layers may take without a button


@st.fragment
def section(draft: dict[str, Any], start: StartPoint, cost: Cost, layers: list[str]) -> None:
    """`cost` is of the starting network, and `layers` are its trimmable layers."""
    metric, known = planned_metric(draft, start), sensitivity.best(draft, start)
    batches = (1, draft["retrain"]["batch_size"])
    st.markdown("##### How small and how fast should it become?")
    asked = goal.choose(draft, layers, metric, known.base if known else None, timing.known_ms(draft, start, batches))
    if asked is None:
        return
    try:
        if not known and not _measure(draft, start, cost, asked):
            return  # it says why
        if known:
            recommendation.section(start, asked, known.base, metric,
                                   lambda wanted: propose(draft, start, wanted, by_clock=False))  # fmt: skip
        if asked.is_empty:
            return
        by_clock = is_measured(draft, start, asked)
        with st.spinner("Computing the plan…"):
            proposal = propose(draft, start, asked, by_clock)
    except TrimError as error:
        st.error(plain(str(error)), icon=":material/error:")
        return
    _show(proposal)
    if asked.timed and not by_clock:
        _measure_plan(draft, start, asked)
    else:
        _accept(draft, proposal)


def propose(draft: dict[str, Any], start: StartPoint, asked: Goal, by_clock: bool = True) -> dict[str, Any]:
    """A step that meets a goal, with its result: {"step", "cells", "text", "busy", "value", "seconds"}. Cells are
    (label, value, more). `value` is the metric before retraining, and `seconds` how long this took. With `by_clock`,
    the cut network is timed as well. Raises TrimError."""
    return measurement.cached(_key(draft, start, asked, by_clock), lambda: _propose(draft, start, asked, by_clock))


def is_measured(draft: dict[str, Any], start: StartPoint, asked: Goal) -> bool:
    """Whether the clock has decided about this goal."""
    return _key(draft, start, asked, True) in measurement.known


def _key(draft: dict[str, Any], start: StartPoint, asked: Goal, by_clock: bool) -> tuple[Any, ...]:
    found = sensitivity.best(draft, start)
    known = found and (found.examples, len(found.points))
    return (*measurement.weights_key(start), "goal", asked, by_clock, draft["device"], str(draft["profile"]), known)


def _propose(draft: dict[str, Any], start: StartPoint, asked: Goal, by_clock: bool) -> dict[str, Any]:
    began, found, subject = time.perf_counter(), sensitivity.best(draft, start), run_network.subject(*start)
    seen, metric = measurement.profile(draft, subject), subject.task.metric
    clock = timing.time_model(draft, start, asked.batch) if asked.timed else None
    plan, measured = _planned(subject, seen, asked, found, clock, by_clock)
    step = Step(**targets.as_step(plan, seen)).model_dump()
    now, then = cost_of(subject.graph), cost_of(subject.graph, plan)
    cells = [
        ("Smaller", f"{now.parameters / then.parameters:.2f}×",
         f"{then.parameters:,} of {now.parameters:,} parameters."),
        ("Fewer MACs", f"{now.macs / max(then.macs, 1):.2f}×", f"{then.macs:,} of {now.macs:,} MACs."),
    ]  # fmt: skip
    if clock:
        ms = clock.measure(removed_groups(clock.graph, plan)) if by_clock else clock.predict(plan, exact=False)
        how = "measured" if by_clock else "predicted"
        batch = f"a batch of {asked.batch}" if asked.batch > 1 else "one example"
        cells.append(("Faster", f"{clock.base_ms / ms:.2f}×",
                      f"{ms:.3g} of {clock.base_ms:.3g} ms for {batch}, {how}."))  # fmt: skip
    examples = counted(measured.examples, "validation image" if metric.is_accuracy else "validation example")
    cells.append((f"{metric.name[0].upper()}{metric.name[1:]} before retraining", metric.text(measured.value, 1),
                  f"On {examples}."))  # fmt: skip
    cuts = [f"{name} {seen[name].width:,} → {int(own['value']):,}" for name, own in _by_gain(step, now, then)]
    more = [f"{len(cuts) - MAX_NAMED_LAYERS} more layers"] if len(cuts) > MAX_NAMED_LAYERS else []
    busy = clock is not None and timing.is_busy()
    return {"step": step, "cells": cells, "text": ", ".join(cuts[:MAX_NAMED_LAYERS] + more), "busy": busy,
            "value": measured.value, "seconds": time.perf_counter() - began}  # fmt: skip


def _by_gain(step: dict[str, Any], now: Cost, then: Cost) -> list[tuple[str, dict[str, Any]]]:
    """The rules of a step by layer; those first whose layers save the most parameters and MACs."""

    def gain(item: tuple[str, dict[str, Any]]) -> float:
        a, b = now.layers[item[0]], then.layers[item[0]]
        return (a.parameters - b.parameters) / now.parameters + (a.macs - b.macs) / max(now.macs, 1)

    return sorted(step["layer"].items(), key=gain, reverse=True)


def _planned(
    subject: run_network.Subject, seen: Profile, asked: Goal, found: Sensitivity | None, time: TimeModel | None,
    by_clock: bool,
) -> tuple[Plan, Measure]:  # fmt: skip
    """A plan, and its metrics before retraining. Cutting several layers together can cost more than the predicted sum.
    A target for the metric alone is therefore tightened until the cut network meets it."""
    attempts, metric, main = [asked.targets], subject.task.metric, asked.targets[0]
    if isinstance(main, Accuracy) and found:
        attempts += [(Accuracy(found.base - share * (found.base - main.at_least)),) for share in TIGHTENING]
    layers = [name for name in seen.layers if name not in asked.held]
    limit = next((one.at_least for one in asked.targets if isinstance(one, Accuracy)), None)
    for wanted in attempts:
        plan = targets.propose(subject.graph, seen, wanted, layers, sensitivity=found, cost_aware=True, time=time,
                               by_clock=by_clock)  # fmt: skip
        batches = measurement.batches(subject, run_network.QUICK_IMAGES)
        measured = one_shot(subject.graph, plan, batches, task=subject.task)
        if limit is None or not metric.is_better(limit, measured.value):
            return plan, measured
    cuts = "the smallest cut that was predicted to reach it" if isinstance(main, Accuracy) else "this cut"
    left = metric.text(measured.value)
    raise SpecError(f"{metric.name} {metric.text(limit)} cannot be reached: {cuts} leaves {left}")


def _measure(draft: dict[str, Any], start: StartPoint, cost: Cost, asked: Goal) -> bool:
    """Measure the sensitivity of the layers, if it does not take long or the button is pressed. Returns whether there
    can be a proposal."""
    if isinstance(asked.targets[0], NoLayerAbove):
        return True
    images = min(sensitivity.IMAGES[0], data_summary(draft["data"]).splits["validation"])
    examples = sensitivity.IMAGES[0] if images == sensitivity.IMAGES[0] else 0
    shares = sensitivity.SHARES["quick"]
    estimate = sensitivity.seconds(cost, len(cost.widths), images, shares)
    if estimate > WITHOUT_ASKING:
        st.caption("How much each layer can lose has not been measured, so this plan goes by APoZ. Measured plans lose "
                   "less.")  # fmt: skip
        if not st.button(f"Measure the layers (about {duration(estimate)})", key="goal_measure",
                         icon=":material/stethoscope:"):  # fmt: skip
            return not any(isinstance(one, Accuracy) for one in asked.targets)
    if not sensitivity.measure(draft, start, examples, shares, estimate):
        return False
    st.rerun()  # the fields show what has been measured


def _show(proposal: dict[str, Any]) -> None:
    elements.metrics(*proposal["cells"])
    st.caption(plain(f"{proposal['text']}."))
    if proposal["busy"]:
        st.caption("A run was training when this was timed, so the times are longer than usual.")


def _measure_plan(draft: dict[str, Any], start: StartPoint, asked: Goal) -> None:
    """A button that lets the clock decide about a plan whose time is predicted."""
    if not st.button("Measure this plan", key="goal_clock", type="primary", icon=":material/timer:",
                     help="Cuts a copy of the network and times it. The widths are corrected until it is as fast as "
                     "you asked."):  # fmt: skip
        return
    try:
        with st.spinner("Timing the cut network and settling its widths (some seconds)…"):
            propose(draft, start, asked)
    except TrimError as error:
        st.error(plain(str(error)), icon=":material/error:")
        return
    st.rerun()


def _accept(draft: dict[str, Any], proposal: dict[str, Any]) -> None:
    """Buttons that put the proposal into the plan: instead of its steps, or after them."""
    if draft["step"] == [proposal["step"]]:
        st.caption("The plan consists of this step.")
        return
    with st.container(horizontal=True):
        label = f"Replace {counted(len(draft['step']), 'step')}" if draft["step"] else "Use this plan"
        replace = st.button(label, key="goal_replace", type="primary")
        add = bool(draft["step"]) and st.button("Add as a step", key="goal_add")
    if replace or add:
        set_steps(draft, [*(draft["step"] if add else []), proposal["step"]])
        result = ", ".join(f"{label[:1].lower()}{label[1:]} {value}" for label, value, _ in proposal["cells"])
        st.toast(f"Added to the plan: {plain(result)}")
        st.rerun()
