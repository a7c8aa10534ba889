"""A section of the page Plan: how sensitive each layer is to cuts. The results are stored in the run's folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from dashboard import glossary
from dashboard.charts.sensitivity import sensitivity as sensitivity_chart
from dashboard.charts.tables import counted, percent
from dashboard.charts.values import said
from dashboard.plan import measurement
from dashboard.plan.metric import planned_metric
from dashboard.plan.origin import StartPoint
from dashboard.session import devices, headline, run_network, run_reader
from dashboard.session.data_summary import data_summary
from dashboard.text import duration, plain
from dashboard.widgets import elements
from trimcore import data, runs
from trimcore.errors import TrimError
from trimcore.graph.costs import Cost
from trimcore.planning import sensitivity
from trimcore.planning.preview import Stage
from trimcore.planning.sensitivity import FRACTIONS, Sensitivity
from trimcore.planning.sensitivity_cache import cache_key, file_digest, load, save
from trimcore.spec.spec import CLASSIFICATION
from trimcore.tables import Metric

IMAGES = (250, 500)  # choices besides all images
SHARES = {"quick": (1.0, 0.75, 0.5, 0.25, 0.1), "full": FRACTIONS}
HALF, POINT, TWENTIETH = 0.5, 0.01, 0.05
TOLERATED = "can lose"


@st.fragment
def section(draft: dict[str, Any], start: StartPoint, stages: list[Stage]) -> None:
    """`stages` are the previewed iterations of the plan. The chart marks what the plan keeps."""
    st.markdown("##### Sensitivity by layer", help=glossary.about("sensitivity"))
    total = data_summary(draft["data"]).splits["validation"]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        examples = _choose_images(total, "Examples" if data.is_own(draft["data"]) else "Images")
        shares = SHARES[st.segmented_control(
            "Fractions to keep", list(SHARES), default="quick", required=True, key="bearing_shares",
            persist_state="session", format_func=lambda name: f"{name}: {len(SHARES[name])}",
            help="How many fractions of each layer are measured.",
        )]  # fmt: skip
        found = known(draft, start, examples, shares)
        estimate = seconds(stages[0].cost, _layers(stages), examples or total, shares)
        pressed = found is None and st.button(f"Measure sensitivity (about {duration(estimate)})",
                                              key="bearing_measure", icon=":material/stethoscope:")  # fmt: skip
    if pressed and measure(draft, start, examples, shares, estimate):
        st.rerun()  # targets can use it
    if found is None:
        name = plain(planned_metric(draft, start).name)
        st.caption("Sets the highest-APoZ neurons of one layer at a time to zero, keeps all other layers intact, and "
                   f"measures {name} without retraining (Li et al. 2017). Any change on the page cancels the "
                   "measurement.")  # fmt: skip
        return
    left, right = st.columns([3, 2], gap="large")
    with left:
        chart = sensitivity_chart(_points(found), found.base, kept_shares(stages), metric=found.metric)
        elements.chart(chart, "sensitivity", of=start[0])
    with right:
        rows = table(found)
        st.dataframe(
            rows, hide_index=True, alt="How many neurons each layer can lose",
            column_config=elements.with_help(rows, {
                half_column(found.metric): st.column_config.NumberColumn(format=headline.number_format(found.metric)),
            }),
        )  # fmt: skip
    noun = "validation image" if found.metric.is_accuracy else "validation example"
    base = f"{plain(found.metric.name)} {said(found.metric, found.base)}"
    st.caption(f"Iteration {start[1]}, {counted(found.examples, noun)}, {base} "
               "with all neurons. Each layer is cut alone. Cutting several layers together costs more.")  # fmt: skip


def _points(found: Sensitivity) -> pd.DataFrame:
    return found.table().rename(columns={"accuracy": "metric"})


def known(draft: dict[str, Any], start: StartPoint, examples: int, shares: Sequence[float]) -> Sensitivity | None:
    """The stored result for these choices, if any."""
    return load(_folder(start), _key(draft, start, examples, shares))


def best(draft: dict[str, Any], start: StartPoint) -> Sensitivity | None:
    """The most precise stored result."""
    choices = [(examples, shares) for examples in (0, *reversed(IMAGES)) for shares in reversed(SHARES.values())]
    return next(filter(None, (known(draft, start, *choice) for choice in choices)), None)


def seconds(cost: Cost, layers: int, examples: int, shares: Sequence[float]) -> float:
    """An estimate. Everything before a layer is computed once, so that a fraction costs about half a pass."""
    return cost.macs * examples * (2 + 0.5 * layers * len(shares)) / devices.MACS_PER_SECOND["cpu"]


def measure(draft: dict[str, Any], start: StartPoint, examples: int, shares: Sequence[float], estimate: float) -> bool:
    """Measure with a progress bar and store the result. An error is shown and gives False."""
    place, text = st.empty(), f"Measuring layer by layer (about {duration(estimate)})…"
    place.progress(0.0, text)
    try:
        subject = run_network.subject(*start)
        scan = sensitivity.scanning(
            subject.graph, measurement.profile(draft, subject), measurement.batches(subject, examples),
            fractions=shares, task=subject.task,
        )  # fmt: skip
        while True:
            done, total = next(scan)
            place.progress(done / total, text)
    except StopIteration as end:
        return _store(draft, start, examples, shares, end.value)
    except TrimError as error:
        st.error(plain(f"The sensitivity cannot be measured: {error}."))
        return False
    finally:
        place.empty()


def table(found: Sensitivity) -> pd.DataFrame:
    """For each layer, the metric with half of it, and the largest cut up to which less than one point is lost, or a
    twentieth of a metric that is no share."""
    rows, metric = [], found.metric
    allowed = POINT if metric.percent else TWENTIETH * abs(found.base)
    for name, points in _points(found).groupby("layer", sort=False):
        half = points.iloc[(points.kept_fraction - HALF).abs().argmin()]
        curve = found.curve(str(name))
        tolerated = [kept for place, (kept, _) in enumerate(curve)
                     if all(metric.loss(found.base, value) < allowed for _, value in curve[: place + 1])]  # fmt: skip
        width, least = curve[0][0], tolerated[-1] if tolerated else curve[0][0]
        rows.append((name, half.metric, f"{width - least:,} of {width:,} ({percent((width - least) / width)})"))
    return pd.DataFrame(rows, columns=["layer", half_column(metric), TOLERATED])


def half_column(metric: Metric) -> str:
    """The column of values with half of a layer: `accuracy at 50 %`."""
    return f"{metric.name} at 50 %"


def kept_shares(stages: list[Stage]) -> dict[str, float]:
    """The share (0..1) of neurons, or of maxout units, that the plan keeps in each layer that it narrows."""
    def widths(stage: Stage) -> dict[str, float]:
        return {name: width / stage.k.get(name, 1) for name, width in stage.cost.widths.items()}

    before, after = widths(stages[0]), widths(stages[-1])
    return {name: after[name] / width for name, width in before.items() if after[name] < width}


def _layers(stages: list[Stage]) -> int:
    return len(stages[0].cost.widths)


def _choose_images(total: int, label: str) -> int:
    """The number of images or other examples; 0 for all."""
    options = [count for count in IMAGES if count < total] + [0]
    return st.segmented_control(
        label, options, default=options[0], required=True, key=f"bearing_images_{len(options)}",
        persist_state="session", format_func=lambda count: f"{count:,}" if count else f"all {total:,}",
        help=f"The first {label.lower()} of the validation split.",
    )  # fmt: skip


def _store(
    draft: dict[str, Any], start: StartPoint, examples: int, shares: Sequence[float], found: Sensitivity
) -> bool:
    try:
        save(_folder(start), _key(draft, start, examples, shares), found)
    except OSError as error:
        st.error(plain(f"The result cannot be stored in {str(_folder(start))!r}: {error.strerror or error}."))
        return False
    return True


def _folder(start: StartPoint) -> Path:
    return run_reader.place_of(runs.open_run(run_reader.folder(), start[0])) / "sensitivity"


def _key(draft: dict[str, Any], start: StartPoint, examples: int, shares: Sequence[float]) -> str:
    asked = run_reader.spec_of(start[0])
    return cache_key(
        _digest(*measurement.weights_key(start)), asked.data, asked.image_size, examples, "apoz", shares,
        channels=asked.channels, seed=asked.seed, tolerance=draft["profile"]["tolerance"],
        profiled=draft["profile"]["examples"], **({"resize": asked.resize} if asked.resize != "crop" else {}),
        **({"task": asked.task} if asked.task != CLASSIFICATION else {}),
    )


@st.cache_data(max_entries=64, show_spinner=False)
def _digest(path: str, changed: int) -> str:
    return file_digest(path)
