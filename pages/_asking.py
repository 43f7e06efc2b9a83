"""A question on its way: whether it may be asked, how many come before it, and how to stop it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic
from typing import NoReturn

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages import _ui as ui
from pages._markdown import safe
from pages._visitor import visitor
from rag.allowance import Allowance, question_text
from rag.answering import Reply
from rag.errors import RAGError
from rag.history import recorded
from rag.settings import load_settings
from rag.types import Notice, Record, Turn

# How often an answer is drawn while it is written; what came in between is drawn with it.
_DRAW_SECONDS = 0.1


@st.cache_resource(show_spinner=False)
def _allowance() -> Allowance:
    """One for all sessions: it is about all of them together."""
    return Allowance()


def admit(question: str, box: str) -> None:
    """Count a question; where it is too long or one too many, end the run and say so.

    It goes back into the chat box with the key `box`, see `returned`.
    """
    try:
        limits = load_settings().limits
        question_text(question, limits)
        _allowance().take(visitor(), limits)
    except RAGError as error:
        _refuse(question, error.notice, box)


def ask(question: str, turns: Sequence[Turn], box: str, keep: Callable[[Record], None]) -> Record:
    """Ask, and show the answer while it is written, with a way to stop it.

    `keep` takes the record, also of an answer that is given up. A question that cannot be answered
    goes back into the chat box with the key `box`, see `returned`; one whose run is given up before
    its answer began waits for the next run.
    """
    place, stop = st.empty(), st.empty()
    try:
        reply = _begun(question, turns, box, place, stop)
    except RAGError as error:
        _refuse(question, error.notice, box)
    forget(box)
    try:
        _show(reply, place)
    except BaseException:
        # Streamlit ends a run that is no longer wanted by raising.
        reply.stop()
        raise
    finally:
        record = recorded(reply.trace, reply.answer)
        keep(record)
        ui.keep(record)
    place.empty()
    stop.empty()
    return record


def _begun(
    question: str,
    turns: Sequence[Turn],
    box: str,
    place: DeltaGenerator,
    stop: DeltaGenerator,
) -> Reply:
    """The answer in the making, once it is this question's turn. Raises RAGError."""
    let_wait(box, question)
    stop.button(
        "Stop",
        key=f"{box}-stop",
        icon=":material/stop_circle:",
        help="End the answer here; what is written stays",
        on_click=_return_waiting,
        args=(box,),
    )

    def show_place(before: int) -> None:
        place.caption(f"{ui.counted(before, 'question')} before yours …" if before else "")

    with st.spinner("Looking through the library …"):
        return ui.pipeline().ask(question, turns, show_place)


def _show(reply: Reply, place: DeltaGenerator) -> None:
    """Draw the answer as it grows."""
    drawn = 0.0
    for _ in reply:
        if monotonic() - drawn >= _DRAW_SECONDS:
            place.markdown(safe(reply.text))
            drawn = monotonic()


def waiting(box: str) -> str:
    """The question of this box that is still to be asked, because its run was given up."""
    return str(st.session_state.get(f"{box}-waiting", ""))


def let_wait(box: str, question: str) -> None:
    """Ask this question later."""
    st.session_state[f"{box}-waiting"] = question


def forget(box: str) -> None:
    """No question waits any more."""
    st.session_state.pop(f"{box}-waiting", None)


def returned(box: str) -> Notice | None:
    """Before a box is drawn: what was refused goes back into it. Gives why it was refused."""
    question, notice = st.session_state.pop(f"{box}-refused", ("", None))
    if question:
        st.session_state[box] = question
    return notice


def _refuse(question: str, notice: Notice, box: str) -> NoReturn:
    forget(box)
    st.session_state[f"{box}-refused"] = question, notice
    st.rerun()


def _return_waiting(box: str) -> None:
    """A question that is stopped before its answer began goes back into its box."""
    question = waiting(box)
    forget(box)
    if question:
        st.session_state[box] = question
