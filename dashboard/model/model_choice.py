"""Choose a network: built-in, of an installed package, or saved in a folder."""

from typing import Any

import streamlit as st

from dashboard.session import links
from dashboard.text import plain
from trimcore import models

SAVED = "hf:FOLDER"


def chosen(draft: dict[str, Any]) -> str:
    """Widgets that choose the network. Returns its name; stops the page while a folder is missing."""
    with st.spinner("Listing the networks of the installed packages…"):  # their import takes seconds the first time
        known = models.offered()
    known[SAVED], saved = "an image classifier that transformers saved to a folder", draft["model"].startswith("hf:")
    if not saved:
        known.setdefault(draft["model"], "a network of your own")  # in a run that was started on the command line
    names = list(known)
    name = st.selectbox(
        "Model", names, names.index(SAVED if saved else draft["model"]), help="Type to search. Built-in networks come "
        "first, then torchvision networks by family, then networks from installed packages.",
    )  # fmt: skip
    st.caption(plain(known[name]))
    if name != SAVED:
        return name
    path = st.text_input("Folder on the server", draft["model"].removeprefix("hf:") if saved else "",
                         help="It contains config.json.")  # fmt: skip
    if not path:
        st.info("Type the folder of the network.", icon=":material/folder_open:")
        st.stop()
    return f"hf:{path}"


def track(name: str) -> None:
    """Keep the choice in the URL. A link must not reveal a path."""
    links.track("model", lambda: "" if name == "lenet5" or name.startswith("hf:") else name)
