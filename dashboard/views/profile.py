"""Which neurons do nothing? The APoZ of every layer, and what a rule would take."""

import contextlib

import pandas as pd
import streamlit as st

from dashboard import (
    by_hand,
    charts,
    classes,
    frame,
    glossary,
    links,
    live,
    neuron,
    planning,
    rules,
    store,
    units,
    work,
)
from trimcore import tables
from trimcore.errors import TrimError
from trimcore.tables import counted_as_zero, measure_name

draft = work.draft()
run_id = work.selected_run()
if run_id is None:
    with st.container(border=True):
        st.markdown(f"**No profile yet.** **APoZ.** {glossary.about('APoZ')}")
        seconds = work.epoch_seconds(draft)
        about = f", about {work.in_words(seconds * draft['base']['epochs'])}" if seconds else ""
        with contextlib.suppress(TrimError):  # what is wrong with the model or the data is said on Model
            graph = work.graph_of(draft)
            planning.near_zero(draft, graph)
        label = f"Train and profile {draft['model']} on {draft['data']}{about}"
        if st.button(label, type="primary", icon=":material/blur_on:"):
            work.start(work.base_only(draft), "profile")
    st.stop()

active = live.watch(run_id, "profile") if store.status(run_id).active else False
events = store.events(run_id)
profiled = tables.latest(events, "profiled")
if not profiled:
    if active:
        st.caption("The profile appears here as soon as the base network is trained.")

        @st.fragment(run_every=1.0)
        def wait_for_profile() -> None:
            if tables.latest(store.events(run_id), "profiled"):
                st.rerun()

        wait_for_profile()
    else:
        st.info("This run ended before it had a profile. See its log on **Run**.", icon=":material/info:")
        frame.next_step("Look at the run", "run", "to_run")
    st.stop()

done = sorted(profiled)
iteration = done[-1]
if len(done) > 1:
    words = {k: "base" if k == 0 else f"after {k}" for k in done}
    links.bound("iteration", key := f"iteration_{run_id}", done, done[0])
    picked = st.segmented_control("Iteration", done, format_func=words.get, key=key)
    iteration = done[0] if picked is None else picked
neurons = store.profile_of(run_id, iteration)
event = profiled[iteration]
zeros = {name: (own.get("tolerance", 0.0), own.get("limits", [])) for name, own in event["layers"].items()}
near = max((tolerance for tolerance, _ in zeros.values()), default=0.0)
frame.metrics(
    (f"Mean {measure_name(near)}", f"{neurons.apoz.mean():.1%}"),
    ("Neurons above 90 %", f"{int((neurons.apoz > 0.9).sum()):,} of {len(neurons):,}"),
    ("Examples seen", f"{event['examples']:,}"),
    ("Pass took", f"{event['seconds']:.2f} s"),
)

links.bound("rule", "profile_rule", rules.OF_LAYERS, rules.OF_LAYERS[0])
low, high, step, begin = rules.RANGES[st.session_state.profile_rule]
steps = [round(low + number * step, 6) for number in range(round((high - low) / step) + 1)]
links.bound("value", f"profile_{st.session_state.profile_rule}_value", steps, begin, "{:g}".format)
rule, value = rules.choose_rule("profile")
goes = {layer: rules.beyond(own.apoz, rule, value, own.group) for layer, own in neurons.groupby("layer", sort=False)}
frame.idea("profile", "Which layers have neurons to spare?")
limits = {layer: limit for layer, (_, limit) in goes.items()}
frame.chart(charts.apoz_by_layer(neurons, limits, zeros), "by_layer")

left, right = st.columns(2, gap="large")
with left:
    layers = list(goes)
    most = neurons.groupby("layer", sort=False).apoz.mean().idxmax()
    links.bound("layer", key := f"layer_{run_id}", layers, most)
    layer = st.selectbox("Layer", layers, key=key)
    own = neurons[neurons.layer == layer]
    (cut, limit), apoz = goes[layer], measure_name(zeros[layer][0])
    groups = rules.going_together(own.group)
    text = f"{len(cut)} of {len(own)} neurons of **{frame.plain(layer)}** would go. "
    text += f"Its neurons go in {groups}. " if groups else ""
    st.markdown(f"{text}Zero is: {counted_as_zero(*zeros[layer])}.")
    frame.chart(charts.apoz_histogram(own.apoz.to_numpy(), limit, name=apoz), "histogram")
with right:
    st.markdown(f"##### {layer}, neuron by neuron")
    frame.chart(charts.apoz_strip(own.apoz.to_numpy(), apoz), "strip")
    listed = pd.DataFrame({
        "neuron": own.neuron.to_numpy(), "original": own.original_neuron.to_numpy(), apoz: own.apoz.to_numpy() * 100,
        "goes": own.neuron.isin(cut).to_numpy(),
    }).sort_values(apoz, ascending=False)  # fmt: skip
    picked = f"neuron_{run_id}_{iteration}_{layer}"
    links.bound("neuron", picked, range(len(own)))
    neuron.table(
        listed, picked, height=260, alt=f"Neurons of {layer} by {apoz}",
        column_config=frame.explained(listed, {apoz: st.column_config.ProgressColumn(format="%.1f %%", max_value=100)}),
    )  # fmt: skip
links.write()
if (chosen := st.session_state[picked]) is not None:
    neuron.card(run_id, iteration, layer, chosen, int(own.set_index("neuron").original_neuron[chosen]))
by_hand.listed(run_id)
in_units = tables.units([event])
if len(in_units):
    units.show(in_units, next(iter(event["units"].values()))["examples"], run_id)
st.markdown("##### All layers, neurons sorted within each")
frame.chart(charts.apoz_heatmap(neurons), "heatmap")
summary = neurons.groupby("layer", sort=False).agg(
    kind=("kind", "first"), width=("neuron", "size"), mean=("apoz", "mean"), std=("apoz", lambda a: a.std(ddof=0)),
    min=("apoz", "min"), max=("apoz", "max"),
).reset_index()  # fmt: skip
if near:
    summary["zero is"] = [counted_as_zero(*zeros[layer]) for layer in summary.layer]
summary["would go"] = [len(goes[layer][0]) for layer in summary.layer]
name = measure_name(near)
percents = {c: st.column_config.NumberColumn(f"{c} {name}", format="percent") for c in ("mean", "std", "min", "max")}
st.dataframe(summary, hide_index=True, column_config=frame.explained(summary, percents), alt="APoZ by layer")
classes.section(run_id, iteration, done[0], layer)
st.button(
    "Plan with this rule", type="primary", icon=":material/arrow_forward:", icon_position="right",
    on_click=planning.plan_with, args=(run_id, rule, value),
)  # fmt: skip
