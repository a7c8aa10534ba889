"""The entry point of the dashboard: navigation, the sidebar, and the run in the URL.

    streamlit run dashboard/app.py
"""

import sys
from pathlib import Path

if sys.path[0] != str(Path(__file__).resolve().parents[1]):
    # `streamlit run` puts this folder first on the path, where `profile` would shadow the standard module. The
    # packages are imported from the parent folder.
    folders = Path(__file__).resolve().parents[:2]
    sys.path[:] = [str(folders[1]), *(path for path in sys.path if Path(path).resolve() not in folders)]

import streamlit as st

from dashboard.session import links, login, memory, startup
from dashboard.widgets import guide, notices, sidebar
from trimcore.system import own_code

own_code.forbid_imports()  # input from a browser must not decide which code runs
HERE = Path(__file__).parent
st.set_page_config(page_title="trimcore", page_icon=sidebar.IMAGES / "mark.svg", layout="wide")

SUBTITLES = {
    "model": "Choose a network and a data set, and see where the parameters, the MACs and the milliseconds are.",
    "profile": "See how often each neuron is zero, and which neurons do nothing.",
    "plan": "Choose what to remove and in which order, and preview the result before you launch.",
    "run": "Watch what each cut costs, and what retraining recovers.",
    "compare": "Compare runs by size and result, and see how they branch.",
    "report": "Download the results and the network, and get the command that repeats the run.",
}
ICONS = {
    "model": ":material/hub:", "profile": ":material/blur_on:", "plan": ":material/checklist:",
    "run": ":material/play_circle:", "compare": ":material/compare_arrows:", "report": ":material/description:",
}  # fmt: skip
PAGES = {
    name: st.Page(
        HERE / name / "page.py", title=name.capitalize(), icon=ICONS[name], url_path=name, default=name == "model",
        help=line,
    )
    for name, line in SUBTITLES.items()
}  # fmt: skip
login.require_login()
if problem := startup.use_own_code() or startup.use_on_end():
    st.error(f"{problem}. Correct it and start the server again.", icon=":material/error:")
    st.stop()
page = st.navigation(list(PAGES.values()))
memory.freeze_long_lived(page.title)
login.warn_about_settings()
links.receive()
sidebar.show()
with st.sidebar:
    guide.show_button()
    login.account_card()
with st.sidebar:
    notices.announce_ended_runs()
if destination := st.session_state.pop("go_to", None):
    st.switch_page(PAGES[destination])
st.title(page.title)
with st.container(gap="xxsmall"):
    st.caption(SUBTITLES[page.title.lower()])
    guide.strip(page.title.lower())
notices.show_notice()
page.run()
