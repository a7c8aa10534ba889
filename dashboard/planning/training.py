"""How a plan's run trains and profiles: the settings, each shown where it means something."""

import streamlit as st

from dashboard import work
from dashboard.planning.beginning import is_converted
from trimcore.data.augmentation import AUGMENTATIONS
from trimcore.graph.channel_graph import ChannelGraph
from trimcore.layers import sharpened
from trimcore.surgery.grouping import groupable


def conversion(draft: dict, begin: tuple[str, int] | None, graph: ChannelGraph) -> None:
    """The switch from smooth activations to ReLU, or from ReLU to maxout units, where the network that the run begins
    with has anything to convert. `graph` is of the architecture."""
    smooth_ones = " and ".join(dict.fromkeys(sharpened.smooth_modules(graph.model).values()))
    layers, convert = list(groupable(graph)), draft["convert"]
    if is_converted(begin) or not (smooth_ones or layers):
        return
    choices = {"": f"keep {smooth_ones or 'ReLU'}"}
    choices |= {"relu": "turn into ReLU"} if smooth_ones else {}
    choices |= {"maxout": "group into maxout units"} if layers else {}
    if convert["to"] not in choices:
        convert["to"] = ""  # it was chosen for another network
    left, right = st.columns(2)
    work.field(left.radio, "Activations", convert, "to", list(choices), group="convert", horizontal=True,
               format_func=choices.get, help=_why(smooth_ones, layers))  # fmt: skip
    if convert["to"]:
        label = "Epochs in which they turn" if convert["to"] == "relu" else "Epochs to settle in"
        work.field(right.number_input, label, convert, "epochs", 1, 1000, group="convert")
    if convert["to"] == "maxout":
        _units(convert, layers)
    if convert["to"] and begin:
        st.caption("The preview goes by the profile from before the activations are turned.")


def _why(smooth_ones: str, layers: list[str]) -> str:
    texts = []
    if smooth_ones:
        texts.append(f"{smooth_ones} gives few exact zeros or none. Trained on while it turns into ReLU, the network "
                     "has true zeros to count.")
    if layers:
        texts.append("Maxout units: neurons that can stand for each other are grouped, k to a unit, and only the "
                     "largest of each goes on. Their least relevant neurons can then be pruned (Rueda et al. 2017).")
    return "\n\n".join(texts)


def _units(convert: dict, layers: list[str]) -> None:
    left, right = st.columns(2)
    work.field(left.number_input, "Neurons a unit (k)", convert, "k", 2, 16, group="convert",
               help="It must divide the number of neurons of each layer that is grouped.")  # fmt: skip
    chosen = {"layers": [name for name in convert["layers"] if name in layers] or layers}
    work.field(right.multiselect, "Layers to group", chosen, "layers", layers, group="convert", placeholder="all")
    convert["layers"] = [] if set(chosen["layers"]) in (set(), set(layers)) else chosen["layers"]


def near_zero(draft: dict, graph: ChannelGraph) -> None:
    """How near to zero counts as zero, where the network has activations without true zeros."""
    if all(site.exact for site in graph.sites):
        return
    work.field(st.number_input, "Count as zero, up to × RMS", draft["profile"], "tolerance", 0.0, 1.0, step=0.05,
               group="profile", help="This network has activations that only come near zero. They count as zero up to "
               "this share of the root mean square of all activations at their place; 0 counts exact zeros. "
               "ReLU always counts exact zeros.")  # fmt: skip


def training_settings(draft: dict, begin: tuple[str, int] | None, graph: ChannelGraph) -> None:
    """Closed until somebody opens it: its many fields would be drawn anew with every click on the page."""
    with st.expander("Training, stopping, repeating", key="settings", on_change="rerun",
                     icon=":material/settings:") as box:  # fmt: skip
        if box.open:
            _fields(draft, begin, graph)


def _fields(draft: dict, begin: tuple[str, int] | None, graph: ChannelGraph) -> None:
    retrain, base, augment = draft["retrain"], draft["base"], draft["retrain"]["augment"]
    left, right = st.columns(2)
    work.field(left.number_input, "Epochs after each cut", retrain, "epochs", 0, 1000, group="retrain")
    work.field(right.number_input, "Learning rate", retrain, "lr", 1e-5, 10.0, format="%g", group="retrain")
    work.field(left.number_input, "Batch size", retrain, "batch_size", 1, 65_536, group="retrain")
    work.field(right.selectbox, "Augmentation", retrain, "augment", list(AUGMENTATIONS),
               group="retrain", help="nudge: moved by up to 1/28 of its size; shift: by up to 1/14; flip: mirrored; "
               "affine: turned, scaled, sheared and moved a little.")  # fmt: skip
    if begin is None and base["weights"] in ("", "pretrained"):
        work.field(left.number_input, "Epochs of the base network", base, "epochs", 0, 1000, group="base")
        work.field(right.number_input, "Learning rate of the base", base, "lr", 1e-5, 10.0, format="%g",
                   group="base")  # fmt: skip
    if retrain["augment"] != augment:
        base["augment"] = retrain["augment"]
    work.field(st.checkbox, "Keep the momentum over a cut", retrain, "keep_momentum", group="retrain",
               help="Retraining goes on with the optimizer's momentum of the weights that are kept; "
               "otherwise it begins without any.")  # fmt: skip
    distill = draft["distill"]
    work.field(left.number_input, "Share that the first network teaches", distill, "weight", 0.0, 1.0, step=0.1,
               group="distill")  # fmt: skip
    work.field(right.number_input, "Temperature", distill, "temperature", 0.5, 100.0, step=0.5, group="distill",
               disabled=not distill["weight"])  # fmt: skip
    work.field(left.number_input, "Seed", draft, "seed", 0, 2**31 - 1)
    work.field(right.number_input, "Examples to profile", draft["profile"], "examples", 0, 10_000_000,
               help="Of the validation split; 0 is all.")  # fmt: skip
    if graph.units:
        work.field(right.number_input, "Examples to measure relevance on", draft["profile"], "relevance_examples",
                   0, 10_000_000, help="Of the training split; 0 is all.")  # fmt: skip
    work.field(left.number_input, "Lowest accuracy, 0 to 1", draft["stop"], "min_accuracy", 0.0, 1.0, step=0.005,
               format="%.3f", help="The run ends when the validation accuracy after retraining falls below it; "
               "the iteration before is then the result.")  # fmt: skip
    work.field(right.text_input, "Name of the run", draft, "name", max_chars=80)
    work.field(st.toggle, "Also train the final widths from new weights", draft["control"], "scratch",
               help="An honest control: does starting from the kept weights help at all?")  # fmt: skip
