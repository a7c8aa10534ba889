"""A sweep on the page Compare: how its runs do, what each setting changes, and buttons to stop or complete it."""

import re
from collections import Counter
from collections.abc import Mapping

import pandas as pd
import streamlit as st

from dashboard import charts
from dashboard.charts.tables import counted
from dashboard.session import headline, links, messages, navigation, run_reader, viewers
from dashboard.text import plain
from dashboard.widgets import elements
from trimcore import runs, tables
from trimcore.jobs import sweep_rule, sweeps
from trimcore.runs.sweeps import BEHIND, MET, Member, short_names, value_text
from trimcore.tables import Metric
from trimcore.tables.csv_text import as_csv

KEY = "sweep_shown"  # the key of the selectbox; the page Plan sets it
WAITING = ("queued", "starting")
ENDED_EARLY = ("stopped", "failed", "lost")
MOST_REASONS = 5  # that are listed above the charts
RUN, NAMED = re.compile(r"run [\w.-]+ \((.*?)\)"), r"\1"  # in a reason, its settings say more than the id of a run


def show() -> None:
    """The section, if there are sweeps. While a sweep is active, it is drawn again every few seconds."""
    known = run_reader.all_sweeps()
    if not known:
        return
    active = [name for name, own in known.items() if any(run_reader.status(run_id).active for run_id in own)]
    links.bind("sweep", KEY, known, active[0] if active else None)
    st.markdown("##### Sweep")
    chosen = st.selectbox(
        "Sweep", list(known), key=KEY, format_func=lambda name: title(name, known[name]), index=None,
        placeholder="Choose a sweep", label_visibility="collapsed", persist_state="session",
    )  # fmt: skip
    if chosen is None:
        return
    with st.container(horizontal=True):  # outside of the part that is drawn again, which would close the dialog
        _buttons(chosen, known[chosen])

    @st.fragment(run_every=2 * viewers.interval() if chosen in active else None, key=f"sweep_{chosen}")
    def panel() -> None:
        own = run_reader.all_sweeps().get(chosen, {})
        statuses = {run_id: run_reader.status(run_id) for run_id in own}
        if any(status.active for status in statuses.values()) != (chosen in active):
            st.rerun()
        _panel(chosen, own, statuses)

    panel()


def title(sweep_id: str, own: Mapping[str, Member]) -> str:
    """`lenet5, value × seed: 6 runs, 11/30 15:16`."""
    first = next(iter(own))
    keys = next((list(member.settings) for member in own.values() if member.point is not None), [])
    date, time = sweep_id.split("-")[1:3] if sweep_id.count("-") >= 3 else ("", "")
    when = f", {date[4:6]}/{date[6:8]} {time[:2]}:{time[2:4]}" if date.isdigit() and time.isdigit() else ""
    model = first.split("-", 2)[-1].rpartition("-")[0]
    name = run_reader.short_title(first).rpartition(" · ")[0] or model
    count = max(member.points for member in own.values())
    return f"{name}, {' × '.join(short_names(keys).values())}: {counted(count, 'run')}{when}"


def _panel(sweep_id: str, own: Mapping[str, Member], statuses: Mapping[str, runs.Status]) -> None:
    points = {run_id: member for run_id, member in own.items() if member.point is not None}
    st.markdown(state_line(points, statuses, max(member.points for member in own.values())))
    if ended := [f"{points[run_id].label}: {RUN.sub(NAMED, statuses[run_id].reason)}" for run_id in points
                 if statuses[run_id].state in ENDED_EARLY]:  # fmt: skip
        more = f"\n- and {len(ended) - MOST_REASONS} more, see the table" if len(ended) > MOST_REASONS else ""
        st.caption("\n".join(f"- {plain(text)}" for text in ended[:MOST_REASONS]) + more)
    if points:
        _charts(points, statuses)
        _table(_read_table(sweep_id), points)


def _read_table(sweep_id: str) -> pd.DataFrame:
    return sweeps.table(run_reader.folder(), sweep_id, lambda path: run_reader.events(path.name))


def _buttons(sweep_id: str, own: Mapping[str, Member]) -> None:
    if any(run_reader.status(run_id).active for run_id in own):
        st.button("Stop sweep…", key="stop_sweep", icon=":material/stop:", on_click=confirm_stop, args=(sweep_id,))
    elif not sweeps.is_complete(run_reader.folder(), sweep_id):
        st.button("Complete sweep", key="complete_sweep", icon=":material/play_arrow:", on_click=messages.attempt,
                  args=(sweeps.complete, run_reader.folder(), sweep_id),
                  help="Launches the runs that are missing, and resumes those that ended before they were done. "
                  "Runs that the sweep's rule has stopped stay as they are.")  # fmt: skip
    st.download_button("sweep.csv", lambda: as_csv(_read_table(sweep_id)), "sweep.csv", "text/csv", key="sweep_csv",
                       icon=":material/download:", on_click="ignore")  # fmt: skip


@st.dialog("Stop this sweep?")
def confirm_stop(sweep_id: str) -> None:
    own = run_reader.all_sweeps().get(sweep_id, {})
    active = sum(run_reader.status(run_id).active for run_id in own)
    st.markdown(f"{counted(active, 'run')} will stop: those that wait at once, the others at their next batch. "
                "Finished epochs are kept, and **Complete sweep** resumes the runs.")  # fmt: skip
    if st.button("Stop all runs", key="stop_sweep_now", type="primary", icon=":material/stop:",
                 on_click=messages.attempt, args=(sweeps.stop, run_reader.folder(), sweep_id)):  # fmt: skip
        st.rerun()


def state_line(points: Mapping[str, Member], statuses: Mapping[str, runs.Status], asked: int) -> str:
    """How many runs are done, and why others have stopped: `3 of 6 runs finished, 1 running, 2 waiting.`"""
    states = Counter(_kind(statuses[run_id]) for run_id in points)
    missing = asked - len(points)
    parts = [f"**{states.pop('finished', 0)} of {asked} runs finished**",
             *(f"{count} {state}" for state, count in states.items()),
             *([f"{missing} never launched"] if missing > 0 else [])]  # fmt: skip
    bases = [status for run_id, status in statuses.items() if run_id not in points]
    if training := sum(status.active for status in bases):
        parts.append(f"{counted(training, 'base network')} still to train")
    return ", ".join(parts) + "."


def _kind(status: runs.Status) -> str:
    if status.state in WAITING:
        return "waiting"
    if status.state == "stopped" and status.reason.startswith(BEHIND):
        return "stopped: behind"
    if status.state == "stopped" and status.reason.startswith(MET):
        return "stopped: target met"
    return status.state


# --- charts and table ---


def _charts(points: Mapping[str, Member], statuses: Mapping[str, runs.Status]) -> None:
    keys = list(next(iter(points.values())).settings)
    names, (courses, metric) = short_names(keys), courses_of(points, statuses)
    if courses.empty:
        st.info("No run has finished an iteration yet.", icon=":material/hourglass_top:")
        return
    text = plain(metric.name)
    st.markdown(f"###### Which values keep the most {text} at each size?" if metric.higher_is_better else
                f"###### Which values keep {text} lowest at each size?")  # fmt: skip
    elements.chart(charts.sweep_frontier(courses, names, metric=metric), "sweep_frontier", "compare")
    st.caption(f"The {text} on the validation split, by which a value should be chosen. A cross marks where a run "
               f"stopped early. {headline.direction(metric)}")  # fmt: skip
    results = courses.sort_values("iteration").groupby("run", sort=False).tail(1)
    results = results[results.iteration > 0].set_index("run").reindex([r for r in points if r in set(courses.run)])
    results = results.dropna(subset="metric")
    for place, column in zip(keys, st.columns(len(keys)) if len(keys) > 1 else [st.container()], strict=True):
        other = next((key for key in keys if key != place), "")
        with column:
            st.markdown(f"###### What does {plain(names[place])} change?")
            if results.empty:
                st.caption("No run has finished a cut yet.")
                continue
            drawn = charts.setting_effect(
                _in_order(results, points, place), place, names[place], other, names.get(other, ""), metric=metric
            )
            elements.chart(drawn, f"effect_{keys.index(place)}", "compare")
    st.caption("Each mark is the last network of a run so far; open marks are runs that stopped early. The line joins "
               "the means of values none of whose runs stopped.")  # fmt: skip


def courses_of(
    points: Mapping[str, Member], statuses: Mapping[str, runs.Status]
) -> tuple[pd.DataFrame, Metric]:  # fmt: skip
    """Every finished iteration of the runs, as `charts.sweep_frontier` takes them, and the metric of the sweep. Runs
    whose files say another metric are left out."""
    found, metrics = [], []
    for run_id, member in points.items():
        course = sweep_rule.course_of(event for event in run_reader.events(run_id) if event["kind"] in sweep_rule.KINDS)
        if not course.results:
            continue
        metrics.append(course.metric)
        if course.metric != metrics[0]:
            continue
        settings = {key: value_text(value) for key, value in member.settings.items()}
        stopped = statuses[run_id].state in ENDED_EARLY
        found += [
            {**settings, "run": run_id, "iteration": result.iteration, "compression": result.compression,
             "metric": result.value, "stopped": stopped}
            for result in course.results
        ]  # fmt: skip
    return pd.DataFrame(found), metrics[0] if metrics else tables.ACCURACY


def _in_order(results: pd.DataFrame, points: Mapping[str, Member], key: str) -> pd.DataFrame:
    """The results by the values of a setting: numbers by size, others as they were listed."""
    values = list({value_text(member.settings[key]): member.settings[key] for member in points.values()}.values())
    if all(isinstance(value, int | float) for value in values):
        values.sort()
    place = {value_text(value): number for number, value in enumerate(values)}
    return results.assign(_place=results[key].map(place)).sort_values("_place", kind="stable").drop(columns="_place")


def _table(table: pd.DataFrame, points: Mapping[str, Member]) -> None:
    keys = list(next(iter(points.values())).settings)
    names, own = short_names(keys), table[table.run.isin(points)]
    metric = next((tables.metric_of(events) for run_id in points if (events := run_reader.events(run_id))),
                  tables.ACCURACY)  # fmt: skip
    shown = own[[*keys, "state", "iterations", "compression", "validation_metric", "test_metric", "seconds"]]
    shown = shown.assign(**{key: shown[key].map(value_text) for key in keys})
    best = {"validation_metric": f"validation {metric.name}", "test_metric": f"test {metric.name}"}
    shown = shown.rename(columns={**names, **best})
    config = {
        **{names[key]: st.column_config.Column(help=f"The setting {key} of the run.") for key in keys},
        **{name: st.column_config.NumberColumn(format=headline.number_format(metric), help=text) for name, text in zip(
            best.values(), [f"The {metric.name} on the validation split after retraining. Choose a value by it.",
                            f"The {metric.name} on the test split after retraining."], strict=True)},
        "compression": st.column_config.NumberColumn(format="%.2f×"),
        "seconds": st.column_config.NumberColumn(format="%.0f", help="The seconds of all iterations of the run."),
        "state": st.column_config.Column(help="The state of the run."),
    }  # fmt: skip
    picked = st.dataframe(
        shown, hide_index=True, key="sweep_table", alt="The runs of the sweep", placeholder="—", on_select="rerun",
        selection_mode="single-row", column_config=elements.with_help(shown, config),
    )  # fmt: skip
    if rows := [row for row in picked.selection.rows if row < len(own)]:
        run_id = own.run.iloc[rows[0]]
        st.button("Show run", key="show_sweep_run", icon=":material/play_circle:", on_click=navigation.select,
                  args=(run_id, "run"))  # fmt: skip
