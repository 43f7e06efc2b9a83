"""One question under two settings, side by side."""

from __future__ import annotations

from typing import get_args

import streamlit as st

from pages import _charts as charts
from pages import _ui as ui
from pages._inspection.changes import show_changes
from pages._markdown import plain
from rag.replay import query_settings
from rag.settings import QuerySettings, RerankerKind, Settings, load_settings, profiles
from rag.types import Record, Trace


def show(record: Record) -> None:
    """Choose the other settings, ask again with them, and see what entered, left and moved."""
    st.caption(
        "The same question once more with other settings. Left is this trace, right the other "
        "one; lines that cross are passages that changed places."
    )
    with ui.errors_shown():
        asked = query_settings(record.trace)
        with st.form("other-settings", border=True):
            other = other_settings(asked, record.trace.profile)
            go = st.form_submit_button("Compare", type="primary")
        if go and other is not None:
            with st.spinner("Asking with the other settings …"):
                st.session_state["comparison"] = (record.id, *traces(record, asked, other))
    known, *both = st.session_state.get("comparison", ("",))
    if known == record.id:
        before, after = both
        show_both(record, before, after)


def other_settings(asked: QuerySettings, profile: str) -> Settings | None:
    """What the person chose."""
    names = profiles(load_settings().home)
    first, second, third = st.columns(3)
    name = first.selectbox("Profile", names, index=names.index(profile) if profile in names else 0)
    kinds = list(get_args(RerankerKind))
    reranker = second.selectbox("Reranker", kinds, index=kinds.index(asked.reranker))
    passages = third.number_input("Passages in the prompt", 1, 20, asked.passages)
    recall = first.number_input("Recall depth", 1, 1000, asked.recall_depth)
    rerank = second.number_input("Rerank depth", 0, 1000, asked.rerank_depth)
    constant = third.number_input("Fusion constant", 1, 1000, asked.fusion_constant)
    settings = load_settings(profile=name)
    chosen = {
        "reranker": reranker,
        "passages": int(passages),
        "recall_depth": int(recall),
        "rerank_depth": int(rerank),
        "fusion_constant": int(constant),
    }
    # What was left as it is follows the profile.
    changes = {key: value for key, value in chosen.items() if value != getattr(asked, key)}
    query = settings.query.model_copy(update=changes)
    return settings.model_copy(update={"query": query})


def traces(record: Record, asked: QuerySettings, other: Settings) -> tuple[Trace, Trace]:
    """The stored trace and the other one; both are made now where the documents changed."""
    question, before = record.trace.searched, record.trace
    if ui.library().state() != before.library:
        before = ui.pipeline().with_query(asked).search(question)
    return before, ui.pipeline_of(other).search(question)


def show_both(record: Record, before: Trace, after: Trace) -> None:
    """Differences, chart, and what each cost."""
    if before is not record.trace:
        st.info("The documents have changed since, so both sides were asked now.")
    for notice in after.notices:
        ui.show_notice(notice)
    st.caption(plain(f"This trace: {described(before)}"))
    st.caption(plain(f"The other: {described(after)}"))
    show_changes(before, after)
    st.vega_lite_chart(
        None,
        charts.compare_chart(before, after, ("This trace", "The other")),
        width="stretch",
        key=f"comparison-{record.id}",
    )


def described(trace: Trace) -> str:
    """Profile, models, depths and seconds on one line."""
    seconds = sum(trace.seconds.values())
    settings = trace.settings
    return (
        f"{trace.profile} · {trace.models['reranker']} · recall {settings['recall_depth']} · "
        f"rerank {settings['rerank_depth']} · prompt {settings['passages']} · {seconds:.2f} s"
    )
