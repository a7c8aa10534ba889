"""What every iteration verifies: are two images of the same person, or class?"""

import streamlit as st

from dashboard import frame, work
from trimcore import data
from trimcore.errors import TrimError

SOURCES = {"": "nothing", "test": "pairs of the test split", "lfw": "a folder of LFW"}
HELP = """
Are two images of the same person, or class? The network's last features decide, by their distance; the threshold is
chosen on nine of ten folds and accuracy measured on the tenth. Every iteration reports the mean over the folds.

- **pairs of the test split**: images of the test split, of classes that the network knows
- **a folder of LFW**: Labeled Faces in the Wild, 6,000 pairs of people that it has not seen
"""


def verification(draft: dict) -> None:
    verify = draft["verify"]
    before, _, path = verify["pairs"].partition(":")
    left, right = st.columns(2)
    asked = {"source": before, "path": path}
    source = work.field(left.selectbox, "Verify", asked, "source", list(SOURCES), format_func=SOURCES.get,
                        group="verify", help=HELP)  # fmt: skip
    if source:
        work.field(right.selectbox, "By the distance", verify, "distance", ["cosine", "euclidean"], group="verify")
    verify["pairs"] = source
    if source == "lfw":
        path = work.field(st.text_input, "Folder with lfw-py in it", asked, "path", group="verify")
        verify["pairs"] = f"lfw:{path}" if path else ""
        _say_what_is_wrong(path)


def _say_what_is_wrong(path: str) -> None:
    if not path:
        st.caption("Without a folder nothing is verified.")
        return
    try:
        data.check_there(f"lfw:{path}")
    except TrimError as error:
        st.error(frame.plain(str(error)), icon=":material/folder_off:")
