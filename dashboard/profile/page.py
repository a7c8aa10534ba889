"""The page Profile: the APoZ of every layer and neuron, and what a rule would remove."""

import contextlib

import pandas as pd
import streamlit as st

from dashboard import charts, glossary
from dashboard.profile import classes, manual_cuts, neuron_card, units
from dashboard.session import devices, drafts, launch, links, navigation, run_reader
from dashboard.session.draft_network import graph_of
from dashboard.text import duration, plain
from dashboard.widgets import draft_steps, elements, rules, run_status
from dashboard.widgets.fields import near_zero
from dashboard.widgets.next_step import next_step
from trimcore import tables
from trimcore.errors import TrimError
from trimcore.tables import counted_as_zero, measure_name, no_activation_text

draft = drafts.draft()
run_id = navigation.selected_run()
if run_id is None:
    with st.container(border=True):
        st.markdown("**No profile yet.** A profile measures the APoZ of each neuron.")
        st.markdown(f"**APoZ.** {glossary.about('APoZ')}")
        seconds = devices.epoch_seconds(draft)
        about = f" (about {duration(seconds * draft['base']['epochs'])})" if seconds else ""
        with contextlib.suppress(TrimError):  # the page Model shows errors in the model or the data
            graph = graph_of(draft)
            near_zero(draft, graph)
        label = f"Train and profile {draft['model']} on {draft['data']}{about}"
        if st.button(label, type="primary", icon=":material/blur_on:"):
            launch.start(launch.base_only(draft), "profile")
    st.stop()

active = run_status.watch(run_id, "profile") if run_reader.status(run_id).active else False
events = run_reader.events(run_id)
profiled = tables.latest(events, "profiled")
if not profiled:
    if active:
        st.caption("The profile appears here as soon as the base network has been trained.")

        @st.fragment(run_every=1.0)
        def wait_for_profile(run_id: str) -> None:
            if tables.latest(run_reader.events(run_id), "profiled"):
                st.rerun()

        wait_for_profile(run_id)
    else:
        st.info("This run ended before it was profiled. See its log on **Run**.", icon=":material/info:")
        next_step("Open run", "run", "to_run")
    st.stop()

done = sorted(profiled)
iteration = done[-1]
if len(done) > 1:
    labels = {k: "base" if k == 0 else f"after {k}" for k in done}
    links.bind("iteration", key := f"iteration_{run_id}", done, done[0])
    picked = st.segmented_control("Iteration", done, format_func=labels.__getitem__, key=key)
    iteration = done[0] if picked is None else picked
neurons = run_reader.profile_of(run_id, iteration)
without = [str(layer) for layer, own in neurons.groupby("layer", sort=False) if own.apoz.isna().all()]
neurons = neurons[~neurons.layer.isin(without)]
event = profiled[iteration]
zeros = {name: (own.get("tolerance", 0.0), own.get("limits", [])) for name, own in event["layers"].items()}
near = max((tolerance for tolerance, _ in zeros.values()), default=0.0)
elements.metrics(
    (f"Mean {measure_name(near)}", f"{neurons.apoz.mean():.1%}"),
    ("Neurons above 90 %", f"{int((neurons.apoz > 0.9).sum()):,} of {len(neurons):,}"),
    ("Examples profiled", f"{event['examples']:,}"),
    ("Profiling time", f"{event['seconds']:.2f} s"),
)

if without:
    st.caption(plain(no_activation_text(without)))
if neurons.empty:
    st.stop()

links.bind("rule", "profile_rule", rules.LAYER_RULES, rules.LAYER_RULES[0])
low, high, step, default = rules.RANGES[st.session_state.profile_rule]
steps = [round(low + number * step, 6) for number in range(round((high - low) / step) + 1)]
links.bind("value", f"profile_{st.session_state.profile_rule}_value", steps, default, "{:g}".format)
rule, value = rules.choose_rule("profile")
by_layer = neurons.groupby("layer", sort=False)
removed = {str(layer): rules.removed_by(own.apoz, rule, value, own.group) for layer, own in by_layer}
elements.concept("profile", "APoZ by layer")
limits = {layer: limit for layer, (_, limit) in removed.items()}
elements.chart(charts.apoz_by_layer(neurons, limits, zeros), "by_layer")

left, right = st.columns(2, gap="large")
with left:
    layers = list(removed)
    most = by_layer.apoz.mean().idxmax()
    links.bind("layer", key := f"layer_{run_id}", layers, most)
    layer = st.selectbox("Layer", layers, key=key)
    own = neurons[neurons.layer == layer]
    (cut, limit), apoz = removed[layer], measure_name(zeros[layer][0])
    groups = rules.group_sizes_text(own.group)
    text = f"The rule removes {len(cut)} of {len(own)} neurons of **{plain(layer)}**. "
    text += "Its threshold is above 100 %, so no neuron can be beyond it. " if (limit or 0) > 1 else ""
    text += f"They can only be removed in {groups}. " if groups else ""
    st.markdown(f"{text}Counted as zero: {counted_as_zero(*zeros[layer])}.")
    elements.chart(charts.apoz_histogram(own.apoz.dropna().to_numpy(), limit, name=apoz), "histogram")
with right:
    st.markdown(f"##### Neurons of {layer}")
    elements.chart(charts.apoz_strip(own.apoz.dropna().to_numpy(), apoz), "strip")
    listed = pd.DataFrame({
        "neuron": own.neuron.to_numpy(), "original": own.original_neuron.to_numpy(), apoz: own.apoz.to_numpy() * 100,
        "remove": own.neuron.isin(cut).to_numpy(),
    }).sort_values(apoz, ascending=False)  # fmt: skip
    inspected = f"neuron_{run_id}_{iteration}_{layer}"
    links.bind("neuron", inspected, range(len(own)))
    neuron_card.table(
        listed, inspected, height=260, alt=f"Neurons of {layer} by {apoz}",
        column_config=elements.with_help(listed, {
            apoz: st.column_config.ProgressColumn(format="%.1f %%", max_value=100),
        }),
    )  # fmt: skip
links.write_url()
if (chosen := st.session_state[inspected]) is not None:
    neuron_card.card(run_id, iteration, layer, chosen, int(own.set_index("neuron").original_neuron[chosen]))
manual_cuts.show_list(run_id)
in_units = tables.units([event])
if len(in_units):
    units.show(in_units, next(iter(event["units"].values()))["examples"], run_id)
st.markdown("##### All neurons, sorted by APoZ within each layer")
elements.chart(charts.apoz_heatmap(neurons), "heatmap")
summary = by_layer.agg(
    kind=("kind", "first"), width=("neuron", "size"), mean=("apoz", "mean"), std=("apoz", lambda a: a.std(ddof=0)),
    min=("apoz", "min"), max=("apoz", "max"),
).reset_index()  # fmt: skip
if near:
    summary["counted as zero"] = [counted_as_zero(*zeros[layer]) for layer in summary.layer]
summary["to remove"] = [len(removed[layer][0]) for layer in summary.layer]
name = measure_name(near)
percents = {c: st.column_config.NumberColumn(f"{c} {name}", format="percent") for c in ("mean", "std", "min", "max")}
st.dataframe(summary, hide_index=True, column_config=elements.with_help(summary, percents), alt="APoZ by layer")
classes.section(run_id, iteration, done[0], layer)
st.button(
    "Plan with this rule", type="primary", icon=":material/arrow_forward:", icon_position="right",
    on_click=draft_steps.plan_with, args=(run_id, rule, value),
)  # fmt: skip
