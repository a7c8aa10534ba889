"""The network that a draft describes, as it would be built for its data."""

from collections.abc import Mapping
from typing import Any

import streamlit as st

from dashboard.session import drafts
from dashboard.session.data_summary import data_summary
from trimcore import data, models
from trimcore.graph.channel_graph import ChannelGraph
from trimcore.training import prepare


def arguments_for(
    model: str, data_name: str, image_size: int = 0, channels: int = 0, options: Mapping[str, int] | None = None
) -> dict[str, int]:
    """The arguments with which a model would be built for a data set. `image_size`, `channels` and `options` are as in
    a spec. Raises TrimError."""
    entry, found = models.architecture(model), data_summary(data_name)
    size = found.image_size if data.is_own(data_name) else entry.size_for(found.image_size, image_size)
    fitted = entry.channels_for(found.channels, channels), size
    return entry.arguments_for(len(found.classes), *fitted, options)


def arguments_of(values: dict[str, Any]) -> dict[str, int]:
    """The arguments with which the network of a draft or a spec would be built. Raises TrimError."""
    return arguments_for(*(values[key] for key in drafts.NETWORK))


def graph_of(values: dict[str, Any]) -> ChannelGraph:
    """The channel graph of a draft's architecture, built for its data. Raises TrimError."""
    return _graph(values["model"], tuple(values[key] for key in drafts.REMOVABLE), **arguments_of(values))


@st.cache_resource(max_entries=16, show_spinner=False)
def _graph(
    model: str, removable: tuple[bool, ...], num_classes: int, in_channels: int, image_size: int, **options: Any
) -> ChannelGraph:
    what = dict(zip(drafts.REMOVABLE, removable, strict=True))
    return prepare.blank(model, num_classes, in_channels, image_size, removable=what, **options)
