"""Rules as people choose them: a name, a value with a fitting slider, and one line on what they do."""

from collections import Counter
from collections.abc import Iterable

import streamlit as st

from trimcore.preview import beyond as _beyond

LINES = {
    "mean+std": "above the layer's mean + value × its standard deviation (the paper: 1)",
    "absolute": "above a fixed APoZ",
    "fraction": "the highest share of each layer",
    "count": "the highest few of each layer",
    "keep": "all but the lowest few of each layer",
}
# smallest, largest, step, to begin with
RANGES = {
    "mean+std": (-1.0, 3.0, 0.1, 1.0), "absolute": (0.0, 1.0, 0.01, 0.9), "fraction": (0.0, 0.95, 0.05, 0.2),
    "count": (1, 4096, 1, 10), "keep": (1, 4096, 1, 20),
}  # fmt: skip


def choose_rule(key: str, rule: str = "mean+std", value: float | None = None) -> tuple[str, float]:
    """Widgets for a rule and its value."""
    names = list(LINES)
    picked = st.segmented_control(
        "Rule: remove neurons…", names, default=rule, required=True, wrap=True, key=f"{key}_rule",
        persist_state="session", help="\n".join(f"- **{name}**: {line}" for name, line in LINES.items()),
    )  # fmt: skip
    low, high, step, begin = RANGES[picked]
    if value is not None and picked == rule:
        begin = min(max(value, low), high)
    kind = st.slider if isinstance(step, float) else st.number_input
    label = f"Value: removes neurons {LINES[picked]}" if picked != "keep" else "Value: keeps only the lowest few"
    chosen = kind(label, low, high, type(step)(begin), step, key=f"{key}_{picked}_value", persist_state="session")
    return picked, float(chosen)


@st.cache_data(max_entries=1024, show_spinner=False)  # networks have hundreds of layers
def _goes(
    apoz: tuple[float, ...], rule: str, value: float, groups: tuple[int, ...] | None
) -> tuple[list[int], float | None]:
    return _beyond(apoz, rule, value, groups)


def beyond(
    apoz: Iterable[float], rule: str, value: float, groups: Iterable[int] | None = None
) -> tuple[list[int], float | None]:
    """The neurons that would go, and the threshold. Those with the same number in `groups` only go together."""
    return _goes(tuple(apoz), rule, value, None if groups is None else tuple(groups))


def going_together(groups: Iterable[int]) -> str:
    """In words, how the neurons of a layer go together: "55 groups of 8"; "" where each goes alone."""
    sizes = sorted(Counter(groups).values())
    if not sizes or sizes[-1] == 1:
        return ""
    size = f"{sizes[0]}" if sizes[0] == sizes[-1] else f"{sizes[0]} to {sizes[-1]}"
    return f"{len(sizes)} group{'s' if len(sizes) > 1 else ''} of {size}"
