"""Inspect: one question, and what every stage did with every candidate."""

from __future__ import annotations

import streamlit as st

from pages import _asking as asking
from pages import _index as index
from pages import _marking as marking
from pages import _ui as ui
from pages._inspection import (
    chosen,
    comparison,
    meaning,
    side_by_side,
    what_if,
    whereabouts,
    words,
)
from pages._markdown import passage, plain
from rag.trace_files import read_record, write_record
from rag.types import Record
from rag.views import evidence_line

PARTS = (
    "Side by side",
    "Words",
    "Where did it go?",
    "What if",
    "What scores mean",
    "Compare",
)
_LISTED = 200
# The key of the chat box.
_BOX = "new-question"


def page() -> None:
    """The whole page, top to bottom."""
    ui.ensure_frame()
    st.set_page_config(layout="wide")
    with ui.errors_shown():
        ui.sidebar(ui.library().documents())
        st.title("Inspect")
        index.show_notice()
        choose_question()
        record = ui.inspected()
        if record is None:
            st.info(
                "Ask a question, pick one that was asked before, or open a saved trace. Then every "
                "stage shows what it did with every passage."
            )
            return
        show_question(record)
        show_part(record)


def choose_question() -> None:
    """A new question, one of the history, or a file."""
    left, middle, right = st.columns([5, 4, 2.2], vertical_alignment="center")
    with left:
        given_up = asking.settled(_BOX)
        if given_up is not None:
            ui.inspect(given_up)
        refused = asking.returned(_BOX)
        question = st.chat_input("Ask a new question", key=_BOX) or asking.waiting(_BOX)
    asked = {one.id: one for one in ui.history().listed()[:_LISTED]}
    middle.selectbox(
        "History",
        list(asked),
        index=None,
        format_func=lambda one: f"{asked[one].question[:80]} · {asked[one].asked_at:%d %b %H:%M}",
        placeholder=f"History: {ui.counted(len(asked), 'question')}",
        label_visibility="collapsed",
        key="history-choice",
        on_change=open_from_history,
    )
    with right.popover("Open a file", icon=":material/upload_file:", width="stretch"):
        file = st.file_uploader("A trace that was saved as JSON", type=["json"], key="trace-file")
        if file is not None and st.session_state.get("trace-file-read") != file.file_id:
            st.session_state["trace-file-read"] = file.file_id
            ui.inspect(read_record(file.getvalue()))
    if refused is not None:
        ui.show_problem(refused)
    if question:
        asking.admit(question, _BOX)
        asking.ask(question, [], _BOX, show=ui.inspect)
        st.rerun()


def open_from_history() -> None:
    """Open what was picked in the history."""
    wanted = st.session_state["history-choice"]
    if wanted:
        record = ui.history().opened(wanted)
        if record is not None:
            ui.inspect(record)


def show_question(record: Record) -> None:
    """Question, answer, what ran, and the ways to take it away."""
    trace, answer = record.trace, record.answer
    st.subheader(plain(trace.question), anchor=False)
    if trace.standalone:
        st.caption(f"Searched for: {plain(trace.standalone)}")
    if answer is not None:
        ui.show_answer_text(answer)
        ui.show_incomplete(answer)
        if answer.statements:
            ui.show_audit(answer)
    for notice in trace.notices:
        ui.show_notice(notice)
    library = trace.library
    st.caption(
        plain(
            f"{record.asked_at:%Y-%m-%d %H:%M} UTC · {ui.counted(library.documents, 'document')}, "
            f"{ui.counted(library.chunks, 'chunk')} · profile {trace.profile} · "
            f"{trace.models['embedder']} · {trace.models['reranker']}"
            f"{'' if trace.calibrated else ' (uncalibrated)'} · "
            f"{sum(trace.seconds.values()):.2f} s"
        )
    )
    if trace.reading:
        st.caption(plain(f"The reranker read {trace.reading}."))
    if usage := (answer or trace).usage_line:
        st.caption(plain(usage))
    now = ui.library().state()
    if now.fingerprint != library.fingerprint:
        st.info("This was asked over another index: another model or another way of cutting.")
    elif now.contents != library.contents:
        st.info("The documents have changed since. This is what was found then.")
    with st.container(horizontal=True):
        name = f"ranklens-{record.asked_at:%Y%m%d-%H%M}-{record.id[:6]}"
        st.download_button(
            "JSON",
            lambda: write_record(record),
            f"{name}.json",
            "application/json",
            icon=":material/download:",
            on_click="ignore",
            help="The whole trace; this page and `rag trace` read it back",
        )
        st.download_button(
            "Report",
            lambda: report(record),
            f"{name}.html",
            "text/html",
            icon=":material/description:",
            on_click="ignore",
            help="One HTML file that opens offline",
        )
        if st.button("Forget this question", icon=":material/delete:", type="tertiary"):
            ui.history().forget([record.id])
            ui.inspect(None)
            st.rerun()


def report(record: Record) -> str:
    """The question as one HTML file; what makes it is loaded when somebody wants one."""
    from rag.report import html_report

    return html_report(record)


def show_part(record: Record) -> None:
    """The part of the page that was chosen, and the open passage."""
    part = st.segmented_control(
        "Part", PARTS, default=PARTS[0], key="part", label_visibility="collapsed"
    )
    if not record.trace.candidates:
        st.info("Recall found nothing for this question.")
    match part:
        case "Words":
            words.show(record)
        case "Where did it go?":
            whereabouts.show(record)
        case "What if":
            what_if.show(record)
        case "What scores mean":
            with st.spinner("Measuring what unrelated pairs score …"):
                baseline = ui.baseline().result()
            meaning.show(record, baseline)
        case "Compare":
            comparison.show(record)
        case _:
            measuring = ui.baseline()
            # Why there is no baseline is told where its scores are explained.
            measured = measuring.done() and measuring.exception() is None
            side_by_side.show(record, measuring.result() if measured else None)
            show_passage(record)


def show_passage(record: Record) -> None:
    """The passage that is open, whole, with what cites it marked."""
    candidate = chosen.candidate(record)
    if candidate is None:
        return
    citations = record.answer.citations if record.answer else ()
    own = [one for one in citations if one.candidate.chunk.id == candidate.chunk.id]
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{candidate.rank}. {plain(candidate.location)}**", width="content")
            marking.show(
                marking.marks(), record.trace.searched, candidate, f"mark-{candidate.chunk.id}"
            )
        st.caption(plain(evidence_line(record.trace, candidate)))
        if candidate.chunk.heading:
            st.caption(plain(candidate.chunk.heading))
        st.markdown(passage(candidate.chunk.text, [(one.start, one.end) for one in own]))
        st.button(
            "Which words earned this?",
            icon=":material/ink_highlighter:",
            on_click=open_words,
            args=(candidate.chunk.id,),
        )


def open_words(chunk_id: str) -> None:
    """Go to the words of this passage."""
    chosen.choose(chunk_id)
    st.session_state["part"] = "Words"


page()
