"""The network that a plan is carried out on: the architecture, or what a conversion to maxout makes of it."""


import streamlit as st

from dashboard import store, work
from dashboard.planning.beginning import is_converted, row_of
from trimcore import runs
from trimcore.graph.channel_graph import ChannelGraph
from trimcore.planning.preview import Seen
from trimcore.spec import Convert
from trimcore.training import prepare

Profile = dict[str, Seen] | None


def planned(
    draft: dict, begin: tuple[str, int] | None, graph: ChannelGraph, seen: Profile
) -> tuple[ChannelGraph, Profile]:
    """The graph to plan with, and the profile as seen on it. `graph` is of the architecture.

    Where neurons of the beginning were grouped into units that the architecture does not have, they stand in another
    order than there: then the network itself is what is planned with. Raises TrimError for a grouping that cannot be.
    """
    if begin and set(row_of(begin).get("k") or {}) - set(graph.units):
        path = runs.checkpoint_path(runs.open_run(store.folder(), begin[0]), begin[1])
        now = {name: Seen(layer.apoz, range(len(layer.apoz))) for name, layer in (seen or {}).items()}
        return _of_checkpoint(str(path), path.stat().st_mtime_ns), now or None
    convert = draft["convert"]
    if convert["to"] != "maxout" or is_converted(begin):
        return graph, seen
    return _grouped(draft["model"], tuple(convert["layers"]), convert["k"], **work.arguments_of(draft)), seen


@st.cache_resource(max_entries=4, show_spinner="Reading the network to begin from…")
def _of_checkpoint(path: str, changed: int) -> ChannelGraph:
    return prepare.open_network(path)[1]


@st.cache_resource(max_entries=8, show_spinner=False)
def _grouped(
    model: str, layers: tuple[str, ...], k: int, num_classes: int, in_channels: int, image_size: int, **options: int
) -> ChannelGraph:
    convert = Convert(to="maxout", layers=list(layers), k=k)
    return prepare.blank(model, num_classes, in_channels, image_size, convert, **options)
