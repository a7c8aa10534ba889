"""A checkpoint that came through the browser: weights only, checked against the architecture before it is kept."""

import hashlib
import os
import tempfile
from pathlib import Path

import streamlit as st

from dashboard import store, work
from trimcore import checkpoint, models
from trimcore.errors import CheckpointError


def keep_upload(uploaded, draft: dict) -> Path:
    """Store the file under its hash below the runs folder and return its path.

    Raises CheckpointError if it does not fit. The name that the browser gave is not used, but for its ending.
    """
    seen = (uploaded.file_id, draft["model"], draft["data"], draft["image_size"])
    if st.session_state.get("upload", (None,))[0] == seen:
        return st.session_state.upload[1]
    path = _keep(uploaded, draft)
    st.session_state.upload = (seen, path)
    return path


def _keep(uploaded, draft: dict) -> Path:
    content = uploaded.getbuffer()
    ending = ".safetensors" if uploaded.name.endswith(".safetensors") else ".pt"
    kept = store.folder() / ".uploads" / f"{hashlib.sha256(content).hexdigest()[:32]}{ending}"
    if kept.exists():
        _check(kept, draft)
        return kept.resolve()
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=kept.parent, suffix=ending, delete=False) as file:
            file.write(content)
        try:
            _check(Path(file.name), draft)
            os.replace(file.name, kept)
        finally:
            Path(file.name).unlink(missing_ok=True)
    except OSError as error:
        raise CheckpointError(f"the upload cannot be stored: {error.strerror or error}") from None
    return kept.resolve()


def _check(path: Path, draft: dict) -> None:
    found, entry = work.data_summary(draft["data"]), models.architecture(draft["model"])
    wanted = {
        "num_classes": len(found.classes), "in_channels": entry.channels or found.channels,
        "image_size": draft["image_size"] or entry.image_size or found.image_size,
    }  # fmt: skip
    checkpoint.load_weights(path, draft["model"], wanted)
