"""The stored candidates under other settings, at once and without another query."""

from __future__ import annotations

import streamlit as st

from pages import _charts as charts
from pages import _ui as ui
from pages._inspection.changes import show_changes
from pages._markdown import plain
from rag.replay import query_settings, replay
from rag.settings import QuerySettings, load_settings
from rag.settings_file import save_settings
from rag.types import Record

_NAMES = {
    "recall_depth": "Recall depth",
    "rerank_depth": "Rerank depth",
    "fusion_constant": "Fusion constant",
    "passages": "Passages in the prompt",
    "relevance": "Relevance threshold",
}


@st.fragment
def show(record: Record) -> None:
    """Sliders, what they change against the saved settings, and the way to save them."""
    st.caption(
        "Move a slider: the stored candidates are put in their new order at once. Left is the "
        "order of the saved settings, right that of the sliders."
    )
    with ui.errors_shown():
        saved = load_settings()
        asked = query_settings(record.trace)
    start = bounded(saved.query, asked)
    left, right = st.columns([1, 2], gap="large")
    with left:
        chosen = sliders(record, start, asked)
    before = replay(record.trace, start).trace
    after = replay(record.trace, chosen)
    with right:
        if after.unjudged:
            st.info(
                f"{ui.counted(len(after.unjudged), 'passage')} would be read by the reranker that "
                "it did not read for this trace; they stand behind those it read. Ask again to "
                "see their true place."
            )
        show_changes(before, after.trace)
        save(chosen, start)
    st.vega_lite_chart(
        None,
        charts.compare_chart(before, after.trace, ("Saved settings", "Sliders")),
        width="stretch",
        key=f"what-if-{record.id}",
    )


def bounded(query: QuerySettings, asked: QuerySettings) -> QuerySettings:
    """The settings no deeper than the trace recalled, and with its reranker."""
    depth = min(query.recall_depth, asked.recall_depth)
    return query.model_copy(update={"recall_depth": depth, "reranker": asked.reranker})


def sliders(record: Record, start: QuerySettings, asked: QuerySettings) -> QuerySettings:
    """A slider a setting; they begin at `start`."""
    pool = max(len(record.trace.candidates), asked.rerank_depth, start.rerank_depth)
    keys = {name: f"{name}-{record.id}" for name in _NAMES}
    if st.button("Back to the saved settings", icon=":material/undo:", type="tertiary"):
        for name, key in keys.items():
            st.session_state[key] = getattr(start, name)
    ranges = {
        "recall_depth": (1, max(asked.recall_depth, 2)),
        "rerank_depth": (0, pool),
        "fusion_constant": (1, max(200, start.fusion_constant)),
        "passages": (1, 20),
        "relevance": (0.0, 1.0),
    }
    values = {}
    for name, (lowest, highest) in ranges.items():
        st.session_state.setdefault(keys[name], getattr(start, name))
        values[name] = st.slider(
            _NAMES[name],
            lowest,
            highest,
            step=0.01 if name == "relevance" else 1,
            key=keys[name],
            help=QuerySettings.model_fields[name].description,
        )
    return start.model_copy(update=values)


def save(chosen: QuerySettings, start: QuerySettings) -> None:
    """Make what was changed the default."""
    changes = {
        name: (getattr(start, name), getattr(chosen, name))
        for name in _NAMES
        if getattr(start, name) != getattr(chosen, name)
    }
    for name, (old, new) in changes.items():
        st.caption(f"{_NAMES[name]}: {old} → **{new}**")
    if st.button("Make this the default", icon=":material/save:", disabled=not changes):
        with ui.errors_shown():
            settings = load_settings()
            query = settings.query.model_copy(
                update={name: new for name, (_, new) in changes.items()}
            )
            saved = save_settings(settings, settings.model_copy(update={"query": query}))
        names = ", ".join(_NAMES[name.removeprefix("query.")].lower() for name in saved)
        st.toast(f"Saved: {plain(names)}. The next question uses it.", icon=":material/check:")
