"""The choice to convert smooth activations to ReLU, or ReLU to maxout units."""

from typing import Any

import streamlit as st

from dashboard.plan.origin import StartPoint, is_converted
from dashboard.widgets.fields import field
from trimcore.graph.channel_graph import ChannelGraph
from trimcore.layers import sharpened
from trimcore.surgery.grouping import groupable


def conversion(draft: dict[str, Any], start: StartPoint | None, graph: ChannelGraph) -> None:
    """The choice to convert smooth activations to ReLU, or ReLU to maxout units, if the starting network has any.
    `graph` is of the architecture."""
    smooth = " and ".join(dict.fromkeys(sharpened.smooth_modules(graph.model).values()))
    layers, convert = list(groupable(graph)), draft["convert"]
    if is_converted(start) or not (smooth or layers):
        return
    choices = {"": f"keep {smooth or 'ReLU'}"}
    choices |= {"relu": "convert to ReLU"} if smooth else {}
    choices |= {"maxout": "group into maxout units"} if layers else {}
    if convert["to"] not in choices:
        convert["to"] = ""  # it was chosen for another network
    left, right = st.columns(2)
    field(left.radio, "Activations", convert, "to", list(choices), group="convert", horizontal=True,
          format_func=choices.get, help=_help(smooth, layers))  # fmt: skip
    if convert["to"]:
        field(right.number_input, "Conversion epochs", convert, "epochs", 1, 1000, group="convert",
              help="The number of passes over the training images during the conversion.")  # fmt: skip
    if convert["to"] == "maxout":
        _units(convert, layers)
    if convert["to"] and start:
        st.caption("The preview uses the profile from before the conversion.")


def _help(smooth: str, layers: list[str]) -> str:
    texts = []
    if smooth:
        texts.append(f"{smooth} has few or no exact zeros. It is converted to ReLU during further training. After "
                     "that, there are exact zeros to count.")
    if layers:
        texts.append("Maxout units: similar neurons are grouped into units of k, and each unit passes on only its "
                     "largest activation. The least relevant neurons can then be removed (Rueda et al. 2017).")
    return "\n\n".join(texts)


def _units(convert: dict[str, Any], layers: list[str]) -> None:
    left, right = st.columns(2)
    field(left.number_input, "Neurons per unit (k)", convert, "k", 2, 16, group="convert",
          help="The number of neurons of each grouped layer must be a multiple of k.")  # fmt: skip
    chosen = {"layers": [name for name in convert["layers"] if name in layers] or layers}
    field(right.multiselect, "Layers to group", chosen, "layers", layers, group="convert", placeholder="all")
    convert["layers"] = [] if set(chosen["layers"]) in (set(), set(layers)) else chosen["layers"]
