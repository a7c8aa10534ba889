"""A checkpoint that came through the browser: weights only, read in a process of its own and checked against the
architecture before it is kept."""

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import streamlit as st

from dashboard import frame, store, work
from trimcore.errors import CheckpointError, RunError, TrimError, shortened
from trimcore.files import sandbox


@dataclass(frozen=True)
class Kept:
    """Where an upload is, and in words what was taken off its weights (`without the prefix 'module.'`)."""

    path: Path
    taken_off: tuple[str, ...] = ()


def keep_upload(uploaded, draft: dict) -> Kept:
    """Store the file under its hash below the runs folder.

    Raises CheckpointError if it does not fit, RunError if it cannot be stored. The name that the browser gave is not
    used, but for its ending and in messages. What was said of a file is remembered until something else is chosen.
    """
    seen = (uploaded.file_id, *(draft[key] for key in work.NETWORK))
    if st.session_state.get("upload", (None,))[0] != seen:
        try:
            st.session_state.upload = (seen, _keep(uploaded, draft))
        except CheckpointError as error:
            st.session_state.upload = (seen, error)
    said = st.session_state.upload[1]
    if isinstance(said, CheckpointError):
        raise CheckpointError(str(said), said.mismatches)
    return said


def show_refusal(error: TrimError) -> None:
    """One line, and where tensors do not fit, the table of them."""
    st.error(frame.plain(str(error)))
    if found := getattr(error, "mismatches", ()):
        table = pd.DataFrame([
            {"tensor": shortened(m.name), "problem": m.problem, "in the file": str(m.in_file or "—"),
             "in the model": str(m.in_model or "—")}
            for m in found
        ])  # fmt: skip
        st.dataframe(table, hide_index=True, column_config=frame.explained(table),
                     alt="Tensors of the file that do not fit the model")  # fmt: skip


def _keep(uploaded, draft: dict) -> Kept:
    content = uploaded.getbuffer()
    ending = ".safetensors" if uploaded.name.endswith(".safetensors") else ".pt"
    kept = store.folder() / ".uploads" / f"{hashlib.sha256(content).hexdigest()[:32]}{ending}"
    if kept.exists():
        return Kept(kept.resolve(), _check(kept, uploaded.name, draft))
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=kept.parent, suffix=ending, delete=False) as file:
            file.write(content)
        try:
            taken_off = _check(Path(file.name), uploaded.name, draft)
            os.replace(file.name, kept)
        finally:
            Path(file.name).unlink(missing_ok=True)
    except OSError as error:
        raise RunError(f"the upload cannot be stored: {error.strerror or error}") from None
    return Kept(kept.resolve(), taken_off)


def _check(path: Path, name: str, draft: dict) -> tuple[str, ...]:
    """What had to be taken off the weights. Raises CheckpointError, which names the file as its owner does."""
    wanted = work.arguments_of(draft)
    try:
        with st.spinner("Reading the file, in a process of its own…"):
            return tuple(sandbox.check_weights(path, draft["model"], wanted))
    except CheckpointError as error:
        raise CheckpointError(str(error).replace(repr(str(path)), repr(name)), error.mismatches) from None
