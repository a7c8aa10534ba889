"""What the plan should reach: one slider for how much, and conditions that must hold as well."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import streamlit as st

from trimcore.planning.targets import Accuracy, Faster, LessWork, NoLayerAbove, Smaller, Target, Within
from trimcore.tables import Metric

FASTER, SMALLER, LESS_WORK = "faster", "smaller", "cheaper to compute"
ABOVE, WORSE = "no neuron above X % APoZ", "no worse than X"
KINDS: dict[str, Callable[..., Target]] = {
    FASTER: Faster, SMALLER: Smaller, LESS_WORK: LessWork, ABOVE: NoLayerAbove, WORSE: Accuracy,
}  # fmt: skip
TIMES = [
    1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.8, 2.0, 2.25, 2.5, 2.75, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0, 7.0, 8.0, 10.0, 12.0,
    15.0, 20.0, 25.0, 30.0, 40.0, 50.0, 75.0, 100.0, 150.0, 200.0, 300.0, 500.0, 1000.0,
]  # fmt: skip
MOST = {FASTER: 10.0, SMALLER: 1000.0, LESS_WORK: 100.0}
HELP = """One slider spreads a cut over all layers. Neurons go first where little accuracy is lost for what is saved.
Factors are relative to the starting network."""


@dataclass(frozen=True)
class Goal:
    """The targets, the first of which is the main one. `batch` examples are timed at once. The layers `held` stay."""

    targets: tuple[Target, ...]
    batch: int
    held: tuple[str, ...]

    @property
    def is_empty(self) -> bool:
        """Whether the slider still stands at 1, and nothing else asks for a cut."""
        return getattr(self.targets[0], "times", None) == 1

    @property
    def timed(self) -> bool:
        return any(isinstance(one, Faster | Within) for one in self.targets)


def choose(
    draft: dict[str, Any], layers: list[str], metric: Metric, now: float | None, ms: dict[int, float]
) -> Goal | None:
    """The widgets. `now` is the metric of the starting network and `ms` its milliseconds by batch size, where they are
    known. Returns None while nothing is chosen."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        kind = st.segmented_control("Make it", list(KINDS), key="goal", persist_state="session", wrap=True, help=HELP,
                                    format_func=lambda name: _label(name, metric))  # fmt: skip
        batch = _batch(draft) if kind == FASTER else 1
    if kind is None:
        return None
    with st.container(horizontal=True, vertical_alignment="bottom"):
        main = _main(kind, metric, now, ms.get(batch), batch)
        more, held = _conditions(kind, layers, metric, now)
    if getattr(main, "times", None) == 1 and any(isinstance(one, Smaller) for one in more):
        return Goal(tuple(more), batch, tuple(held))
    return Goal((main, *more), batch, tuple(held))


def _label(kind: str, metric: Metric) -> str:
    if kind != WORSE:
        return kind
    return f"{metric.name} at {'least' if metric.higher_is_better else 'most'} X before retraining"


def _batch(draft: dict[str, Any]) -> int:
    many = draft["retrain"]["batch_size"]
    names = {1: "one example"} | ({many: f"batches of {many}"} if many > 1 else {})
    batch: int = st.segmented_control("for", list(names), default=1, required=True, key="goal_batch",
                                      format_func=names.__getitem__, persist_state="session",
                                      help="What is timed.")  # fmt: skip
    return batch


def _main(kind: str, metric: Metric, now: float | None, ms: float | None, batch: int) -> Target:
    """The target of the slider, at first a factor of 1."""
    if kind == ABOVE:
        return NoLayerAbove(_percent("X, %", 90.0, kind))
    if kind == WORSE:
        return _no_worse(metric, now, "goal_worse")
    if kind == FASTER and ms is not None and _unit() == "ms":
        value = st.number_input("Milliseconds at most", 0.001, value=float(f"{ms / 2:.3g}"), format="%.3f", width=220,
                                key=f"goal_ms_{batch}", persist_state="session")  # fmt: skip
        return Within(value)
    options = [times for times in TIMES if times <= MOST[kind]]
    times = st.select_slider(f"How many times {kind}", options, 1.0, key=f"goal_{kind}", persist_state="session",
                             width=420, format_func=lambda value: f"{value:g}×")  # fmt: skip
    return KINDS[kind](times)


def _unit() -> str:
    return st.segmented_control("in", ["times", "ms"], default="times", required=True, key="goal_unit",
                                persist_state="session", help="A factor, or milliseconds per batch.")  # fmt: skip


def _conditions(
    kind: str, layers: list[str], metric: Metric, now: float | None
) -> tuple[list[Target], list[str]]:  # fmt: skip
    """What must hold as well, and the layers that stay whole."""
    more: list[Target] = []
    with st.popover("Conditions", icon=":material/tune:"):
        if kind in (FASTER, LESS_WORK):
            times = st.select_slider("and smaller", TIMES, 1.0, key="goal_and_smaller", persist_state="session",
                                     format_func=lambda value: f"{value:g}×")  # fmt: skip
            more += [Smaller(times)] if times > 1 else []
        if kind in (FASTER, SMALLER, LESS_WORK) and st.toggle(
            f"and {_label(WORSE, metric)}", key="goal_and_worse", persist_state="session",
        ):  # fmt: skip
            more.append(_no_worse(metric, now, "goal_and_worse_value"))
        held = st.multiselect("Layers that stay whole", layers, key="goal_held", persist_state="session",
                              placeholder="none")  # fmt: skip
    return more, [name for name in held if name in layers]


def _no_worse(metric: Metric, now: float | None, key: str) -> Accuracy:
    """A limit for the metric: by default a little worse than the starting network, once that is measured."""
    if metric.percent:
        base = 1.0 if now is None else now
        return Accuracy(_percent("X, %", max(0.0, round(100 * base - 1, 1)), key))
    start = 0.0 if now is None else float(f"{now * (1.05 if not metric.higher_is_better else 0.95):.4g}")
    value = st.number_input("X", value=start, format="%.4g", width=220, key=f"{key}_{start}", persist_state="session")
    return Accuracy(value)


def _percent(label: str, default: float, key: str) -> float:
    value = st.number_input(label, 0.0, 100.0, default, 1.0, width=220, key=f"goal_{key}_{default}",
                            persist_state="session")  # fmt: skip
    return value / 100
