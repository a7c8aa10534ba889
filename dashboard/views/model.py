"""Where are the weights, and where is the work? Choose a network and data, and begin."""

import streamlit as st

from dashboard import charts, frame, links, work
from dashboard.architecture import in_words, layer_table, trimmable_neurons, why_frozen
from dashboard.charts.many import MANY
from dashboard.drawing import cut_together, drawn_layers, how_to_read
from dashboard.planning.steps import layers_text
from dashboard.rules import called
from dashboard.uploads import keep_upload, show_refusal
from trimcore import data, models
from trimcore.errors import TrimError
from trimcore.graph.costs import cost_of

FOLDERS = {
    "imagefolder:PATH": "Folder of images, one folder a class",
    "lfw:PATH": "Folder of Labeled Faces in the Wild, with lfw-py in it",
}


def choose_options(entry: models.Architecture, asked: dict[str, int]) -> dict[str, int]:
    """Widgets for the numbers that can be chosen for an architecture; returns those that are not the default."""
    chosen = entry.options_for({key: value for key, value in asked.items() if key in entry.options})
    for key, option in entry.options.items():
        work.field(st.number_input, f"{key}: {option.description}", chosen, key, option.least, option.most,
                   group="options", help=f"{option.least:,} to {option.most:,}; {option.default:,} to begin with.",
                   )  # fmt: skip
    return {key: value for key, value in chosen.items() if value != entry.options[key].default}


draft = work.draft()
kinds = list(data.datasets())
if links.leads("model"):
    linked = links.read("model", {name: name for name in models.listed()}.__getitem__, draft["model"])
    named = links.read("data", {kind: kind for kind in kinds if kind not in FOLDERS}.__getitem__, draft["data"])
    if (linked, named) != (draft["model"], draft["data"]):
        work.replace_draft(work.draft_for(linked, named))
        st.rerun()  # the side bar shows the work at hand
left, right = st.columns([1, 2], gap="large")

with left:
    lines = models.listed()
    lines.setdefault(draft["model"], "a network of your own")  # of a run that the command line has started
    names = list(lines)
    chosen = st.selectbox("Model", names, names.index(draft["model"]), help="Type to search. Ours come first, then "
                          "torchvision's by family, then those of installed packages.")  # fmt: skip
    st.caption(frame.plain(lines[chosen]))
    for line in models.refused():
        st.caption(frame.plain(line))
    own, _, path = draft["data"].partition(":")
    kind = next((k for k in kinds if k in (draft["data"], f"{own}:PATH")), "imagefolder:PATH")
    kind = st.selectbox("Data", kinds, kinds.index(kind), help="APoZ is profiled on the validation split.")
    name = kind
    if kind in FOLDERS:
        path = st.text_input(FOLDERS[kind], path)
        name = kind.replace("PATH", path)
    else:
        st.caption(data.datasets()[kind])
    if (chosen, name) != (draft["model"], draft["data"]):
        fresh = work.draft_for(chosen, name) if chosen != draft["model"] else {**draft, "image_size": 0}
        work.replace_draft({**fresh, "data": name, "device": draft["device"]})
        st.rerun()  # the side bar shows the work at hand
    links.tell("model", lambda: "" if chosen == "lenet5" else chosen)
    links.tell("data", lambda: "" if name == "mnist-5k" or kind in FOLDERS else name)  # a path is nobody's business
    links.write()

    try:
        entry = models.architecture(chosen)
    except TrimError as error:
        right.error(frame.plain(str(error)), icon=":material/code_off:")
        st.stop()
    summary, trouble = None, ""
    try:
        with right, st.spinner(f"Reading {name}; it is downloaded the first time…"):
            summary = work.data_summary(name)
    except TrimError as error:
        trouble = str(error)

    sources = ["train new weights", "checkpoint file"]
    if entry.pretrained:
        sources.insert(0, "pretrained on ImageNet")
    current = draft["base"]["weights"]
    source = st.selectbox("Weights", sources, sources.index(
        "pretrained on ImageNet" if current == "pretrained" and len(sources) > 2
        else "checkpoint file" if current not in ("", "pretrained") else "train new weights"
    ), key=f"weights_{chosen}", persist_state="session")  # fmt: skip
    if source == "checkpoint file":
        uploaded = st.file_uploader(
            "State dict (.pt, .pth) or .safetensors", ["pt", "pth", "safetensors"],
            help="Weights only: of the whole network or a trimmed one. A file that holds Python objects is refused.",
        )  # fmt: skip
        if uploaded is not None:
            try:
                kept = keep_upload(uploaded, draft)
                draft["base"]["weights"] = str(kept.path)
                how = frame.plain(", ".join(["", *kept.taken_off]))
                st.success(f"The weights fit this architecture{how}.", icon=":material/check:")
            except TrimError as error:
                draft["base"]["weights"] = ""
                with right:  # its table is wide
                    show_refusal(error)
        elif draft["base"]["weights"] in ("", "pretrained"):
            st.caption("Without a file, new weights are trained.")
            draft["base"]["weights"] = ""
        else:
            st.caption("The file from before is kept.")
    else:
        draft["base"]["weights"] = "pretrained" if source.startswith("pretrained") else ""
    pixels = summary.image_size if summary else 64
    natural = entry.size_for(pixels)
    asked = {"image_size": draft["image_size"] or natural}
    size = work.field(st.number_input, "Image size, pixels", asked, "image_size", entry.min_size, 1024,
                      step=entry.multiple if entry.multiple > 1 else 4,
                      help=f"Images are resized to it; {kind} has {pixels} pixels. Smaller is faster.")  # fmt: skip
    draft["image_size"] = 0 if size == natural else size
    draft["options"] = choose_options(entry, draft["options"])
    found = work.devices()
    if draft["device"] not in found:
        draft["device"] = "auto"
    work.field(st.selectbox, "Device", draft, "device", list(found), format_func=found.get)

with right:
    try:
        graph = None if trouble else work.graph_of(draft)
    except TrimError as error:
        trouble = str(error)
    if trouble:
        st.error(frame.plain(trouble), icon=":material/folder_off:")
        st.stop()
    cost = cost_of(graph)
    table, reasons = layer_table(graph, cost), why_frozen(graph)
    frozen = sum(neurons for _, neurons, _ in reasons)
    frame.metrics(
        ("Parameters", f"{cost.parameters:,}"),
        ("MACs", f"{cost.macs:,}"),
        ("Trimmable neurons", f"{trimmable_neurons(graph):,}"),
        ("Frozen neurons", f"{frozen:,}"),
    )
    frame.idea("model")
    if len(reasons) > 1:
        st.caption(frame.plain(in_words(reasons)))
    shown = st.segmented_control(
        "Show the layers as", ["Shares", "Drawing"], default="Shares", required=True, key="layers_as",
        persist_state="session", label_visibility="collapsed",
    )  # fmt: skip
    if shown == "Drawing":
        groups = cut_together(graph)
        frame.chart(charts.network_drawing(drawn_layers(graph, cost), groups), "network")
        st.caption(how_to_read(groups))
    else:
        frame.chart(charts.butterfly(table), "butterfly")

with left:
    quick = {**work.draft_for(chosen, name), "name": f"{chosen} quick start"}
    quick.update({key: draft[key] for key in ("device", "image_size", "channels", "options", "base")})
    seconds = work.epoch_seconds(draft)
    epochs = quick["base"]["epochs"] if quick["base"]["weights"] in ("", "pretrained") else 0
    rounds = sum(step["iterations"] for step in quick["step"])
    total = None if seconds is None else seconds * (epochs + rounds * quick["retrain"]["epochs"])
    trimmed = ", then ".join(f"{called(step['rule'])} on {layers_text(step['layers'])}" for step in quick["step"])
    if st.button(
        "Profile this network", type="primary", icon=":material/blur_on:", width="stretch",
        help=f"Trains the base for {epochs} epochs, then counts zeros on the validation split." if epochs
        else "Loads the weights, then counts zeros on the validation split.",
    ):  # fmt: skip
        work.start(work.base_only(draft), "profile")
    if st.button(
        "Trim it now with the defaults", icon=":material/content_cut:", width="stretch",
        help=f"{rounds} iterations: {trimmed}. Plan has settings of your own.",
    ):  # fmt: skip
        work.start(quick, "run")
    if total:
        st.caption(f"Trimming takes about {work.in_words(total)} here.")
    else:
        rough = work.rough_epoch_seconds(cost.macs, summary.splits["train"], draft["device"])
        long = "; a smaller image size, or vgg16-small, is quicker" if rough > 600 else ""
        count = epochs + rounds * quick["retrain"]["epochs"]
        st.caption(f"Very roughly {work.in_words(rough)} for each of {count} epochs on this device{long}.")

with right:
    with st.container(border=True):
        parts = summary.splits
        st.caption(
            f"{name}: {len(summary.classes)} classes, {summary.image_size}×{summary.image_size} pixels. "
            f"{parts['train']:,} images train, {parts['validation']:,} are profiled (validation), "
            f"{parts['test']:,} are only ever measured (test)."
        )
        with st.container(horizontal=True, gap="small"):
            for picture, label in summary.samples:
                st.image(picture, caption=label, width=56, alt=f"a sample of class {label}")
    if summary.skipped:
        with st.expander(f"{len(summary.skipped)} unreadable images are left out", icon=":material/broken_image:"):
            st.code("\n".join(summary.skipped[:200]))

shares = table.assign(
    parameters_share=table.parameters / cost.parameters, macs_share=table.macs / max(cost.macs, 1),
    width=table.width.where(table.width > 0).astype("Int64"),
)[["layer", "kind", "width", "note", "parameters", "parameters_share", "macs", "macs_share"]]  # fmt: skip
st.dataframe(
    shares, hide_index=True, height="content" if len(table) <= MANY else 36 * MANY, key=f"layers_{chosen}_{name}",
    placeholder="", alt="Layers with width, parameters, MACs and their shares",
    column_config=frame.explained(shares, {
        "layer": st.column_config.TextColumn(pinned=True, width=min(20 + 7 * int(table.layer.str.len().max()), 300)),
        "parameters": st.column_config.NumberColumn(format="localized"),
        "macs": st.column_config.NumberColumn("MACs", format="localized"),
        "parameters_share": st.column_config.ProgressColumn("of parameters", format="percent", max_value=1),
        "macs_share": st.column_config.ProgressColumn("of MACs", format="percent", max_value=1),
        "note": st.column_config.TextColumn("why it is frozen, or what it goes with", width="large"),
    }),
)  # fmt: skip
