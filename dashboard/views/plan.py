"""What would go, in which order, and what would that buy?"""

import pandas as pd
import streamlit as st

from dashboard import charts, criteria, frame, planning, store, work
from dashboard.charts.many import MANY
from dashboard.drawing import cut_together, drawn_layers, how_to_read
from trimcore.errors import TrimError
from trimcore.graph.costs import cost_of
from trimcore.spec import WEIGHT_RULES

draft = work.draft()
try:
    whole = work.graph_of(draft)
except TrimError as error:
    st.error(frame.plain(str(error)))
    st.stop()
run_id = work.selected_run()
if run_id and not planning.same_network(run_id, draft):
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        st.markdown(frame.plain(f"The selected run is of another network or other data: {store.title(run_id)}."))
        st.button("Plan for that one", on_click=planning.adopt, args=(run_id,))

left, right = st.columns(2, gap="large")
with left:
    begin = planning.choose_beginning(draft)
with right:
    planning.conversion(draft, begin, whole)
try:
    graph, seen = planning.planned(draft, begin, whole, planning.profile_to_plan_with(draft, begin))
except (TrimError, OSError) as error:
    st.error(frame.plain(str(error)), icon=":material/error:")
    st.stop()
unmeasured = planning.why_not(draft, begin)
if not unmeasured:
    planning.targets(draft, begin, cost_of(graph))


@st.fragment
def steps_and_what_they_buy() -> None:
    """A fragment: an edit draws anew what it changes, and not the frame and the beginning above."""
    left, right = st.columns(2, gap="large")
    with left:
        with st.container(horizontal=True, vertical_alignment="center"):
            planning.order_buttons(draft, graph, seen)
            frame.idea("plan")
        cards = st.container()  # filled after the edit, so that they show it at once
        planning.edit_step(draft, graph)
        with cards:
            planning.steps_in_order(draft)
        planning.near_zero(draft, graph)
        planning.verification(draft)
        planning.training_settings(draft, begin, graph)

    with right:
        if seen is None and run_id and planning.same_network(run_id, draft) and store.status(run_id).active:
            st.info("This network is being trained and profiled. Rules that look at APoZ can be previewed when it is.",
                    icon=":material/hourglass_top:")  # fmt: skip
            frame.next_step("See how far it is", "profile", "to_profile")
        elif seen is None:
            st.info(
                "There is no profile of this network yet, so rules that look at APoZ cannot be previewed. "
                "Launch anyway, or profile it first.", icon=":material/blur_on:",
            )  # fmt: skip
            if st.button("Profile it first"):
                work.start(work.base_only(draft), "profile")
        try:
            stages = planning.stages(draft, graph, seen)
        except (TrimError, KeyError) as error:
            st.error(frame.plain(f"This plan cannot be carried out: {error}"))
            return
        base, final, nonzero = cost_of(whole), stages[-1].cost, planning.nonzero(stages[-1])
        prunes_weights = any(step["rule"] in WEIGHT_RULES for step in draft["step"])
        frame.metrics(
            ("Parameters", f"{final.parameters:,}", f"The base has {base.parameters:,}."),
            ("Compression", f"{base.parameters / final.parameters:.2f}×"),
            ("MACs", frame.fewer(base.macs / final.macs), f"Here {final.macs:,} of {base.macs:,}."),
            *([("Neurons a unit (k)", frame.units_text(stages[-1].k),
                f"{frame.units_text(stages[0].k)} to begin with.")]
              if stages[0].k else []),
            *([("Not zero", "—" if nonzero is None else f"{nonzero:,}",
                "How many the rule quality × std takes depends on the weights." if nonzero is None else "")]
              if prunes_weights else []),
        )
        accuracies = st.empty()  # filled last: measuring keeps nobody from launching
        if not unmeasured:
            with accuracies.container():
                planning.awaited(draft, begin, stages)
        widths = pd.DataFrame(
            [{"layer": n, "before": stages[0].cost.widths[n], "after": final.widths[n]} for n in graph.trimmable()]
        )
        changed = widths if len(widths) <= MANY else widths[widths.after < widths.before]
        if len(changed):
            st.markdown("##### What would be left of each layer?")
            shown = st.segmented_control(
                "Show the layers as", ["Bars", "Drawing"], default="Bars", required=True, key="widths_as",
                persist_state="session", label_visibility="collapsed",
            )  # fmt: skip
            if shown == "Drawing":
                now, then = stages[0], stages[-1]
                drawn, groups = drawn_layers(graph, now.cost, then.cost, now.k, then.k), cut_together(graph)
                frame.chart(charts.network_drawing(drawn, groups), "network")
                st.caption(how_to_read(groups))
            else:
                frame.chart(charts.widths_preview(changed), "widths")
                if len(changed) < len(widths):
                    st.caption(f"{len(widths) - len(changed)} layers stay as they are.")
        if thin := [n for n in graph.trimmable() if final.widths[n] <= max(2, 0.05 * base.widths[n]) < base.widths[n]]:
            texts = [f"{name} ({final.widths[name]} of {base.widths[name]} neurons)" for name in thin[:5]]
            texts += [f"{len(thin) - 5} more layers"] if len(thin) > 5 else []
            st.warning(frame.plain(f"Would become thin: {', '.join(texts)}."))
        if seen and (by := planning.guessed(draft)):
            st.warning(f"The scores by {', '.join(by)} are not known yet; this preview takes APoZ in their place.")
        if seen and any(planning.is_estimate(step) for step in draft["step"]):
            st.caption("An estimate: retraining changes the APoZ that later iterations go by.")
        if seen and len(stages) == 1:
            st.warning("This plan removes nothing: lower a value, or choose another rule.")
        table = pd.DataFrame([
            {
                "iteration": number, "step": stage.step + 1,
                "removed": planning.removed(stage, stages[number - 1], draft["step"]),
                "compression": base.parameters / stage.cost.parameters, "parameters": stage.cost.parameters,
                "not zero": planning.nonzero(stage),
            }
            for number, stage in enumerate(stages) if number
        ], columns=["iteration", "step", "removed", "compression", "parameters", "not zero"])  # fmt: skip
        if not prunes_weights:
            table = table.drop(columns="not zero")
        if len(stages) > 1:
            st.dataframe(
                table, hide_index=True, alt="Iterations of the plan", placeholder="depends on the weights",
                column_config=frame.explained(table, {
                    "parameters": st.column_config.NumberColumn(format="localized"),
                    "not zero": st.column_config.NumberColumn(format="localized"),
                    "compression": st.column_config.NumberColumn(format="%.2f×"),
                }),
            )  # fmt: skip
        wanted = planning.asked(draft, begin)
        others = criteria.ranked_by(wanted, criteria.choose_others(draft, begin) if draft["step"] else [])
        seconds, count = planning.seconds_for(wanted), len(others) + 1
        label = "Launch" if count == 1 else f"Launch {count} runs"
        if st.button(
            f"{label} — about {work.in_words(seconds * count)}" if seconds else label, type="primary", key="launch",
            icon=":material/rocket_launch:", width="stretch",
        ):  # fmt: skip
            work.start(wanted, "run", others)

    if unmeasured:
        st.caption(frame.plain(unmeasured))
    else:
        planning.which_layer_bears(draft, begin, stages)
        with accuracies.container():
            planning.before_retraining(draft, begin, stages)


steps_and_what_they_buy()
