"""The frame of every page: the title in the browser's tab, and how much of the window the page uses."""

from pathlib import Path

import streamlit as st

from dashboard.session import navigation, run_reader

IMAGES = Path(__file__).parents[1] / "images"  # files, because a named icon would be fetched from another server
OF_RUN = ("Profile", "Plan", "Run", "Report")  # pages that show the selected run
SIDEBAR = 260  # pixels
# Streamlit has no setting for the space beside the content, which takes an eighth of a laptop's screen, nor for the
# text of primary buttons: white on the light blue of the dark theme cannot be read.
STYLE = """<style>
[data-testid^="stBaseButton-primary"] { color: light-dark(#ffffff, #0b0f16); }
@media (min-width: 640px) { .stMainBlockContainer { padding-left: 2.25rem; padding-right: 2.25rem; } }
</style>"""


def show() -> None:
    """Set up the page."""
    st.set_page_config(page_icon=IMAGES / "mark.svg", layout="wide", initial_sidebar_state=SIDEBAR)
    st.html(STYLE)


def name_tab(page: str) -> None:
    """The page and the selected run in the browser's tab."""
    run_id = navigation.selected_run()
    names = [page, run_reader.short_title(run_id)] if run_id and page in OF_RUN else [page]
    st.set_page_config(page_title=" · ".join([*names, "trimcore"]))
