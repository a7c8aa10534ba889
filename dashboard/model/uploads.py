"""Checkpoints uploaded in the browser. Only weights are accepted. A file is read in a separate process and checked
against the architecture before it is stored."""

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st
from streamlit.typing import UploadedFile

from dashboard.session import drafts, run_reader
from dashboard.session.draft_network import arguments_of
from dashboard.text import plain
from dashboard.widgets import elements
from trimcore.errors import CheckpointError, RunError, TrimError, shortened
from trimcore.files import checkpoint, sandbox


@dataclass(frozen=True)
class StoredUpload:
    """The path of an upload, and the adjustments to its weights as text (`without the prefix 'module.'`)."""

    path: Path
    adjustments: tuple[str, ...] = ()


def store_upload(uploaded: UploadedFile, draft: dict[str, Any]) -> StoredUpload:
    """Store the file under its hash, below the runs folder.

    Raises CheckpointError if it does not fit, and RunError if it cannot be stored. The name of the uploaded file is
    used only for the suffix and in messages. The outcome is cached until the user chooses another file or network.
    """
    key = (uploaded.file_id, draft["base"]["head"], *(draft[name] for name in drafts.NETWORK))
    if st.session_state.get("upload", (None,))[0] != key:
        try:
            st.session_state.upload = (key, _store(uploaded, draft))
        except CheckpointError as error:
            st.session_state.upload = (key, error)
    outcome: StoredUpload | CheckpointError = st.session_state.upload[1]
    if isinstance(outcome, CheckpointError):
        raise CheckpointError(str(outcome), outcome.mismatches)
    return outcome


def show_rejection(error: TrimError) -> None:
    """The error, followed by a table of the tensors that do not fit, if any."""
    st.error(plain(str(error).replace(checkpoint.NEW_HEAD, "to take all weights but those of the head, switch on "
             "New head")))  # fmt: skip
    if found := getattr(error, "mismatches", ()):
        table = pd.DataFrame([
            {"tensor": shortened(m.name), "problem": m.problem, "in the file": str(m.in_file or "—"),
             "in the model": str(m.in_model or "—")}
            for m in found
        ])  # fmt: skip
        st.dataframe(table, hide_index=True, column_config=elements.with_help(table),
                     alt="Tensors in the file that do not fit the model")  # fmt: skip


def _store(uploaded: UploadedFile, draft: dict[str, Any]) -> StoredUpload:
    content = uploaded.getbuffer()
    suffix = ".safetensors" if uploaded.name.endswith(".safetensors") else ".pt"
    path = run_reader.folder() / ".uploads" / f"{hashlib.sha256(content).hexdigest()[:32]}{suffix}"
    if path.exists():
        return StoredUpload(path.resolve(), _check(path, uploaded.name, draft))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=suffix, delete=False) as file:
            file.write(content)
        try:
            adjustments = _check(Path(file.name), uploaded.name, draft)
            os.replace(file.name, path)
        finally:
            Path(file.name).unlink(missing_ok=True)
    except OSError as error:
        raise RunError(f"cannot store the upload in {str(path.parent)!r}: {error.strerror or error}") from None
    return StoredUpload(path.resolve(), adjustments)


def _check(path: Path, name: str, draft: dict[str, Any]) -> tuple[str, ...]:
    """The adjustments that the weights need. Raises CheckpointError with the name of the uploaded file."""
    wanted = arguments_of(draft)
    try:
        with st.spinner("Checking the file in a separate process…"):
            return tuple(sandbox.check_weights(path, draft["model"], wanted, new_head=bool(draft["base"]["head"])))
    except CheckpointError as error:
        raise CheckpointError(str(error).replace(repr(str(path)), repr(name)), error.mismatches) from None
