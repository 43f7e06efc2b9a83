"""Whether the API key of an endpoint is set; no part of a key is ever shown."""

from __future__ import annotations

import os
from collections.abc import Sequence

import streamlit as st


def show(variables: Sequence[str]) -> None:
    """Which of these variables holds the key, or which one to set."""
    found = next((name for name in variables if os.environ.get(name, "").strip()), None)
    if found:
        st.caption(f":material/key: API key: set (`{found}`)")
    else:
        st.caption(
            f":material/key_off: API key: not set. Where one is needed, set `{variables[0]}` and "
            "start again."
        )
