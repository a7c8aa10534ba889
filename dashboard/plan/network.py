"""The network that a plan applies to: the architecture, or its version with maxout units after a conversion."""

from typing import Any

import streamlit as st

from dashboard.plan.origin import StartPoint, is_converted, iteration_event
from dashboard.session import drafts, run_reader
from dashboard.session.draft_network import arguments_of
from trimcore import runs
from trimcore.graph.channel_graph import ChannelGraph
from trimcore.planning.preview import Seen
from trimcore.spec import Convert, Spec
from trimcore.training import prepare

Profile = dict[str, Seen] | None


def planned(
    draft: dict[str, Any], start: StartPoint | None, graph: ChannelGraph, seen: Profile
) -> tuple[ChannelGraph, Profile]:
    """The graph to plan with, and the matching profile. `graph` is of the architecture.

    If the starting network was grouped into units that the architecture does not have, its neurons are in another
    order. Then the network itself is used. Raises TrimError for an impossible grouping.
    """
    if start and set(iteration_event(start).get("k") or {}) - set(graph.units):
        path = runs.checkpoint_of(run_reader.folder(), *start)
        now = {name: Seen(layer.apoz, range(len(layer.apoz))) for name, layer in (seen or {}).items()}
        return _of_checkpoint(str(path), path.stat().st_mtime_ns, run_reader.spec_of(start[0])), now or None
    convert = draft["convert"]
    if convert["to"] != "maxout" or is_converted(start):
        return graph, seen
    what = tuple(draft[key] for key in drafts.REMOVABLE)
    return _grouped(draft["model"], tuple(convert["layers"]), convert["k"], what, **arguments_of(draft)), seen


@st.cache_resource(max_entries=4, show_spinner="Loading the starting network…")
def _of_checkpoint(path: str, changed: int, _asked: Spec) -> ChannelGraph:
    return prepare.open_network(path, removable=_asked.removable)[1]


@st.cache_resource(max_entries=8, show_spinner=False)
def _grouped(
    model: str, layers: tuple[str, ...], k: int, removable: tuple[bool, ...], num_classes: int, in_channels: int,
    image_size: int, **options: int,
) -> ChannelGraph:  # fmt: skip
    convert, what = Convert(to="maxout", layers=list(layers), k=k), dict(zip(drafts.REMOVABLE, removable, strict=True))
    return prepare.blank(model, num_classes, in_channels, image_size, convert, what, **options)
