"""Widgets to choose a rule: its name, its value with a suitable range, and one line about what it does."""

from collections import Counter
from collections.abc import Iterable, Sequence

import streamlit as st

from dashboard import glossary
from trimcore.planning.preview import beyond as _beyond
from trimcore.spec import NEURON_RULES, WEIGHT_RULES

DESCRIPTIONS = {
    "mean+std": "remove neurons above the layer's mean + value × standard deviation (the paper uses 1)",
    "absolute": "remove neurons with an APoZ above this value",
    "fraction": "remove this share of each layer's neurons",
    "count": "remove this many neurons from each layer",
    "keep": "keep this many neurons in each layer",
    "maxout": "remove this many neurons from each maxout unit; at least one remains",
    "smaller": "remove neurons of all layers until the network has this many times fewer parameters",
    "quality": "set weights up to value × the layer's standard deviation to zero (Han et al. 2015)",
    "sparsity": "set the smallest weights to zero until this share of each layer is zero",
    "sparsity-overall": "set the smallest weights to zero until this share of all chosen layers together is zero",
}
LABELS = {  # of rules that are not shown under their name in a spec
    "maxout": "least relevant per unit", "smaller": "shrink factor", "quality": "quality × std",
    "sparsity": "sparsity per layer", "sparsity-overall": "overall sparsity",
}  # fmt: skip
LAYER_RULES = [name for name in NEURON_RULES if name not in ("maxout", "smaller")]  # applied to each layer separately
# lowest, highest, step, default
RANGES = {
    "mean+std": (-1.0, 3.0, 0.1, 1.0), "absolute": (0.0, 1.0, 0.01, 0.9), "fraction": (0.0, 0.95, 0.05, 0.2),
    "count": (1, 4096, 1, 10), "keep": (1, 4096, 1, 20),
    "maxout": (1, 15, 1, 1), "smaller": (1.05, 20.0, 0.05, 1.5),
    "quality": (0.05, 4.0, 0.05, 1.0), "sparsity": (0.01, 0.99, 0.01, 0.7),
    "sparsity-overall": (0.01, 0.99, 0.01, 0.7),
}  # fmt: skip


def choose_rule(
    key: str, rule: str = "mean+std", value: float | None = None, names: Sequence[str] = LAYER_RULES
) -> tuple[str, float]:
    """Widgets for a rule, one of `names`, and its value."""
    rule = rule if rule in names else names[0]
    picked = st.segmented_control(
        "Rule to prune weights" if names[0] in WEIGHT_RULES else "Rule to remove neurons", names, default=rule,
        required=True, wrap=True, key=f"{key}_rule", persist_state="session", format_func=label,
        help="\n".join(f"- **{label(name)}**: {DESCRIPTIONS[name]}" for name in names),
    )  # fmt: skip
    low, high, step, default = RANGES[picked]
    if value is not None and picked == rule:
        default = min(max(value, low), high)
    kind = st.slider if isinstance(step, float) else st.number_input
    chosen = kind(f"Value: {DESCRIPTIONS[picked]}", low, high, type(step)(default), step,
                  key=f"{key}_{picked}_value", persist_state="session",
                  help=glossary.about(label(picked)) or None)  # fmt: skip
    return picked, float(chosen)


def label(rule: str) -> str:
    """The display name of a rule."""
    return LABELS.get(rule, rule)


@st.cache_data(max_entries=1024, show_spinner=False)  # networks have hundreds of layers
def _removed_by(
    apoz: tuple[float, ...], rule: str, value: float, groups: tuple[int, ...] | None
) -> tuple[list[int], float | None]:
    return _beyond(apoz, rule, value, groups)


def removed_by(
    apoz: Iterable[float], rule: str, value: float, groups: Iterable[int] | None = None
) -> tuple[list[int], float | None]:
    """The neurons that a rule would remove, and its threshold. Neurons with the same number in `groups` can only be
    removed together."""
    return _removed_by(tuple(apoz), rule, value, None if groups is None else tuple(groups))


def group_sizes_text(groups: Iterable[int]) -> str:
    """How the neurons of a layer are grouped for removal: "55 groups of 8"; "" if each can be removed alone."""
    sizes = sorted(Counter(groups).values())
    if not sizes or sizes[-1] == 1:
        return ""
    size = f"{sizes[0]}" if sizes[0] == sizes[-1] else f"{sizes[0]} to {sizes[-1]}"
    return f"{len(sizes)} group{'s' if len(sizes) > 1 else ''} of {size}"
