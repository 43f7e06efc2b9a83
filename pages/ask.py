"""Ask: a conversation in which every answer shows its sources and what earned them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from pages import _adding as adding
from pages import _asking as asking
from pages import _index as index
from pages import _marking as marking
from pages import _ui as ui
from pages._markdown import passage, plain
from rag.documents import SUFFIXES
from rag.types import Answer, Candidate, Citation, Record, Trace, Turn
from rag.views import evidence_line

EXAMPLES = (
    "When is a reranker worth having?",
    "重排模型为什么比向量召回更准？",
    "Which constant does reciprocal rank fusion use?",
)
# The key of the chat box.
_BOX = "question"
_NEAREST = 3
# Characters of a passage that are shown whole, and on either side of what is marked.
_WHOLE = 400
_AROUND = 120
_HOW = {
    "quoted": "quoted; no language model configured",
    "generated": "written by {answerer}",
    "nothing relevant": "nothing relevant found",
}


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question with its answer, by its number in the conversation, and the marks of sources."""

    number: int
    record: Record
    marks: marking.Marks


def page() -> None:
    """The whole page, top to bottom."""
    ui.ensure_frame()
    history: list[Record] = st.session_state.setdefault("history", [])
    with ui.errors_shown():
        records = ui.library().documents()
    ui.sidebar(records)
    with ui.errors_shown():
        index.show_notice()
    given_up = asking.settled(_BOX)
    if given_up is not None and given_up.id not in {one.id for one in history}:
        history.append(given_up)
    refused = asking.returned(_BOX)
    question = asked()
    if question:
        asking.admit(question, _BOX)
    # A place of its own, so that the welcome is gone as soon as a question is there.
    first = st.empty()
    waiting = asking.waiting(_BOX)
    if not history and not question and not waiting:
        with first.container():
            welcome(empty=not any(record.status == "ready" for record in records))
    marks = marking.marks()
    for number, record in enumerate(history, start=1):
        show_exchange(Exchange(number, record, marks))
    if waiting and waiting != question:
        show_question(waiting)
    adding.show()
    if question:
        with ui.errors_shown():
            ask(question, history, marks)
    elif refused is not None:
        ui.show_problem(refused)


def asked() -> str:
    """What the person asks now; files that were dropped beside it are added first."""
    prompt = st.chat_input(
        "Ask about your documents, or drop files here",
        accept_file="multiple",
        file_type=[suffix.removeprefix(".") for suffix in SUFFIXES],
        key=_BOX,
    )
    if prompt is None:
        waiting = "" if adding.running() else asking.waiting(_BOX)
        return str(st.session_state.pop("example", waiting))
    if prompt.files:
        adding.start(adding.uploaded(prompt.files))
        asking.let_wait(_BOX, prompt.text)
        return ""
    return str(prompt.text)


def welcome(*, empty: bool) -> None:
    """What RankLens is, for somebody who sees it for the first time."""
    st.title("Ask your documents")
    st.markdown("Every answer names its sources, and every source shows why it was chosen.")
    if empty:
        with st.container(border=True):
            st.markdown(
                "**The library is empty.** Drop files into the box below, or begin with a small "
                "bilingual library about retrieval."
            )
            adding.offer_samples()
        return
    with st.container(horizontal=True):
        for example in EXAMPLES:
            if st.button(example, type="secondary"):
                st.session_state["example"] = example
                st.rerun()


def ask(question: str, history: list[Record], marks: marking.Marks) -> None:
    """Answer one question, streaming, and keep it in the history."""
    show_question(question)
    with st.chat_message("assistant", avatar=":material/frame_inspect:"):
        turns = [Turn(one.trace.searched, one.answer.text) for one in history if one.answer]

        def show(record: Record) -> None:
            history.append(record)
            show_answer(Exchange(len(history), record, marks))

        asking.ask(question, turns, _BOX, show)


def show_exchange(exchange: Exchange) -> None:
    """A question and its answer, as they were."""
    show_question(exchange.record.trace.question)
    with st.chat_message("assistant", avatar=":material/frame_inspect:"):
        # Where the answer was shown while it was written: all else stays in its place.
        st.empty()
        show_answer(exchange)


def show_question(question: str) -> None:
    """The question, as it was typed."""
    with st.chat_message("user", avatar=":material/person:"):
        st.markdown(plain(question))


def show_searched(trace: Trace) -> None:
    """The question that was searched, where it is not the typed one."""
    if trace.standalone:
        st.caption(f"Searched for: {plain(trace.standalone)}")


def show_answer(exchange: Exchange) -> None:
    """The question that was searched, text, what went wrong, what supports it, seconds, sources."""
    answer = exchange.record.answer
    if answer is None:
        return
    show_searched(answer.trace)
    for notice in answer.trace.notices:
        ui.show_notice(notice)
    ui.show_answer_text(answer, anchors=anchor(exchange.number, ""))
    ui.show_incomplete(answer)
    if answer.dropped:
        st.caption(f"Invented source numbers taken out: {answer.dropped}.")
    if answer.statements:
        ui.show_audit(answer)
    st.caption(timings(answer))
    show_sources(exchange, answer)


def timings(answer: Answer) -> str:
    """Seconds of every stage, who wrote the answer, its tokens and cost."""
    seconds = {stage: value for stage, value in answer.seconds.items() if stage != "first token"}
    stages = " · ".join(f"{plain(stage)} {value:.2f}" for stage, value in seconds.items())
    total = sum(seconds.values())
    how = _HOW[answer.kind].format(answerer=plain(answer.trace.models["answerer"]))
    usage = f" · {plain(answer.usage_line)}" if answer.usage_line else ""
    return f"{total:.2f} s ({stages}) · {how}{usage}"


def show_sources(exchange: Exchange, answer: Answer) -> None:
    """A card a cited passage; the others that were in the prompt, or the nearest, folded away."""
    if answer.kind == "nothing relevant":
        for position, candidate in enumerate(answer.trace.candidates[:_NEAREST], start=1):
            show_source(exchange, position, candidate, [])
        return
    cited: dict[int, list[Citation]] = {}
    for citation in answer.citations:
        cited.setdefault(citation.number, []).append(citation)
    sources = list(enumerate(answer.passages, start=1))
    for position, candidate in sources:
        if position in cited or not cited:
            show_source(exchange, position, candidate, cited.get(position, []))
    rest = [source for source in sources if cited and source[0] not in cited]
    if rest:
        with st.expander(f"{len(rest)} more in the prompt, not cited"):
            for position, candidate in rest:
                show_source(exchange, position, candidate, [])


def show_source(
    exchange: Exchange, position: int, candidate: Candidate, citations: list[Citation]
) -> None:
    """One passage: where it stands, what it says, and what every stage thought of it."""
    number, record = exchange.number, exchange.record
    text = candidate.chunk.text
    spans = [(citation.start, citation.end) for citation in citations if citation.quote]
    start, end = excerpt(text, spans)
    with st.container(border=True, gap="xsmall"):
        with st.container(horizontal=True, horizontal_alignment="distribute"):
            st.subheader(
                f"[{position}] {plain(candidate.location)}",
                anchor=anchor(number, position),
                width="content",
            )
            with st.container(horizontal=True, width="content", vertical_alignment="center"):
                st.markdown(badge_line(candidate), width="content")
                key = f"mark-{number}-{position}"
                marking.show(exchange.marks, record.trace.searched, candidate, key)
                if st.button(
                    "Why?",
                    key=f"why-{number}-{position}",
                    type="tertiary",
                    help="What every stage did with this passage",
                ):
                    ui.inspect(record, candidate.chunk.id)
                    st.switch_page("pages/inspection.py")
        if candidate.chunk.heading and not text.startswith("#"):
            st.caption(plain(candidate.chunk.heading))
        cut = [(first - start, last - start) for first, last in spans]
        before, after = "… " if start else "", " …" if end < len(text) else ""
        st.markdown(before + passage(text[start:end], cut) + after)
        support = max((citation.support for citation in citations), default=None)
        told = "" if support is None else f" · support {support:.0%}"
        st.caption(plain(evidence_line(record.trace, candidate) + told))
        if (start, end) != (0, len(text)):
            with st.expander("Whole passage"):
                st.markdown(passage(text, spans))


def excerpt(text: str, spans: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The part of a passage to show at once: what is marked, and some words around it."""
    if len(text) <= _WHOLE:
        return 0, len(text)
    first = min((start for start, _ in spans), default=0)
    last = max((end for _, end in spans), default=_WHOLE - _AROUND)
    start, end = max(first - _AROUND, 0), min(last + _AROUND, len(text))
    # At a blank where there is one near; Chinese is cut anywhere.
    start = start and (text.find(" ", start, first) + 1 or start)
    if end < len(text):
        end = max(text.rfind(" ", last, end), last) if " " in text[last:end] else end
    return start, end


def badge_line(candidate: Candidate) -> str:
    """The relevance, and how far the reranker moved the passage."""
    if candidate.rerank is None:
        return ""
    badges = [f":green-badge[{candidate.rerank.score:.0%}]"]
    if candidate.moved:
        arrow = "arrow_upward" if candidate.moved > 0 else "arrow_downward"
        badges.append(f":gray-badge[:material/{arrow}: {abs(candidate.moved)}]")
    return " ".join(badges)


def anchor(number: int, position: int | str) -> str:
    """Where the card of a source is on the page."""
    return f"answer-{number}-source-{position}"


page()
