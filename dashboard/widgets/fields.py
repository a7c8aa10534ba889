"""Widgets that show and edit a value of the draft."""

from collections.abc import Callable
from typing import Any

import streamlit as st

from dashboard import glossary
from trimcore.graph.channel_graph import ChannelGraph


def field(
    kind: Callable[..., Any], label: str, holder: dict[str, Any], name: str, *arguments: Any, **settings: Any
) -> Any:
    """A widget that shows and edits `holder[name]`. `kind` is st.number_input or similar, of any container. The help is
    the glossary's text for the label, unless another help is given.

    The widget's identity does not depend on the value. A widget whose default changed with each edit would lose every
    second edit.
    """
    key = f"field_{st.session_state.get('draft_number', 0)}_{settings.pop('group', '')}_{name}"
    if key not in st.session_state:  # shown for the first time, or discarded while another page was open
        st.session_state[key] = holder[name]
    holder[name] = kind(label, *arguments, key=key, **{"help": glossary.about(label) or None, **settings})
    return holder[name]


def near_zero(draft: dict[str, Any], graph: ChannelGraph) -> None:
    """The tolerance for near zeros, if the network has activations without exact zeros."""
    if all(site.exact for site in graph.sites):
        return
    field(st.number_input, "Zero tolerance, × RMS", draft["profile"], "tolerance", 0.0, 1.0, step=0.05,
          group="profile", help="Some activations of this network come close to zero but are rarely exactly zero. "
          "They count as zero up to this fraction of the root mean square of all activations at the same point of "
          "the network. With 0, only exact zeros count. ReLU always counts exact zeros.")  # fmt: skip
