"""The settings in which the compared runs differ."""

from typing import Any

import pandas as pd
import streamlit as st

from dashboard.session import run_reader
from trimcore.spec import Spec
from trimcore.system.own_code import OWN_LOOP


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """A spec as a flat dict: `section.key` -> text."""
    out = {}
    for key, value in values.items():
        if isinstance(value, dict):
            out.update(flat(value, f"{prefix}{key}."))
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for number, item in enumerate(value, 1):
                out.update(flat(item, f"{prefix}{key} {number}."))
        else:
            out[prefix + key] = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return out


def _settings(asked: Spec) -> dict[str, Any]:
    """The settings of a run. A loop of the user's own has its own settings, which the spec does not know."""
    values = asked.model_dump(exclude_none=True)
    return {key: values[key] for key in ("model", "data", "name")} if asked.task == OWN_LOOP else values


def show(picked: list[str]) -> None:
    st.markdown("##### Differences in the specs")
    columns = {run_reader.title(i): flat(_settings(run_reader.spec_of(i))) for i in picked}
    specs = pd.DataFrame(columns).fillna("—")
    different = specs[specs.nunique(axis=1) > 1]
    if different.empty:
        st.caption("These runs have identical specs.")
    else:
        st.dataframe(different, alt="Settings in which the runs differ")
