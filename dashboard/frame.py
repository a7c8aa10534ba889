"""What every page shares: the side bar, notices, and charts with their alt text."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import plotly.graph_objects as go
import streamlit as st

from dashboard import glossary, store, work
from trimcore import tables
from trimcore.errors import RunError, TrimError

IMAGES = Path(__file__).parent / "images"  # files: an icon by name would be fetched from another server
LONG = 60  # characters of a configuration
FEW = 6  # columns that stand beside it
CHART_OPTIONS = {"displaylogo": False, "modeBarButtons": [["toImage"]]}


def side_bar() -> None:
    st.logo(IMAGES / "logo.svg", size="large", icon_image=IMAGES / "mark.svg")
    with st.sidebar:
        _run_choice()
        _work_card()


def _run_choice() -> None:
    ids = store.run_ids()
    _follow_url(ids)
    if not ids:
        st.caption("No runs yet. Choose a network on **Model** and start one.")
        return
    st.session_state.run_choice = st.session_state.run  # a widget's own value would be lost from page to page
    st.selectbox(
        "Run", ids, key="run_choice", index=None, on_change=_choose, placeholder="choose a run",
        format_func=label,
        help="The run that Profile, Run and Report show. It stands in the URL, and so does what else a page shows: "
             "the address is a link that can be shared.",
    )  # fmt: skip
    if chosen := st.session_state.run:
        st.query_params["run"] = st.session_state.run_in_url = chosen


def _choose() -> None:
    """A label that has changed since the browser got it (the run has ended, say) comes back as text: no choice."""
    if (chosen := st.session_state.run_choice) not in (None, *store.run_ids()):
        return
    st.session_state.run = chosen
    if st.session_state.run is None:
        st.query_params.pop("run", None)


def _follow_url(ids: list[str]) -> None:
    """The run stands in the URL as `?run=`: adopt it when a link or the browser's back button brought another one.

    (Streamlit's own binding would write the label, which changes with the run's state.) A run that does not exist gets
    a clear line, not silence.
    """
    asked = st.query_params.get("run")
    if asked and asked != st.session_state.get("run_in_url"):
        st.session_state.run_in_url = asked
        if asked in ids:
            st.session_state.run = asked
        else:
            st.session_state.link = None  # what else it asks for would be of another run
            try:
                store.status(asked[:100])  # no id is as long; a link may have any length
            except RunError as error:
                st.session_state.notice = ("warning", f"The link names another run: {error}.")
    if st.session_state.setdefault("run", None) not in (None, *ids):
        st.session_state.run = None


def label(run_id: str) -> str:
    """A run in the list: how it stands, and what it is called."""
    words = {"running": "▶", "finished": "✓", "failed": "✗", "queued": "…", "paused": "‖", "stopped": "■", "lost": "?"}
    return f"{words.get(store.status(run_id).state, '…')} {store.title(run_id)}"


def _work_card() -> None:
    draft = work.draft()
    with st.container(border=True, gap="xxsmall"):
        st.caption("Work at hand")
        st.markdown(f"**{draft['model']}** on **{draft['data']}**")
        run_id = work.selected_run()
        if run_id and (first := _base_row(run_id)):
            st.caption(f"base accuracy {first['accuracy_final']:.2%}, {first['parameters']:,} parameters")
        st.caption(work.devices().get(draft["device"], draft["device"]))


def _base_row(run_id: str) -> dict | None:
    try:
        asked, draft = store.spec_of(run_id), work.draft()
    except TrimError:
        return None
    if (asked.model, asked.data) != (draft["model"], draft["data"]):
        return None
    return next((e for e in store.events(run_id) if e["kind"] == "iteration"), None)


def show_notice() -> None:
    if found := st.session_state.pop("notice", None):
        kind, text = found
        {"error": st.error, "warning": st.warning, "success": st.success}[kind](plain(text))


def plain(text: str) -> str:
    """Text that may quote anything a person wrote, so that it is shown as it is and not as Markdown."""
    return re.sub(r"([\\`*_{}\[\]()#+\-!|<>$:~])", r"\\\1", text)


def chart(figure: go.Figure, key: str, of: str | None = None, **settings):
    """A chart. Its picture is saved under the key and what the chart is `of`: the selected run, unless it is given."""
    name = "-".join(filter(None, [work.selected_run() if of is None else of, key]))
    return st.plotly_chart(
        figure, key=key, config={**CHART_OPTIONS, "toImageButtonOptions": {"filename": name}},
        alt=figure.layout.meta["alt"], **settings,
    )  # fmt: skip


def metrics(*cells: tuple[str, str] | tuple[str, str, str]) -> None:
    """A row of big numbers: (label, value) or (label, value, more). What the glossary knows of the label is its help,
    and `more` what there is to say of this one."""
    with st.container(horizontal=True):
        for label, value, *more in cells:
            told = " ".join(filter(None, [glossary.about(label), *more]))
            st.metric(label, value, border=True, width="content", help=told or None)


def explained(names: Iterable[str], config: Mapping[str, dict] | None = None) -> dict[str, dict]:
    """A `column_config` for a table with these columns, in which each has what the glossary says of its label or name
    as help; where `config` has a help of its own, that stays."""
    found = {name: {**((config or {}).get(name) or st.column_config.Column())} for name in names}
    for name, column in found.items():
        column["help"] = column["help"] or glossary.about(column["label"] or name) or None
    return found


def idea(page: str, heading: str = "") -> None:
    """A heading with a pop-over beside it that explains the idea of a page."""
    question, terms = glossary.IDEAS[page]
    with st.container(horizontal=True, vertical_alignment="center"):
        if heading:
            st.markdown(f"##### {heading}", width="content")
        with st.popover(question, type="tertiary", icon=":material/help:"):
            for term in terms:
                text, formula = glossary.TERMS[term]
                st.markdown(f"**{term[0].upper()}{term[1:]}.** {text}")
                if formula:
                    st.latex(formula)


def paper_table(events: list[dict]) -> None:
    """The table of the paper, for a run; a long configuration stands last, as does one beside many columns, so that the
    numbers are in sight."""
    table = tables.paper_table(events)
    if table.configuration.str.len().max() > LONG or len(table.columns) > FEW:
        table = table[[*table.columns.drop("configuration"), "configuration"]]
    st.dataframe(
        table, hide_index=True, placeholder="—",
        alt="Configuration, compression, initial and final accuracy",
        column_config=explained(table, {
            "configuration": st.column_config.TextColumn(width="large"),
            "parameters": st.column_config.NumberColumn(format="localized"),
            "compression": st.column_config.NumberColumn(format="%.2f×"),
            "compression, non-zero": st.column_config.NumberColumn(format="%.2f×"),
            **{name: st.column_config.NumberColumn(format="localized")
               for name in ("non-zero parameters", "bytes dense", "bytes sparse")},
        }),
    )  # fmt: skip


def units_text(k: Mapping[str, int]) -> str:
    """How many neurons the units of each maxout layer have: "3", or where layers differ "fc6 3, fc7 4"."""
    return str(next(iter(k.values()))) if len(set(k.values())) == 1 else ", ".join(f"{n} {i}" for n, i in k.items())


def fewer(ratio: float) -> str:
    """A ratio of MACs in words."""
    return f"{ratio:.2f}× fewer" if ratio > 1.005 else "unchanged"


def next_step(label: str, page: str, key: str) -> None:
    """The way on, at the end of a page."""
    st.button(label, key=key, icon=":material/arrow_forward:", icon_position="right", on_click=work.go_to, args=(page,))


def need_run() -> str:
    """The selected run, or an empty state that says what to do; then the page ends here."""
    run_id = work.selected_run()
    if run_id is None:
        text = "No run is selected." if store.run_ids() else "There are no runs yet."
        st.info(f"{text} Choose one in the side bar, or begin with a network on **Model**.", icon=":material/info:")
        next_step("Go to Model", "model", "to_model")
        st.stop()
    return run_id
