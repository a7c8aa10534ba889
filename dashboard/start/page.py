"""The page Start: what trimming does, shown on the example, the newest runs, and the way to one's own network."""

import streamlit as st

from dashboard.session import navigation
from dashboard.start import example, newest

st.markdown("# Make a trained network smaller, and see what you cut")
st.markdown(
    "Many neurons are zero for almost every input. trimcore finds them, removes them, trains what is left, and "
    "repeats. What it cuts is gone: the file is smaller, and the network computes less."
)
with st.container(horizontal=True):
    st.button("Trim your own network", type="primary", icon=":material/content_cut:", key="start_own",
              on_click=navigation.go_to, args=("model",),
              help="Choose a network and data, or bring your own.")  # fmt: skip
    st.button("Open the example", icon=":material/visibility:", key="start_example", on_click=navigation.select,
              args=(example.RUN, "run"), help="Look at every page with a finished run.")  # fmt: skip
newest.show()
example.show()
