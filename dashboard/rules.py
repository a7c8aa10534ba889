"""Rules as people choose them: a name, a value with a fitting slider, and one line on what they do."""

from collections import Counter
from collections.abc import Iterable, Sequence

import streamlit as st

from dashboard import glossary
from trimcore.planning.preview import beyond as _beyond
from trimcore.spec import NEURON_RULES, WEIGHT_RULES

LINES = {
    "mean+std": "above the layer's mean + value × its standard deviation (the paper: 1)",
    "absolute": "above a fixed APoZ",
    "fraction": "the highest share of each layer",
    "count": "the highest few of each layer",
    "keep": "all but the lowest few of each layer",
    "maxout": "the least relevant few of each maxout unit; a unit keeps at least one",
    "smaller": "of all layers together, until the network has so many times fewer parameters",
    "quality": "below value × the standard deviation of the layer's weights (Han et al. 2015)",
    "sparsity": "the smallest, until this share of each layer is zero",
    "sparsity-overall": "the smallest, until this share of all these layers together is zero",
}
NAMES = {"maxout": "least of each unit", "smaller": "times smaller", "quality": "quality × std",
         "sparsity": "sparsity of each layer",
         "sparsity-overall": "sparsity overall"}  # of rules that are not called as in a spec
OF_LAYERS = [name for name in NEURON_RULES if name not in ("maxout", "smaller")]  # of each layer by itself
# smallest, largest, step, to begin with
RANGES = {
    "mean+std": (-1.0, 3.0, 0.1, 1.0), "absolute": (0.0, 1.0, 0.01, 0.9), "fraction": (0.0, 0.95, 0.05, 0.2),
    "count": (1, 4096, 1, 10), "keep": (1, 4096, 1, 20),
    "maxout": (1, 15, 1, 1), "smaller": (1.05, 20.0, 0.05, 1.5),
    "quality": (0.05, 4.0, 0.05, 1.0), "sparsity": (0.01, 0.99, 0.01, 0.7),
    "sparsity-overall": (0.01, 0.99, 0.01, 0.7),
}  # fmt: skip


def choose_rule(
    key: str, rule: str = "mean+std", value: float | None = None, names: Sequence[str] = OF_LAYERS
) -> tuple[str, float]:
    """Widgets for a rule, one of `names`, and its value."""
    rule, weights = rule if rule in names else names[0], names[0] in WEIGHT_RULES
    picked = st.segmented_control(
        "Rule: hold weights at zero…" if weights else "Rule: remove neurons…", names, default=rule, required=True,
        wrap=True, key=f"{key}_rule", persist_state="session", format_func=called,
        help="\n".join(f"- **{called(name)}**: {LINES[name]}" for name in names),
    )  # fmt: skip
    low, high, step, begin = RANGES[picked]
    if value is not None and picked == rule:
        begin = min(max(value, low), high)
    kind = st.slider if isinstance(step, float) else st.number_input
    label = f"Value: {'holds weights at zero' if weights else 'removes neurons'}, {LINES[picked]}"
    label = "Value: keeps only the lowest few" if picked == "keep" else label
    chosen = kind(label, low, high, type(step)(begin), step, key=f"{key}_{picked}_value", persist_state="session",
                  help=glossary.about(called(picked)) or None)  # fmt: skip
    return picked, float(chosen)


def called(rule: str) -> str:
    """A rule as people read it."""
    return NAMES.get(rule, rule)


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
