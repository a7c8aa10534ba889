"""What would be left if the run ended now, and how the retraining in progress is going."""

from typing import Any

import streamlit as st

from dashboard.session import run_reader
from dashboard.text import plain
from trimcore import runs, tables


@st.cache_data(max_entries=16, show_spinner=False)
def show(run_id: str, state: tuple[Any, ...]) -> None:
    """One or two lines; nothing before the base network is done. `state` identifies the recorded events, for the
    cache."""
    for line in lines(run_reader.events(run_id)):
        st.markdown(line)


def lines(events: list[dict[str, Any]]) -> list[str]:
    """The lines, in Markdown."""
    rows, metric = tables.iterations(events), tables.metric_of(events)
    if rows.empty:
        return []
    kept = rows[rows.iteration == runs.result_in(events)].iloc[0]
    name = plain(metric.name)
    found = [f":material/flag: **If you stop now**, iteration {kept.iteration} is the result: {kept.compression:.2f}× "
             f"smaller, test {name} {metric.text(kept.metric_final)}."]  # fmt: skip
    if ahead := tables.outlook(events):
        size = f" ({ahead.compression:.2f}× smaller)" if ahead.compression else ""
        best = "the best so far" if ahead.best_epoch == ahead.epoch else (
            f"best {metric.text(ahead.best)} after epoch {ahead.best_epoch}")  # fmt: skip
        gained = "" if ahead.gain is None else f" The last epoch {_change(metric, ahead.gain)}."
        away = "" if ahead.before is None else _away(metric, metric.loss(ahead.before, ahead.now))
        found.append(
            f":material/trending_up: **Iteration {ahead.iteration}**{size} has a validation {name} of "
            f"{metric.text(ahead.now)} after epoch {ahead.epoch} of {ahead.epochs}, {best}{away}.{gained}"
        )
    return found


def _change(metric: tables.Metric, gain: float) -> str:
    return f"{'gained' if gain > 0 else 'lost'} {_size(metric, abs(gain))}" if gain else "changed nothing"


def _away(metric: tables.Metric, loss: float) -> str:
    worse, better = ("below", "above") if metric.higher_is_better else ("above", "below")
    return f", {_size(metric, abs(loss))} {worse if loss > 0 else better} the iteration before" if loss else ""


def _size(metric: tables.Metric, value: float) -> str:
    return f"{100 * value:.2f} points" if metric.percent else f"{value:.3g}"
