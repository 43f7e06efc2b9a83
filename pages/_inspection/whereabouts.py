"""Where a passage that was expected got lost, and what would have kept it."""

from __future__ import annotations

import streamlit as st

from pages import _ui as ui
from pages._markdown import passage, plain
from rag.types import Record
from rag.whereabouts import Whereabouts, expected_page, expected_text

_KEPT = ("cited", "not cited")


def show(record: Record) -> None:
    """Ask for the expected passage, and tell the stage that lost it."""
    st.caption(
        "Paste the text you expected to find, or name its page; RankLens tells which stage lost "
        "it and which setting would have kept it."
    )
    by_text, by_page = st.tabs(["By its text", "By document and page"])
    with by_text:
        text = st.text_area("Text you expected", key="expected-text", height=100)
        if st.button("Find it", type="primary", key="find-text"):
            with ui.errors_shown(), st.spinner("Looking for it …"):
                found = expected_text(record, ui.library(), ui.pipeline().embedder, text)
            st.session_state["whereabouts"] = (record.id, found)
    with by_page:
        documents = {one.id: one for one in ui.library().documents() if one.status == "ready"}
        left, right = st.columns([3, 1])
        document = left.selectbox(
            "Document",
            list(documents),
            format_func=lambda one: documents[one].name,
            key="expected-document",
        )
        last = documents[document].pages if document else 1
        page = right.number_input("Page", 1, max(last, 1), key="expected-page")
        if st.button("Find it", type="primary", key="find-page", disabled=document is None):
            with ui.errors_shown(), st.spinner("Looking for it …"):
                found = expected_page(
                    record, ui.library(), ui.pipeline().embedder, document, int(page)
                )
            st.session_state["whereabouts"] = (record.id, found)
    known, found = st.session_state.get("whereabouts", ("", None))
    if found is not None and known == record.id:
        tell(found)


def tell(found: Whereabouts) -> None:
    """The stage, what happened there, what to do, and the passage itself."""
    with st.container(border=True):
        colour = "green" if found.stage in _KEPT else "orange"
        st.markdown(f":{colour}-badge[{plain(found.stage)}] **{plain(found.message)}**")
        if found.hint:
            st.markdown(f":material/lightbulb: {plain(found.hint)}")
        if found.candidate is not None:
            st.caption(plain(f"{found.candidate.location} · {found.candidate.evidence}"))
        for chunk in found.chunks:
            with st.expander(f"Chunk {chunk.position + 1}, p. {chunk.page}"):
                st.markdown(passage(chunk.text))
