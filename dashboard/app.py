"""The entry point of the dashboard: navigation, the sidebar, and the run in the URL.

    streamlit run dashboard/app.py
"""

import sys
from pathlib import Path

if [sys.path[-1], sys.path[0]] != [str(folder) for folder in Path(__file__).resolve().parents[:2]]:
    # `streamlit run` puts this folder first on the path, where `profile` and `queue` would shadow standard modules. The
    # packages are imported from the parent folder. This one comes last: if it were missing, Streamlit would insert and
    # remove it around every run of this script, and a list that shrinks while another session imports makes it skip a
    # folder. For the same reason, the list is replaced here, not changed.
    here, root = (str(folder) for folder in Path(__file__).resolve().parents[:2])
    sys.path = [root, *(path for path in sys.path if str(Path(path).resolve()) not in (root, here)), here]

import streamlit as st

from dashboard.session import links, login, memory, startup
from dashboard.widgets import frame, guide, notices, sidebar
from trimcore.system import own_code

own_code.forbid_imports()  # input from a browser must not decide which code runs
HERE = Path(__file__).parent

SUBTITLES = {
    "start": "",
    "model": "Choose a network and a data set, and see where the parameters, the MACs and the milliseconds are.",
    "profile": "See how often each neuron is zero, and which neurons do nothing.",
    "plan": "Choose what to remove and in which order, and preview the result before you launch.",
    "run": "Watch what each cut costs, and what retraining recovers.",
    "queue": "See what runs and what waits on each device, and change the order.",
    "compare": "Compare runs by size and result, and see how they branch.",
    "report": "Download the results and the network, and get the command that repeats the run.",
}
ICONS = {
    "start": ":material/home:", "model": ":material/hub:", "profile": ":material/blur_on:",
    "plan": ":material/checklist:", "run": ":material/play_circle:", "queue": ":material/low_priority:",
    "compare": ":material/compare_arrows:", "report": ":material/description:",
}  # fmt: skip
PAGES = {
    name: st.Page(
        HERE / name / "page.py", title=name.capitalize(), icon=ICONS[name], url_path=name, default=name == "start",
        help=line or "What this is, on an example, and your newest runs.",
    )
    for name, line in SUBTITLES.items()
}  # fmt: skip
frame.show()
login.require_login()
if problem := startup.use_own_code() or startup.use_on_end():
    st.error(f"{problem}. Correct it and start the server again.", icon=":material/error:")
    st.stop()
page = st.navigation(list(PAGES.values()))
memory.freeze_long_lived(page.title)
login.warn_about_settings()
if page == PAGES["start"] and {"model", "data"} & set(st.query_params):
    st.switch_page(PAGES["model"], query_params=st.query_params.to_dict())  # Model was the first page once
links.receive()
sidebar.show()
with st.sidebar:
    guide.show_button()
    login.account_card()
with st.sidebar:
    notices.announce_ended_runs()
if destination := st.session_state.pop("go_to", None):
    st.switch_page(PAGES[destination])
frame.name_tab(page.title)
if page != PAGES["start"]:
    with st.container(gap="xxsmall"):
        st.title(page.title)
        st.caption(SUBTITLES[page.title.lower()])
        guide.strip(page.title.lower())
notices.show_notice()
page.run()
