"""The page Model: choose a network and data, see its parameters and MACs, and launch a first run."""

from typing import Any

import streamlit as st

from dashboard import charts
from dashboard.charts.grouping import MANY
from dashboard.model import data_choice, drawing, model_choice, times
from dashboard.model.architecture import layer_table, reasons_text, trimmable_neurons
from dashboard.model.uploads import show_rejection, store_upload
from dashboard.session import devices, drafts, launch, links
from dashboard.session.data_summary import DataSummary, data_summary
from dashboard.session.draft_network import graph_of
from dashboard.text import duration, layers_text, plain
from dashboard.widgets import elements, rules
from dashboard.widgets.fields import field
from trimcore import data, models
from trimcore.errors import TrimError
from trimcore.graph.costs import cost_of
from trimcore.graph.summary import LITTLE, free_share, frozen_reasons, trimmable_text


def choose_options(entry: models.Architecture, asked: dict[str, int]) -> dict[str, int]:
    """Widgets for the options of an architecture. Returns the values that differ from the defaults."""
    chosen = entry.options_for({key: value for key, value in asked.items() if key in entry.options})
    for key, option in entry.options.items():
        field(st.number_input, f"{key}: {option.description}", chosen, key, option.least, option.most,
              group="options", help=f"{option.least:,} to {option.most:,}; the default is {option.default:,}.",
              )  # fmt: skip
    return {key: value for key, value in chosen.items() if value != entry.options[key].default}


def choose_removable(draft: dict[str, Any]) -> None:
    """Switches for what else can be removed, where they make a difference."""
    try:
        wider, narrower = (graph_of({**draft, "embeddings": wide}) for wide in (True, False))
    except TrimError:
        return  # the page says what is wrong
    if narrower.heads:
        field(st.toggle, "Remove only whole heads", draft, "whole_heads",
              help="The queries, keys and values of an attention head go together. Otherwise, single dimensions of "
              "heads go; nn.MultiheadAttention keeps them.")  # fmt: skip
    if free_share(wider) > free_share(narrower):
        field(st.toggle, "Trim normalised streams", draft, "embeddings",
              help="The channels between the blocks share a mean and a variance in LayerNorm and similar norms. Those "
              "that are removed no longer count in either, so the other channels change a little as well.",
              )  # fmt: skip


def contents(summary: DataSummary) -> str:
    """What the data are for, and how large: `10 classes, 28×28 pixels.`"""
    size = f", {summary.image_size}×{summary.image_size} pixels" if summary.image_size > 1 else ""
    if summary.task == "classification":
        return f"{len(summary.classes)} classes{size}."
    outputs = f"{len(summary.classes)} output{'s' if len(summary.classes) > 1 else ''}"
    return f"for {summary.task}, {outputs}{size}."


draft = drafts.draft()
if links.should_apply("model"):
    linked = links.read("model", {name: name for name in models.offered()}.__getitem__, draft["model"])
    ready = {kind: kind for kind in data.datasets() if not data_choice.is_own(kind)}
    named = links.read("data", ready.__getitem__, draft["data"])
    if (linked, named) != (draft["model"], draft["data"]):
        drafts.replace_draft(drafts.draft_for(linked, named))
        st.rerun()  # the sidebar shows the current network
left, right = st.columns([3, 7], gap="large")

with left:
    chosen = model_choice.chosen(draft)
    for line in models.refused():
        st.caption(plain(line))
    name = data_choice.chosen(draft)
    data_choice.use(name, chosen, draft)
    model_choice.track(chosen)
    data_choice.track(name)
    links.write_url()

    try:
        entry = models.architecture(chosen)
    except TrimError as error:
        right.error(plain(str(error)), icon=":material/code_off:")
        st.stop()
    summary, trouble = None, ""
    try:
        with right, st.spinner(f"Loading {plain(name)}. On first use, it may be downloaded…"):
            summary = None if name.endswith(":") else data_summary(name, draft["resize"])
    except TrimError as error:
        trouble = str(error)

    sources = ["train from scratch", "checkpoint file"]
    if entry.pretrained:
        sources.insert(0, "pretrained on ImageNet")
    current = draft["base"]["weights"]
    source = st.selectbox("Weights", sources, sources.index(
        "pretrained on ImageNet" if current == "pretrained" and len(sources) > 2
        else "checkpoint file" if current not in ("", "pretrained") else "train from scratch"
    ), key=f"weights_{chosen}", persist_state="session")  # fmt: skip
    if source == "checkpoint file":
        uploaded = st.file_uploader(
            "State dict (.pt, .pth) or .safetensors", ["pt", "pth", "safetensors"],
            help="The file must contain the weights of the full network or of a trimmed one, alone or as training "
            "scripts save them. Files with Python objects are rejected.",
        )  # fmt: skip
        new_head = st.toggle(
            "New head", bool(draft["base"]["head"]), key=f"head_{chosen}", persist_state="session",
            help="Take all weights but those of the head, which depend on the number of classes. The base network is "
            "then trained before it is profiled.",
        )  # fmt: skip
        draft["base"]["head"] = "new" if new_head else ""
        if uploaded is not None:
            try:
                stored = store_upload(uploaded, draft)
                draft["base"]["weights"] = str(stored.path)
                how = plain(", ".join(["", *stored.adjustments]))
                st.success(f"The weights fit this architecture{how}.", icon=":material/check:")
            except TrimError as error:
                draft["base"].update(weights="", head="")
                with right:  # the table is wide
                    show_rejection(error)
        elif draft["base"]["weights"] in ("", "pretrained"):
            st.caption("Without a file, the network is trained from scratch.")
            draft["base"].update(weights="", head="")
        else:
            st.caption("The previous file is still in use.")
    else:
        draft["base"].update(weights="pretrained" if source.startswith("pretrained") else "", head="")
    pixels = summary.image_size if summary else 64
    natural = entry.size_for(pixels)
    asked = {"image_size": draft["image_size"] or natural}
    size = natural if data.is_own(name) else field(
        st.number_input, "Image size, pixels", asked, "image_size", entry.min_size, 1024,
        step=entry.multiple if entry.multiple > 1 else 4,
        help=f"Images are resized to this size. Of their own, they are {pixels} pixels wide. Smaller images train "
        "faster.",
    )  # fmt: skip
    draft["image_size"] = 0 if size == natural else size
    draft["options"] = choose_options(entry, draft["options"])
    choose_removable(draft)
    found = devices.devices()
    if draft["device"] not in found:
        draft["device"] = "auto"
    field(st.selectbox, "Device", draft, "device", list(found), format_func=found.get)

with right:
    if not (summary or trouble):
        st.info("Choose the data first. This page then shows what was found.", icon=":material/folder_open:")
        st.stop()
    graph = None
    try:
        graph = None if trouble else graph_of(draft)
    except TrimError as error:
        trouble = str(error)
    if graph is None or summary is None:
        st.error(plain(trouble), icon=":material/folder_off:")
        st.stop()
    cost, timed = cost_of(graph), None
    table, reasons = layer_table(graph, cost), frozen_reasons(graph)
    frozen = sum(neurons for _, neurons, _ in reasons)
    elements.metrics(
        ("Parameters", f"{cost.parameters:,}"),
        ("MACs", f"{cost.macs:,}"),
        ("Trimmable neurons", f"{trimmable_neurons(graph):,}"),
        ("Frozen neurons", f"{frozen:,}"),
    )
    elements.concept("model")
    if free_share(graph) < LITTLE:
        st.warning(plain(trimmable_text(graph)), icon=":material/lock:")
    else:
        st.caption(plain(trimmable_text(graph)))
    if len(reasons) > 1:
        st.caption(plain(reasons_text(reasons)))
    shown = st.segmented_control(
        "Show the layers as", ["Shares", "Time", "Drawing"], default="Shares", required=True, key="layers_as",
        persist_state="session", label_visibility="collapsed",
    )  # fmt: skip
    if shown == "Drawing":
        timed = drawing.section(draft, graph, cost)
    elif shown == "Time":
        if timed := times.section(draft, cost):
            times.metrics(timed)
            elements.chart(charts.layer_times(times.rows(cost, timed)), "layer_times")
        else:
            st.caption("Fewer MACs are not always fewer milliseconds. The measurement runs each layer on this device "
                       "and shows where the time goes.")  # fmt: skip
    else:
        elements.chart(charts.butterfly(table), "butterfly")

with left:
    quick = {**drafts.draft_for(chosen, name), "name": f"{chosen} quick start"}
    same = ("device", "image_size", "channels", "options", "base", "resize", *drafts.REMOVABLE)
    quick.update({key: draft[key] for key in same})
    seconds = devices.epoch_seconds(draft)
    epochs = quick["base"]["epochs"] if drafts.trains_base(quick) else 0
    rounds = sum(step["iterations"] for step in quick["step"])
    total = None if seconds is None else seconds * (epochs + rounds * quick["retrain"]["epochs"])
    trimmed = ", then ".join(f"{rules.label(step['rule'])} on {layers_text(step['layers'])}" for step in quick["step"])
    if st.button(
        "Profile this network", type="primary", icon=":material/blur_on:", width="stretch",
        help=f"Trains the base network for {epochs} epochs, then counts zeros on the validation split." if epochs
        else "Loads the weights, then counts zeros on the validation split.",
    ):  # fmt: skip
        launch.start(launch.base_only(draft), "profile")
    if st.button(
        "Trim it now with the defaults", icon=":material/content_cut:", width="stretch",
        help=f"{rounds} iterations: {trimmed}. To choose your own settings, use Plan.",
    ):  # fmt: skip
        launch.start(quick, "run")
    if total:
        base = f", {duration((seconds or 0) * epochs)} of it for {epochs} epochs of the base network" if epochs else ""
        st.caption(f"Trimming takes about {duration(total)} on this device{base}. To change the epochs, open Plan.")
    else:
        rough = devices.rough_epoch_seconds(cost.macs, summary.splits["train"], draft["device"])
        faster = " A smaller image size or vgg16-small is faster." if rough > 600 else ""
        count = epochs + rounds * quick["retrain"]["epochs"]
        st.caption(f"Rough estimate: {count} epochs of {duration(rough)} each on this device.{faster}")

with right:
    with st.container(border=True):
        parts, noun = summary.splits, "examples" if data.is_own(name) else "images"
        st.caption(
            f"{plain(name)}: {contents(summary)} {parts['train']:,} training {noun}, {parts['validation']:,} "
            f"validation {noun} (used for every decision), {parts['test']:,} test {noun} (used only for evaluation)."
        )
        with st.container(horizontal=True, gap="small"):
            for picture, label in summary.samples:
                st.image(picture, caption=label, width=56, alt=f"sample of class {label}" if label else "a sample")
    for line in summary.notes:
        st.caption(plain(f"{line}."))
    if summary.skipped:
        with st.expander(f"{len(summary.skipped)} unreadable images were skipped", icon=":material/broken_image:"):
            st.code("\n".join(summary.skipped[:200]))

shares = table.assign(
    parameters_share=table.parameters / cost.parameters, macs_share=table.macs / max(cost.macs, 1),
    width=table.width.where(table.width > 0).astype("Int64"), **times.columns(table.layer, timed),
)[[
    "layer", "kind", "width", "parameters", "parameters_share", "macs", "macs_share", *times.columns([], timed), "note",
]]  # fmt: skip
st.dataframe(
    shares, hide_index=True, height="content" if len(table) <= MANY else 36 * MANY, key=f"layers_{chosen}_{name}",
    placeholder="", alt="Layers with widths, parameters, MACs and shares",
    column_config=elements.with_help(shares, {
        "layer": st.column_config.TextColumn(pinned=True, width=min(20 + 7 * int(table.layer.str.len().max()), 300)),
        "parameters": st.column_config.NumberColumn(format="localized"),
        "macs": st.column_config.NumberColumn("MACs", format="localized"),
        "parameters_share": st.column_config.ProgressColumn("of parameters", format="percent", max_value=1),
        "macs_share": st.column_config.ProgressColumn("of MACs", format="percent", max_value=1),
        "ms": st.column_config.NumberColumn(format="%.3f"),
        "after_ms": st.column_config.NumberColumn("ms after it", format="%.3f"),
        "note": st.column_config.TextColumn(width="large"),
    }),
)  # fmt: skip
