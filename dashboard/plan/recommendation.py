"""How far the slider could go: what a few factors cost before retraining, and the point after which it costs more."""

from collections.abc import Callable
from typing import Any

import pandas as pd
import streamlit as st

from dashboard import charts
from dashboard.plan import measurement
from dashboard.plan.goal import Goal
from dashboard.plan.origin import StartPoint
from dashboard.text import duration
from dashboard.widgets import elements
from trimcore.errors import TrimError
from trimcore.planning.knee import knee
from trimcore.planning.targets import Faster, LessWork, Smaller
from trimcore.tables import Metric

WORDS = {Faster: "faster", Smaller: "smaller", LessWork: "fewer MACs"}
FACTORS = [1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 20.0, 40.0]
ENOUGH = 0.4  # of the metric: below this share of its first value, a network has nothing left to retrain from
AT_ONCE = 10.0  # seconds that it may take without a button


def section(
    start: StartPoint, asked: Goal, base: float, metric: Metric, propose: Callable[[Goal], dict[str, Any]]
) -> None:
    """The chart and the recommendation, for a goal whose target is a factor. `base` is the metric of the starting
    network. `propose` computes a plan for a goal; its result has "value", the metric before retraining, and "seconds",
    how long that took."""
    main = asked.targets[0]
    if not isinstance(main, Faster | Smaller | LessWork):
        return
    with st.spinner("Computing the plan…"):
        first = propose(_at(asked, FACTORS[0]) if asked.is_empty else asked)
    key = (*measurement.weights_key(start), "recommendation", type(main), asked.targets[1:], asked.batch, asked.held)
    ready, about = key in measurement.known, first["seconds"] * len(FACTORS)
    if not ready and about > AT_ONCE and not st.button(
        f"How far can it go? (about {duration(about)})", key="goal_knee", icon=":material/star:",
        help="Computes a plan for several factors and measures each before retraining.",
    ):  # fmt: skip
        return
    with st.spinner("Measuring what each step further costs…"):
        points = measurement.cached(key, lambda: _points(asked, base, metric, propose))
    if len(points) < 3:
        return
    times, values = [one for one, _ in points], [value for _, value in points]
    place = knee(times, values, metric)
    word = WORDS[type(main)]
    st.markdown(text(times, values, place, word, metric))
    chosen = (1.0, base) if asked.is_empty else (main.times, first["value"])
    table = pd.DataFrame(points, columns=["times", "value"])
    elements.chart(charts.goal_curve(table, times[place], chosen, word, metric), "goal_curve")


def _points(
    asked: Goal, base: float, metric: Metric, propose: Callable[[Goal], dict[str, Any]]
) -> list[tuple[float, float]]:  # fmt: skip
    """(factor, metric before retraining), from (1, base) on, until a factor cannot be reached or little is left."""
    found = [(1.0, base)]
    for factor in FACTORS:
        try:
            value = propose(_at(asked, factor))["value"]
        except TrimError:
            break  # no plan reaches it
        found.append((factor, value))
        if metric.loss(base, value) > (1 - ENOUGH) * abs(base):
            break
    return found


def _at(asked: Goal, factor: float) -> Goal:
    """The goal with another factor."""
    return Goal((type(asked.targets[0])(factor), *asked.targets[1:]), asked.batch, asked.held)


def text(times: list[float], values: list[float], place: int, word: str, metric: Metric) -> str:
    """The recommendation and why, in Markdown."""
    if place == 0:
        return f":material/star: Every step up to {times[-1]:g}× costs the same, so no point stands out."
    here = f":material/star: **Recommended: {times[place]:g}× {word}.** There, {metric.name} before retraining is "
    here += f"{metric.text(values[place], 1)}, from {metric.text(values[0], 1)}"
    if place + 1 == len(times):
        return f"{here}. No factor beyond it was reached."
    return f"{here}. At the next point, {times[place + 1]:g}×, it is {metric.text(values[place + 1], 1)}."
