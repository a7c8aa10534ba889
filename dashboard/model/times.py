"""Where the time of a network goes: measured on the chosen device, beside its parameters and MACs."""

from collections.abc import Iterable
from typing import Any

import pandas as pd
import streamlit as st

from dashboard.session import devices, drafts
from dashboard.session.draft_network import arguments_of
from dashboard.text import duration, plain
from dashboard.widgets import elements
from trimcore.compute.device import resolve
from trimcore.errors import TrimError
from trimcore.graph.costs import Cost
from trimcore.tables.csv_text import as_csv
from trimcore.timing.layer_times import LIMIT_SECONDS, LayerTimes
from trimcore.training.untrained import time_architecture

BEFORE, OUTSIDE = "before the first layer", "between the calls"


def section(draft: dict[str, Any], cost: Cost) -> LayerTimes | None:
    """The choice of a batch size, and the button that measures. Returns what was measured for it, if anything."""
    many = draft["retrain"]["batch_size"]
    names = {1: "one example"} | ({many: f"batches of {many}"} if many > 1 else {})
    with st.container(horizontal=True, vertical_alignment="bottom"):
        batch = st.segmented_control("Time of", list(names), default=1, required=True, key="timed_batch",
                                     format_func=names.__getitem__, persist_state="session")  # fmt: skip
        key = _key(draft, batch)
        found = _known().get(key)
        seconds = LIMIT_SECONDS + 2 * cost.macs * batch / devices.MACS_PER_SECOND[resolve(draft["device"]).type]
        label = "Measure again" if found else f"Measure the milliseconds (about {duration(seconds)})"
        if st.button(label, key="timed_measure", icon=":material/timer:"):
            try:
                with st.spinner("Timing each layer on this device…"):
                    _known()[key] = time_architecture(
                        draft["model"], arguments_of(draft), resolve(draft["device"]), batch,
                        {name: draft[name] for name in drafts.REMOVABLE},
                    )  # fmt: skip
                st.rerun()
            except TrimError as error:
                st.error(plain(str(error)), icon=":material/error:")
        if found:
            st.download_button("times.csv", as_csv(found.table()), "times.csv", "text/csv", key="timed_csv",
                               icon=":material/download:", on_click="ignore")  # fmt: skip
    return found


def rows(cost: Cost, found: LayerTimes) -> pd.DataFrame:
    """One row per layer in the order of the table, and rows for the rest: layer, kind, macs, ms (of the layer),
    after_ms (of what follows it)."""
    layers = [
        (name, layer.kind, layer.macs, *found.layers.get(name, (0.0, 0.0))) for name, layer in cost.layers.items()
    ]
    before = [(BEFORE, "", 0, found.before_ms, 0.0)] if found.before_ms else []
    rest = (OUTSIDE, "PyTorch and Python", 0, found.outside_ms, 0.0)
    return pd.DataFrame([*before, *layers, rest], columns=["layer", "kind", "macs", "ms", "after_ms"])


def columns(layers: Iterable[str], found: LayerTimes | None) -> dict[str, Any]:
    """Columns of the table of layers; none before anything is measured."""
    if found is None:
        return {}
    pairs = [found.layers.get(name, (None, None)) for name in layers]
    return {"ms": [own for own, _ in pairs], "after_ms": [after for _, after in pairs]}


def metrics(found: LayerTimes) -> None:
    """The whole network in figures."""
    name, most = max(found.layers.items(), key=lambda item: sum(item[1]))
    elements.metrics(
        ("Milliseconds", f"{found.total_ms:.3g}", f"The sum of its parts is {found.sum_ms:.3g} ms."),
        ("Examples per second", f"{1000 * found.batch / found.total_ms:,.0f}"),
        ("Slowest layer", f"{sum(most) / found.sum_ms:.0%}", f"{plain(name)}, with what follows it."),
    )


def _known() -> dict[tuple[Any, ...], LayerTimes]:
    known: dict[tuple[Any, ...], LayerTimes] = st.session_state.setdefault("layer_times", {})
    return known


def _key(draft: dict[str, Any], batch: int) -> tuple[Any, ...]:
    removable = [draft[name] for name in drafts.REMOVABLE]
    return (draft["model"], *removable, draft["device"], batch, *sorted(arguments_of(draft).items()))
