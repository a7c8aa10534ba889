"""The page Plan: choose what to remove and in which order, preview the result, and launch the run."""

import pandas as pd
import streamlit as st

from dashboard import charts
from dashboard.charts.grouping import MANY
from dashboard.plan import (
    alternatives,
    initial_accuracy,
    measurement,
    origin,
    preview,
    sensitivity,
    steps,
    sweep,
    targets,
)
from dashboard.plan.conversion import conversion
from dashboard.plan.metric import is_classification
from dashboard.plan.network import planned
from dashboard.plan.training import training_settings
from dashboard.plan.verification import verification
from dashboard.session import drafts, launch, navigation, run_reader
from dashboard.session.draft_network import graph_of
from dashboard.text import duration, macs_text, plain, units_text
from dashboard.widgets import elements
from dashboard.widgets.drawing import cut_together, drawing_caption, layer_rows
from dashboard.widgets.fields import near_zero
from dashboard.widgets.next_step import next_step
from trimcore.errors import TrimError
from trimcore.graph.costs import cost_of
from trimcore.spec import WEIGHT_RULES

draft = drafts.draft()
try:
    full = graph_of(draft)
except TrimError as error:
    st.error(plain(str(error)))
    st.stop()
run_id = navigation.selected_run()
if run_id and not drafts.run_matches(run_id, draft):
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        st.markdown(plain(f"The selected run has a different network or different data: {run_reader.title(run_id)}."))
        st.button("Plan for this run", on_click=drafts.adopt, args=(run_id,))

left, right = st.columns(2, gap="large")
with left:
    start = origin.choose_start(draft)
with right:
    conversion(draft, start, full)
try:
    graph, seen = planned(draft, start, full, origin.profile_for_plan(draft, start))
except (TrimError, OSError) as error:
    st.error(plain(str(error)), icon=":material/error:")
    st.stop()
unavailable = measurement.unavailable_reason(draft, start)
if start and not unavailable:
    targets.section(draft, start, cost_of(graph), graph.trimmable())


@st.fragment
def steps_and_preview() -> None:
    """A fragment, so that an edit redraws the steps and the preview but not the rest of the page."""
    left, right = st.columns(2, gap="large")
    with left:
        with st.container(horizontal=True, vertical_alignment="center"):
            steps.order_buttons(draft, graph, seen)
            elements.concept("plan")
        cards = st.container()  # filled after the editor, so that the cards show the edit immediately
        steps.edit_step(draft, graph)
        with cards:
            steps.steps_in_order(draft)
        near_zero(draft, graph)
        if is_classification(draft):
            verification(draft)
        training_settings(draft, start, graph)

    with right:
        if seen is None and run_id and drafts.run_matches(run_id, draft) and run_reader.status(run_id).active:
            st.info("This network is being trained and profiled. After that, you can preview rules that use APoZ.",
                    icon=":material/hourglass_top:")  # fmt: skip
            next_step("Show progress", "profile", "to_profile")
        elif seen is None:
            st.info(
                "This network has no profile yet, so rules that use APoZ cannot be previewed. Profile it first, or "
                "launch without a preview.", icon=":material/blur_on:",
            )  # fmt: skip
            if st.button("Profile it first"):
                launch.start(launch.base_only(draft), "profile")
        try:
            stages = preview.stages(draft, graph, seen)
        except (TrimError, KeyError) as error:
            st.error(plain(f"This plan cannot be carried out: {error}."))
            return
        base, final, nonzero = cost_of(full), stages[-1].cost, preview.nonzero(stages[-1])
        prunes_weights = any(step["rule"] in WEIGHT_RULES for step in draft["step"])
        elements.metrics(
            ("Parameters", f"{final.parameters:,}", f"The base network has {base.parameters:,}."),
            ("Compression", f"{base.parameters / final.parameters:.2f}×"),
            ("MACs", macs_text(base.macs / final.macs), f"{final.macs:,} of {base.macs:,}."),
            *([("Neurons per unit (k)", units_text(stages[-1].k), f"At the start: {units_text(stages[0].k)}.")]
              if stages[0].k else []),
            *([("Non-zero parameters", "—" if nonzero is None else f"{nonzero:,}",
                "How many weights the rule quality × std prunes depends on their values."
                if nonzero is None else "")]
              if prunes_weights else []),
        )
        measured = st.empty()  # filled last, so that the measurement does not block the launch button
        if start and not unavailable:
            with measured.container():
                initial_accuracy.placeholder(draft, start, stages)
        widths = pd.DataFrame(
            [{"layer": n, "before": stages[0].cost.widths[n], "after": final.widths[n]} for n in graph.trimmable()]
        )
        changed = widths if len(widths) <= MANY else widths[widths.after < widths.before]
        if len(changed):
            st.markdown("##### Remaining neurons by layer")
            shown = st.segmented_control(
                "Show the layers as", ["Bars", "Drawing"], default="Bars", required=True, key="widths_as",
                persist_state="session", label_visibility="collapsed",
            )  # fmt: skip
            if shown == "Drawing":
                now, then = stages[0], stages[-1]
                drawn, groups = layer_rows(graph, now.cost, then.cost, now.k, then.k), cut_together(graph)
                elements.chart(charts.network_drawing(drawn, groups), "network")
                st.caption(drawing_caption(groups))
            else:
                elements.chart(charts.widths_preview(changed), "widths")
                if len(changed) < len(widths):
                    st.caption(f"{len(widths) - len(changed)} layers do not change.")
        if thin := [n for n in graph.trimmable() if final.widths[n] <= max(2, 0.05 * base.widths[n]) < base.widths[n]]:
            texts = [f"{name} ({final.widths[name]} of {base.widths[name]} neurons)" for name in thin[:5]]
            texts += [f"{len(thin) - 5} more layers"] if len(thin) > 5 else []
            st.warning(plain(f"These layers would become very narrow: {', '.join(texts)}."))
        if seen and (unknown := preview.unknown_criteria(draft)):
            st.warning(f"The scores for {', '.join(unknown)} are not known before the run. The preview uses APoZ "
                       "instead.")  # fmt: skip
        if seen and any(preview.is_estimate(step) for step in draft["step"]):
            st.caption("The preview is an estimate: retraining changes the APoZ that later iterations use.")
        if seen and len(stages) == 1:
            st.warning("This plan removes nothing. Lower a value or choose another rule.")
        table = pd.DataFrame([
            {
                "iteration": number, "step": stage.step + 1,
                "removed": preview.removed(stage, stages[number - 1], draft["step"]),
                "compression": base.parameters / stage.cost.parameters, "parameters": stage.cost.parameters,
                "non-zero parameters": preview.nonzero(stage),
            }
            for number, stage in enumerate(stages) if number
        ], columns=["iteration", "step", "removed", "compression", "parameters", "non-zero parameters"])  # fmt: skip
        if not prunes_weights:
            table = table.drop(columns="non-zero parameters")
        if len(stages) > 1:
            st.dataframe(
                table, hide_index=True, alt="Iterations of the plan", placeholder="depends on the weights",
                column_config=elements.with_help(table, {
                    "parameters": st.column_config.NumberColumn(format="localized"),
                    "non-zero parameters": st.column_config.NumberColumn("non-zero", format="localized"),
                    "compression": st.column_config.NumberColumn(format="%.2f×"),
                }),
            )  # fmt: skip
        wanted = preview.spec_values(draft, start)
        others = alternatives.with_criteria(wanted, alternatives.choose_criteria(draft, start) if draft["step"] else [])
        seconds, count = preview.seconds_for(wanted), len(others) + 1
        label = "Launch" if count == 1 else f"Launch {count} runs"
        if st.button(
            f"{label} (about {duration(seconds * count)})" if seconds else label, type="primary", key="launch",
            icon=":material/rocket_launch:", width="stretch",
        ):  # fmt: skip
            launch.start(wanted, "run", others)
        sweep.section(draft, start, graph)

    if start and not unavailable:
        sensitivity.section(draft, start, stages)
        with measured.container():
            initial_accuracy.before_retraining(draft, start, stages)
    else:
        st.caption(plain(unavailable))


steps_and_preview()
