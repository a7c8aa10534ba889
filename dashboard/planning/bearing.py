"""Which layer can bear how much? A section of the Plan page; what it measures is kept in the run's folder."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import streamlit as st

from dashboard import frame, glossary, looking, store, work
from dashboard.charts.sensitivity import sensitivity as sensitivity_chart
from dashboard.charts.tables import counted, percent
from dashboard.planning import opened
from trimcore import runs
from trimcore.errors import TrimError
from trimcore.graph.costs import Cost
from trimcore.planning import sensitivity
from trimcore.planning.preview import Stage
from trimcore.planning.sensitivity import FRACTIONS, Sensitivity
from trimcore.planning.sensitivity_cache import cache_key, file_digest, load, save

IMAGES = (250, 500)  # and all
SHARES = {"quick": (1.0, 0.75, 0.5, 0.25, 0.1), "full": FRACTIONS}
HALF, POINT = 0.5, 0.01
HALVED, BORNE = "accuracy at 50 %", "bears losing"


@st.fragment
def section(draft: dict, begin: opened.Begin, stages: list[Stage]) -> None:
    """`stages` are the plan carried out on paper: what it keeps is marked."""
    st.markdown("##### Which layer can bear how much?", help=glossary.about("sensitivity"))
    total = work.data_summary(draft["data"]).splits["validation"]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        examples = _choose_images(total)
        shares = SHARES[st.segmented_control(
            "Shares of a layer", list(SHARES), default="quick", required=True, key="bearing_shares",
            persist_state="session", format_func=lambda name: f"{name}: {len(SHARES[name])}",
        )]  # fmt: skip
        found = known(draft, begin, examples, shares)
        guess = seconds(stages[0].cost, _layers(stages), examples or total, shares)
        pressed = found is None and st.button(f"Measure (about {work.in_words(guess)})", key="bearing_measure",
                                              icon=":material/stethoscope:")  # fmt: skip
    if pressed and measure(draft, begin, examples, shares, guess):
        st.rerun()  # targets can go by it
    if found is None:
        st.caption("Holds the highest-APoZ neurons of one layer after another at zero, all other layers whole, and "
                   "measures accuracy without retraining (Li et al. 2017). Changing the page stops it.")  # fmt: skip
        return
    left, right = st.columns([3, 2], gap="large")
    with left:
        frame.chart(sensitivity_chart(found.table(), found.base, kept_shares(stages)), "sensitivity", of=begin[0])
    with right:
        borne = table(found)
        st.dataframe(
            borne, hide_index=True, alt="What each layer bears",
            column_config=frame.explained(borne, {HALVED: st.column_config.NumberColumn(format="percent")}),
        )  # fmt: skip
    st.caption(f"Iteration {begin[1]}, {counted(found.examples, 'validation image')}, {percent(found.base)} with all "
               "neurons. Each layer is cut alone: several at once cost more.")  # fmt: skip


def known(draft: dict, begin: opened.Begin, examples: int, shares: Sequence[float]) -> Sensitivity | None:
    """What was measured before with these choices, if anything was."""
    return load(_folder(begin), _key(draft, begin, examples, shares))


def best(draft: dict, begin: opened.Begin) -> Sensitivity | None:
    """The most exact of what was measured before."""
    choices = [(examples, shares) for examples in (0, *reversed(IMAGES)) for shares in reversed(SHARES.values())]
    return next(filter(None, (known(draft, begin, *choice) for choice in choices)), None)


def seconds(cost: Cost, layers: int, examples: int, shares: Sequence[float]) -> float:
    """A guess: what comes before a layer is computed once, so that a share costs about half a pass."""
    return cost.macs * examples * (2 + 0.5 * layers * len(shares)) / work.MACS_PER_SECOND["cpu"]


def measure(draft: dict, begin: opened.Begin, examples: int, shares: Sequence[float], guess: float) -> bool:
    """Measure and keep it, with a progress bar; a mistake is told, and gives False."""
    place, text = st.empty(), f"Measuring layer by layer, about {work.in_words(guess)}…"
    place.progress(0.0, text)
    try:
        subject = looking.subject(*begin)
        scan = sensitivity.scanning(
            subject.graph, opened.profile(draft, subject), opened.batches(subject, examples), fractions=shares
        )
        while True:
            done, total = next(scan)
            place.progress(done / total, text)
    except StopIteration as end:
        return _kept(draft, begin, examples, shares, end.value)
    except TrimError as error:
        st.error(frame.plain(f"The layers cannot be measured: {error}."))
        return False
    finally:
        place.empty()


def table(found: Sensitivity) -> pd.DataFrame:
    """By layer the accuracy with half of it, and the largest measured cut up to which less than a point was lost."""
    rows = []
    for name, points in found.table().groupby("layer", sort=False):
        half = points.loc[(points.kept_fraction - HALF).abs().idxmin()]
        curve = found.curve(name)
        borne = [kept for place, (kept, _) in enumerate(curve)
                 if all(found.base - accuracy < POINT for _, accuracy in curve[: place + 1])]  # fmt: skip
        width, least = curve[0][0], borne[-1] if borne else curve[0][0]
        rows.append((name, half.accuracy, f"{width - least:,} of {width:,} ({percent((width - least) / width)})"))
    return pd.DataFrame(rows, columns=["layer", HALVED, BORNE])


def kept_shares(stages: list[Stage]) -> dict[str, float]:
    """The share (0..1) of its neurons, or of its maxout units, that the plan keeps, for the layers that it narrows."""
    def widths(stage: Stage) -> dict[str, float]:
        return {name: width / stage.k.get(name, 1) for name, width in stage.cost.widths.items()}

    before, after = widths(stages[0]), widths(stages[-1])
    return {name: after[name] / width for name, width in before.items() if after[name] < width}


def _layers(stages: list[Stage]) -> int:
    return len(stages[0].cost.widths)


def _choose_images(total: int) -> int:
    """How many images, 0 for all."""
    options = [count for count in IMAGES if count < total] + [0]
    return st.segmented_control(
        "Images", options, default=options[0], required=True, key=f"bearing_images_{len(options)}",
        persist_state="session", format_func=lambda count: f"{count:,}" if count else f"all {total:,}",
        help="Of the validation split, from its beginning.",
    )  # fmt: skip


def _kept(draft: dict, begin: opened.Begin, examples: int, shares: Sequence[float], found: Sensitivity) -> bool:
    try:
        save(_folder(begin), _key(draft, begin, examples, shares), found)
    except OSError as error:
        st.error(frame.plain(f"What was measured cannot be kept in the run's folder: {error.strerror or error}."))
        return False
    return True


def _folder(begin: opened.Begin) -> Path:
    return runs.open_run(store.folder(), begin[0]) / "sensitivity"


def _key(draft: dict, begin: opened.Begin, examples: int, shares: Sequence[float]) -> str:
    asked = store.spec_of(begin[0])
    return cache_key(
        _digest(*opened.place(begin)), asked.data, asked.image_size, examples, "apoz", shares, channels=asked.channels,
        seed=asked.seed, tolerance=draft["profile"]["tolerance"], profiled=draft["profile"]["examples"],
    )


@st.cache_data(max_entries=64, show_spinner=False)
def _digest(path: str, changed: int) -> str:
    return file_digest(path)
