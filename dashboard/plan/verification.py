"""The choice of a verification for every iteration: do two images show the same person or class?"""

from typing import Any

import streamlit as st

from dashboard.text import plain
from dashboard.widgets.fields import field
from trimcore import data
from trimcore.errors import TrimError

SOURCES = {"": "none", "test": "pairs from the test split", "lfw": "LFW folder"}
HELP = """
Do two images show the same person or class? They match if the distance between the inputs of the network's last
layer is below a threshold. The threshold is chosen on nine of ten folds, and the accuracy is measured on the tenth.
Every iteration reports the mean over the folds.

- **pairs from the test split**: test images of classes that the network knows
- **LFW folder**: Labeled Faces in the Wild, 6,000 pairs of people that the network has not seen
"""


def verification(draft: dict[str, Any]) -> None:
    verify = draft["verify"]
    before, _, path = verify["pairs"].partition(":")
    left, right = st.columns(2)
    asked = {"source": before, "path": path}
    source = field(left.selectbox, "Verification", asked, "source", list(SOURCES), format_func=SOURCES.get,
                   group="verify", help=HELP)  # fmt: skip
    if source:
        field(right.selectbox, "Distance", verify, "distance", ["cosine", "euclidean"], group="verify")
    verify["pairs"] = source
    if source == "lfw":
        path = field(st.text_input, "Folder that contains lfw-py", asked, "path", group="verify")
        verify["pairs"] = f"lfw:{path}" if path else ""
        _check_folder(path)


def _check_folder(path: str) -> None:
    if not path:
        st.caption("Without a folder, the run skips the verification.")
        return
    try:
        data.check_there(f"lfw:{path}")
    except TrimError as error:
        st.error(plain(str(error)), icon=":material/folder_off:")
