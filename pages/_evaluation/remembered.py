"""Choices that outlast a visit to another page, where Streamlit forgets its widgets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import streamlit as st


@contextmanager
def remembered(key: str, start: Any) -> Iterator[str]:
    """Gives the key for the widget made within; it begins as it was last left, or at `start`."""
    if key not in st.session_state:
        st.session_state[key] = st.session_state.get(_behind(key), start)
    yield key
    st.session_state[_behind(key)] = st.session_state[key]


def _behind(key: str) -> str:
    return f"{key} when last seen"
