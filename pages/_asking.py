"""A question on its way: whether it may be asked, how many come before it, and how to stop it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from threading import Event
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
# How long a run that was given up may take to end: it finishes what it computes.
_ENDING_SECONDS = 10.0


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


@dataclass
class _Going:
    """A question on its way in one run of the page.

    Streamlit begins the next run while the one before is still ending, and what that one then
    writes into the session is lost. So the next run looks here what became of the question.
    """

    question: str
    stopped: bool = False
    record: Record | None = None
    kept: Future[None] | None = None
    ended: Event = field(default_factory=Event)


def ask(question: str, turns: Sequence[Turn], box: str, show: Callable[[Record], None]) -> None:
    """Ask, show the answer in one element while it is written, with a way to stop it, and then all.

    What was asked is kept while `show` draws it. A question that cannot be answered goes back into
    the chat box with the key `box`, see `returned`. What becomes of one whose run is given up,
    `settled` says.
    """
    going, history = _Going(question), ui.history()
    st.session_state[f"{box}-going"] = going
    forget(box)
    live = st.empty()
    try:
        with live.container():
            place = st.empty()
            reply = _begun(going, turns, box, place)
        try:
            _show(reply, place)
        except BaseException:
            # Streamlit ends a run that is no longer wanted by raising.
            reply.stop()
            raise
        finally:
            going.record = record = recorded(reply.trace, reply.answer)
            # The disk is waited for, which takes as long as drawing.
            going.kept = ThreadPoolExecutor(max_workers=1).submit(history.keep, record)
    except RAGError as error:
        _refuse(question, error.notice, box)
    finally:
        going.ended.set()
    live.empty()
    show(record)
    _show_kept(going.kept)
    st.session_state.pop(f"{box}-going", None)


def _show_kept(kept: Future[None]) -> None:
    """Wait until a question is in the history; where it cannot be, say so and go on."""
    try:
        kept.result()
    except RAGError as error:
        ui.show_notice(Notice(f"The question could not be kept. {error.message}", error.hint))


def settled(box: str) -> Record | None:
    """Before a box is drawn: the answer that was given up as far as it was written, or None.

    A question that was given up before its answer began goes back into the box where it was
    stopped, and waits to be asked again where something else was pressed.
    """
    going: _Going | None = st.session_state.pop(f"{box}-going", None)
    if going is None:
        return None
    going.ended.wait(_ENDING_SECONDS)
    if going.record is None and going.stopped:
        st.session_state[box] = going.question
    elif going.record is None:
        let_wait(box, going.question)
    if going.kept is not None:
        # What is listed next has it.
        wait([going.kept], _ENDING_SECONDS)
    return going.record


def _begun(going: _Going, turns: Sequence[Turn], box: str, place: DeltaGenerator) -> Reply:
    """The answer in the making, once it is this question's turn. Raises RAGError."""

    def show_line(before: int) -> None:
        place.caption(f"{ui.counted(before, 'question')} before yours …" if before else "")

    st.button(
        "Stop", key=f"{box}-stop", icon=":material/stop_circle:", on_click=_stop, args=(going,)
    )
    with st.spinner("Looking through the library …"):
        return ui.pipeline().ask(going.question, turns, show_line)


def _stop(going: _Going) -> None:
    going.stopped = True


def _show(reply: Reply, place: DeltaGenerator) -> None:
    """Draw the answer as it grows."""
    place.caption("Writing the answer …")
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
    refused: tuple[str, Notice] | None = st.session_state.pop(f"{box}-refused", None)
    if refused is None:
        return None
    st.session_state[box], notice = refused
    return notice


def _refuse(question: str, notice: Notice, box: str) -> NoReturn:
    forget(box)
    st.session_state.pop(f"{box}-going", None)
    st.session_state[f"{box}-refused"] = question, notice
    st.rerun()
