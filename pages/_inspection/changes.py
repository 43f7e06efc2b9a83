"""What entered, left and moved between two traces."""

from __future__ import annotations

import streamlit as st

from pages._markdown import plain
from rag.replay import differences, summary
from rag.types import Trace

_MARKS = {
    "entered": "▲ enters",
    "left": "▼ leaves",
    "up": "↑ up",
    "down": "↓ down",
    "same": "same",
}


def show_changes(before: Trace, after: Trace) -> None:
    """One sentence, and a row for each passage in the prompt of either trace."""
    changes = differences(before, after)
    st.markdown(f"**{plain(summary(changes))}**")
    if not changes:
        st.caption("No passage reaches the relevance threshold in either of them.")
        return
    st.dataframe(
        {
            "Change": [_MARKS[change.change] for change in changes],
            "Before": [change.before for change in changes],
            "After": [change.after for change in changes],
            "Passage": [change.candidate.location for change in changes],
            "Text": [change.candidate.chunk.text[:120] for change in changes],
        },
        hide_index=True,
        column_config={
            "Change": st.column_config.TextColumn(width=80),
            "Before": st.column_config.NumberColumn(width=60),
            "After": st.column_config.NumberColumn(width=60),
            "Passage": st.column_config.TextColumn(width=200),
        },
    )
