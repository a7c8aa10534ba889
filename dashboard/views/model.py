"""Where are the weights, and where is the work? Choose a network and data, and begin."""

import pandas as pd
import streamlit as st

from dashboard import charts, frame, work
from dashboard.uploads import keep_upload
from trimcore import data, models
from trimcore.costs import cost_of
from trimcore.errors import TrimError

draft = work.draft()
left, right = st.columns([1, 2], gap="large")

with left:
    names = list(models.REGISTRY)
    chosen = st.selectbox("Model", names, names.index(draft["model"]), help="An architecture from the registry.")
    st.caption(models.REGISTRY[chosen].description)
    kinds = list(data.datasets())
    kind = next((k for k in kinds if k == draft["data"]), "imagefolder:PATH")
    kind = st.selectbox("Data", kinds, kinds.index(kind), help="APoZ is profiled on the validation split.")
    name = kind
    if kind == "imagefolder:PATH":
        path = st.text_input("Folder of images, one folder a class", draft["data"].partition(":")[2])
        name = f"imagefolder:{path}"
    else:
        st.caption(data.datasets()[kind])
    if (chosen, name) != (draft["model"], draft["data"]):
        fresh = work.draft_for(chosen, name) if chosen != draft["model"] else {**draft, "image_size": 0}
        work.replace_draft({**fresh, "data": name, "device": draft["device"]})
        st.rerun()  # the side bar shows the work at hand

    sources = ["train new weights", "checkpoint file"]
    if models.REGISTRY[chosen].pretrained:
        sources.insert(0, "pretrained on ImageNet")
    current = draft["base"]["weights"]
    source = st.selectbox("Weights", sources, sources.index(
        "pretrained on ImageNet" if current == "pretrained" and len(sources) > 2
        else "checkpoint file" if current not in ("", "pretrained") else "train new weights"
    ), key=f"weights_{chosen}", persist_state="session")  # fmt: skip
    if source == "checkpoint file":
        uploaded = st.file_uploader(
            "State dict (.pt, .pth) or .safetensors", ["pt", "pth", "safetensors"],
            help="Weights only. A file that holds a pickled class is refused.",
        )  # fmt: skip
        if uploaded is not None:
            try:
                draft["base"]["weights"] = str(keep_upload(uploaded, draft))
                st.success("The weights fit this architecture.", icon=":material/check:")
            except TrimError as error:
                draft["base"]["weights"] = ""
                st.error(frame.plain(str(error)))
        elif draft["base"]["weights"] in ("", "pretrained"):
            st.caption("Without a file, new weights are trained.")
            draft["base"]["weights"] = ""
        else:
            st.caption("The file from before is kept.")
    else:
        draft["base"]["weights"] = "pretrained" if source.startswith("pretrained") else ""
    if models.REGISTRY[chosen].image_size or kind == "imagefolder:PATH":
        natural = models.REGISTRY[chosen].image_size or 64
        least = models.REGISTRY[chosen].min_size
        asked = {"image_size": draft["image_size"] or natural}
        size = work.field(st.number_input, "Image size, pixels", asked, "image_size", least, 1024, step=4,
                          help="Images are resized to it. Smaller is faster.")  # fmt: skip
        draft["image_size"] = 0 if size == natural else size
    found = work.devices()
    if draft["device"] not in found:
        draft["device"] = "auto"
    work.field(st.selectbox, "Device", draft, "device", list(found), format_func=found.get)

with right:
    try:
        with st.spinner(f"Reading {name}; it is downloaded the first time…"):
            summary = work.data_summary(name)
        graph = work.graph_for(chosen, name, draft["image_size"])
    except TrimError as error:
        st.error(frame.plain(str(error)), icon=":material/folder_off:")
        st.stop()
    cost = cost_of(graph)
    trimmable = set(graph.trimmable())
    tied = {other: layer.leader for layer in graph.layers.values() for other in layer.tied}
    table = pd.DataFrame([
        {
            "layer": layer, "kind": c.kind, "width": c.width, "parameters": c.parameters, "macs": c.macs,
            "frozen": graph.layers[layer].reason or (f"goes with {tied[layer]}" if layer in tied else ""),
        }
        for layer, c in cost.layers.items()
    ])  # fmt: skip
    neurons = int(table.width[table.layer.isin(trimmable)].sum())
    frame.metrics(
        ("Parameters", f"{cost.parameters:,}"),
        ("MACs", f"{cost.macs:,}", "Multiply-accumulates of one example, of convolution and linear layers."),
        ("Trimmable neurons", f"{neurons:,}", "Channels of convolutions and outputs of linear layers that may go."),
        ("Frozen neurons", f"{int(table.width.sum()) - neurons:,}", "Outputs, and channels that an operation holds."),
    )
    frame.chart(charts.butterfly(table), "butterfly")

with left:
    quick = {**work.draft_for(chosen, name), "name": f"{chosen} quick start"}
    quick.update({key: draft[key] for key in ("device", "image_size", "base")})
    seconds = work.epoch_seconds(chosen, name, draft["image_size"])
    epochs = quick["base"]["epochs"] if quick["base"]["weights"] in ("", "pretrained") else 0
    rounds = sum(step["iterations"] for step in quick["step"])
    total = None if seconds is None else seconds * (epochs + rounds * quick["retrain"]["epochs"])
    trimmed = ", then ".join(" and ".join(step["layers"]) for step in quick["step"])
    if st.button(
        "Profile this network", type="primary", icon=":material/blur_on:", width="stretch",
        help=f"Trains the base for {epochs} epochs, then counts zeros on the validation split." if epochs
        else "Loads the weights, then counts zeros on the validation split.",
    ):  # fmt: skip
        work.start(work.base_only(draft), "profile")
    if st.button(
        "Trim it now with the defaults", icon=":material/content_cut:", width="stretch",
        help=f"{rounds} iterations of the paper's rule on {trimmed}. Plan has settings of your own.",
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
    shares = table.assign(parameters_share=table.parameters / cost.parameters, macs_share=table.macs / cost.macs)
    st.dataframe(
        shares[["layer", "kind", "width", "parameters", "parameters_share", "macs", "macs_share", "frozen"]],
        hide_index=True, height="content", key=f"layers_{chosen}_{name}",
        alt="Layers with width, parameters, MACs and their shares",
        column_config={
            "parameters": st.column_config.NumberColumn(format="localized"),
            "macs": st.column_config.NumberColumn("MACs", format="localized"),
            "parameters_share": st.column_config.ProgressColumn("of parameters", format="percent", max_value=1),
            "macs_share": st.column_config.ProgressColumn("of MACs", format="percent", max_value=1),
            "frozen": st.column_config.TextColumn("why it cannot be trimmed", width="medium"),
        },
    )  # fmt: skip
