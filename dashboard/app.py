"""The dashboard's frame: navigation, the side bar, and the run that stands in the URL.

    streamlit run dashboard/app.py
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # `streamlit run` adds only this folder

import streamlit as st

from dashboard import ending, frame, garbage, guide, links, login
from trimcore import models

models.forbid_imports()  # what comes from a browser must not decide which code is run
VIEWS = Path(__file__).parent / "views"
st.set_page_config(page_title="trimcore", page_icon=frame.IMAGES / "mark.svg", layout="wide")

QUESTIONS = {
    "model": "Where are the weights, and where is the work?",
    "profile": "Which neurons do nothing?",
    "plan": "What would go, in which order, and what would that buy?",
    "run": "How is it going, and should I stop it?",
    "compare": "Which run is best?",
    "report": "What do I take away?",
}
PAGES = {
    name: st.Page(VIEWS / f"{name}.py", title=name.capitalize(), icon=icon, default=name == "model", help=line)
    for name, icon, line in [
        ("model", ":material/hub:", "Choose a network and data; see where its weights and its work are."),
        ("profile", ":material/blur_on:", "See which neurons do nothing: the APoZ of every layer."),
        ("plan", ":material/checklist:", "Decide what goes, in which order, and see what that would buy."),
        ("run", ":material/play_circle:", "Launch, and watch prune-retrain iterations."),
        ("compare", ":material/compare_arrows:", "Set several runs side by side."),
        ("report", ":material/description:", "The paper's table of a run, and its files."),
    ]
}
login.required()
page = st.navigation(list(PAGES.values()))
garbage.spare_what_stays(page.title)
login.warn_about_settings()
links.arrive()
frame.side_bar()
with st.sidebar:
    guide.button()
    login.card()
with st.sidebar:
    ending.announce()
if destination := st.session_state.pop("go_to", None):
    st.switch_page(PAGES[destination])
st.title(page.title)
with st.container(gap="xxsmall"):
    st.caption(QUESTIONS[page.title.lower()])
    guide.strip(page.title.lower())
frame.show_notice()
page.run()
