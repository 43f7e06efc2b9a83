"""Which passage is open: chosen in the chart, in a table, or on another page."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from rag.types import Candidate, Record

_KEY = "chosen"


def chunk_id() -> str | None:
    """The chunk of the passage that is open."""
    return st.session_state.get(_KEY)


def candidate(record: Record) -> Candidate | None:
    """The passage that is open; the best one where none of this question was chosen."""
    candidates = record.trace.candidates
    wanted = chunk_id()
    found = (one for one in candidates if one.chunk.id == wanted)
    return next(found, candidates[0] if candidates else None)


def choose(wanted: str | None) -> None:
    """Open the passage with this chunk."""
    st.session_state[_KEY] = wanted


def choose_in_chart(key: str) -> None:
    """Open the passage that was clicked in the chart with this key."""
    points = st.session_state[key]["selection"].get("passage") or []
    if points:
        choose(points[0].get("id"))


def choose_in_table(key: str, shown: Sequence[Candidate]) -> None:
    """Open the passage whose row was clicked in the table with this key."""
    picked = st.session_state[key]["selection"]["rows"]
    if picked:
        choose(shown[picked[0]].chunk.id)
