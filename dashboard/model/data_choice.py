"""Choose a data set: one that comes with the project, or a folder, table or zip file of one's own."""

import hashlib
import os
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.typing import UploadedFile

from dashboard.session import drafts, links, run_reader, startup
from dashboard.text import plain
from dashboard.widgets.fields import field
from trimcore import data
from trimcore.data.archive import unpack_images
from trimcore.data.search import find_data
from trimcore.errors import TrimError

OWN = {
    "imagefolder:PATH": "Image folder",
    "images:TABLE": "Table of images",
    "hf:PATH": "Folder that save_to_disk wrote",
    "unlabelled:PATH": "Folder with images without labels",
    "lfw:PATH": "Folder with Labeled Faces in the Wild (contains lfw-py)",
}
UNLABELLED = "unlabelled:PATH"
OTHER = "another path…"
RESIZES = {"crop": "crop to the centre", "stretch": "stretch", "pad": "add black bars"}


def is_own(name: str) -> bool:
    """Whether a data set is the user's own, so that its name contains a path."""
    return ":" in name


def chosen(draft: dict[str, Any]) -> str:
    """Widgets that choose the data. Returns their name; it ends in ":" while nothing is chosen."""
    known = data.datasets()
    if not draft["data"].startswith(_prefix(UNLABELLED)):
        del known[UNLABELLED]  # the page cannot take the weights of its teacher
    if not any(_is_kind(kind, draft["data"]) for kind in known):
        known[draft["data"]] = "data of your own"  # in a run that was started on the command line
    kinds = list(known)
    kind = next(kind for kind in kinds if _is_kind(kind, draft["data"]))
    kind = st.selectbox("Data", kinds, kinds.index(kind), help="APoZ is measured on the validation split.")
    if kind not in OWN:
        st.caption(plain(known[kind]))
        return kind
    current = draft["data"] if draft["data"].startswith(_prefix(kind)) else _prefix(kind)
    name = _prefix(kind) + _path(kind, current.removeprefix(_prefix(kind)))
    if kind == "imagefolder:PATH":
        name = _uploaded() or name
    field(st.selectbox, "Images that are not square", draft, "resize", list(RESIZES), format_func=RESIZES.get)
    return name


def track(name: str) -> None:
    """Keep the choice in the URL. A link must not reveal a path."""
    links.track("data", lambda: "" if name == "mnist-5k" or is_own(name) else name)


def _is_kind(kind: str, name: str) -> bool:
    return kind == name or (kind in OWN and name.startswith(_prefix(kind)))


def _prefix(kind: str) -> str:
    return kind.partition(":")[0] + ":"


def _path(kind: str, path: str) -> str:
    """The path of a folder or table: one of those that were found, or one that is typed."""
    label, prefix = OWN[kind], _prefix(kind)
    folders = startup.data_folders()
    found = [name.removeprefix(prefix) for name in _found(tuple(folders)) if name.startswith(prefix)]
    for folder in startup.missing_folders():
        st.caption(f"The folder {plain(str(folder))} does not exist; the server was started with it.")
    if not found:
        return st.text_input(f"{label}: path on the server", path, key=f"typed_{kind}", persist_state="session")
    options = [*found, OTHER]
    place = options.index(path) if path in found else options.index(OTHER) if path else None
    picked = st.selectbox(
        label, options, place, format_func=lambda option: _shown(option, folders), key=f"found_{kind}",
        placeholder="Choose one", persist_state="session",
        help="Found below " + ", ".join(str(folder) for folder in folders),
    )  # fmt: skip
    if picked != OTHER:
        return picked or ""
    typed = "" if path in found else path
    return st.text_input("Path on the server", typed, key=f"typed_{kind}", persist_state="session")


def _shown(path: str, folders: list[Path]) -> str:
    """A path as seen from the folder that it was found in."""
    inside = [folder for folder in folders if Path(path).is_relative_to(folder)]
    return os.path.relpath(path, inside[0].parent) if inside and path != OTHER else path


@st.cache_data(ttl=30, max_entries=4, show_spinner="Looking for data sets…")
def _found(folders: tuple[Path, ...]) -> list[str]:
    return find_data(folders)


def _uploaded() -> str:
    """The data set in a zip file that the user dropped in, or "". An error is shown."""
    file = st.file_uploader(
        "or a zip file with one folder per class", ["zip"], help="Its images are unpacked next to the runs, up to "
        "4 GB. Folders for train, validation and test are recognised by their usual names.",
    )  # fmt: skip
    if file is None:
        return ""
    if st.session_state.get("zip", ("",))[0] != file.file_id:
        with st.spinner("Unpacking the images…"):
            st.session_state.zip = (file.file_id, *_unpacked(file))
    name: str
    _, name, trouble = st.session_state.zip
    if trouble:
        st.error(plain(trouble), icon=":material/folder_zip:")
    return name


def _unpacked(file: UploadedFile) -> tuple[str, str]:
    """The name of the unpacked data set and "", or "" and what is wrong."""
    digest = hashlib.sha256(file.getbuffer()).hexdigest()[:32]
    folder = run_reader.folder().absolute() / ".uploads" / digest
    try:
        if not folder.is_dir():
            unpack_images(file, folder)
        return f"imagefolder:{folder}", ""
    except (TrimError, OSError) as error:
        return "", str(error)


def use(name: str, model: str, draft: dict[str, Any]) -> None:
    """Put the model and the data into the draft, and start over if either is another."""
    if (model, name) == (draft["model"], draft["data"]):
        return
    fresh = drafts.draft_for(model, name) if model != draft["model"] else {**draft, "image_size": 0}
    if name != draft["data"]:
        fresh = drafts.for_data(fresh, name)
    drafts.replace_draft({**fresh, "data": name, "device": draft["device"], "resize": draft["resize"]})
    st.rerun()  # the sidebar shows the current network
