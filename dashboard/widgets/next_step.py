"""Buttons that lead to the next page, also from an empty page."""

import streamlit as st

from dashboard.session import navigation, run_reader
from trimcore import runs


def next_step(label: str, page: str, key: str) -> None:
    """A button that opens another page."""
    st.button(label, key=key, icon=":material/arrow_forward:", icon_position="right", on_click=navigation.go_to,
              args=(page,))  # fmt: skip


def need_run() -> str:
    """The selected run. Without one, show what to do and stop the page here."""
    run_id = navigation.selected_run()
    if run_id is None:
        if run_reader.run_ids():
            text = "No run is selected. Select one in the sidebar, or start a new one on **Model**."
        else:
            text = "There are no runs yet. Start one on **Model**."
        st.info(text, icon=":material/info:")
        with st.container(horizontal=True):
            next_step("Open Model", "model", "to_model")
            st.button("Look at the example", key="to_example", icon=":material/visibility:",
                      on_click=navigation.select, args=(runs.EXAMPLE,))  # fmt: skip
        st.stop()
    return run_id
