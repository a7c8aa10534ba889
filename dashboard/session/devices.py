"""The devices of this machine, and the time that an epoch takes on them."""

from typing import Any

import streamlit as st

from dashboard.session import drafts, run_reader
from trimcore.compute import device
from trimcore.errors import TrimError

MACS_PER_SECOND = {"cpu": 5e10, "mps": 5e11, "cuda": 2e13}  # estimates, conservative for a CPU with two cores


@st.cache_resource(show_spinner=False)
def devices() -> dict[str, str]:
    """Name in the spec -> description, for each device of this machine."""
    found = {"auto": f"automatic: {device.describe(device.resolve('auto'))}"}
    for name in ("cuda:0", "cuda:1", "cuda:2", "cuda:3", "cuda:4", "cuda:5", "cuda:6", "cuda:7", "mps", "cpu"):
        try:
            found[name] = device.describe(device.resolve(name))
        except TrimError:
            continue
    return found


def epoch_seconds(values: dict[str, Any]) -> float | None:
    """The median seconds per epoch of the newest run with this network and data; None if there is none."""
    for run_id in run_reader.run_ids()[:20]:
        try:
            asked = run_reader.spec_of(run_id)
        except TrimError:
            continue
        if drafts.same_network(asked.model_dump(), values):
            times: list[float] = [e["seconds"] for e in run_reader.events(run_id) if e["kind"] == "epoch"]
            if times:
                return sorted(times)[len(times) // 2]
    return None


def rough_epoch_seconds(macs: int, images: int, device_name: str) -> float:
    """An estimate before any run has been timed. A training step costs as much as three forward passes."""
    return 3 * macs * images / MACS_PER_SECOND[device.resolve(device_name).type]
