"""The page Compare: runs side by side, and the tree of their branches."""

import streamlit as st

from dashboard.compare import comparison, differences, frontier, notes_form, seeds, sweep, tree
from dashboard.compare.choice import choose, with_tags
from dashboard.compare.run_table import read_runs
from dashboard.session import links, navigation, run_reader
from dashboard.text import plain
from dashboard.widgets import notes
from dashboard.widgets.next_step import next_step
from trimcore import runs

everything = read_runs()
if everything.empty:
    st.info("There are no runs to compare yet. Start one on **Model**.", icon=":material/info:")
    next_step("Open Model", "model", "to_model")
    st.stop()
sweep.show()
st.markdown("##### Runs")
listed = with_tags(everything)
if listed.empty:
    st.info("No run has all of these tags.", icon=":material/label_off:")
else:
    picked = choose(listed)
    asked = {i: run_reader.spec_of(i) for i in picked}
    groups = seeds.differ_only_in_seed(asked, run_reader.parents_of(asked.values()))
    if picked:
        frontier.show(picked, groups)
        seeds.show(everything, groups)
        if len(picked) > 1:
            differences.show(picked)
        comparison.show(picked)
links.write_url()
tree.show()
if selected := navigation.selected_run():
    st.markdown("##### Selected run")
    st.caption(plain(run_reader.title(selected)))
    notes.show(selected)
    if selected == runs.EXAMPLE:
        st.caption("The example comes with trimcore and cannot be changed.")
    else:
        notes_form.controls(selected)
else:
    st.caption("Select a run in the sidebar to edit its name, note and tags, or to delete it.")
