"""The two thumbs beside a source: it answers the question, or it does not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import streamlit as st

from pages import _ui as ui
from pages._markdown import plain
from pages._visitor import visitor
from rag.errors import RAGError
from rag.golden.marks import add_mark, by_question, mark_of, question_key, standing
from rag.types import Candidate, GoldenMark

_THUMBS = (
    (True, "thumb_up", "green", "This is the right source"),
    (False, "thumb_down", "orange", "Not this one"),
)
_EVERYBODY = "Kept as a golden question, which everybody who uses this library sees"


@dataclass(frozen=True, slots=True)
class Marks:
    """What the library holds and what was said of it, read once for all sources of a page.

    `documents` are ids; `golden` are the marks of each question, by its key.
    """

    documents: frozenset[str]
    golden: Mapping[str, Sequence[GoldenMark]]


def marks() -> Marks:
    """Those of now; a failure ends the page with a sentence."""
    with ui.errors_shown():
        library = ui.library()
        documents = frozenset(record.id for record in library.documents())
        return Marks(documents, by_question(library.golden.listed()))


def show(marks: Marks, question: str, candidate: Candidate, key: str) -> None:
    """Both thumbs as they stand; nothing where the document is not in the library."""
    if candidate.chunk.document_id not in marks.documents:
        return
    marked = standing(marks.golden.get(question_key(question), ()), question, candidate.chunk)
    for relevant, icon, colour, says in _THUMBS:
        stands = marked is not None and marked.relevant == relevant
        st.button(
            f":{colour}-badge[:material/{icon}:]" if stands else f":material/{icon}:",
            key=f"{key}-{icon}",
            type="tertiary",
            help=f"{says}: marked; press to take it back" if stands else f"{says}. {_EVERYBODY}",
            on_click=press,
            args=(question, candidate, relevant),
        )


def press(question: str, candidate: Candidate, relevant: bool) -> None:
    """Keep the mark, or take it back where it stands."""
    with problems_toasted():
        golden, chunk = ui.library().golden, candidate.chunk
        marked = standing(golden.listed(), question, chunk)
        if marked is not None and marked.relevant == relevant:
            golden.remove([marked.id])
            st.toast("Taken back.", icon=":material/undo:")
            return
        mark = mark_of(question, chunk, candidate.document, visitor(), relevant=relevant)
        add_mark(golden, mark)
        if relevant:
            st.toast("Kept: this source answers the question.", icon=":material/thumb_up:")
        else:
            st.toast("Kept: this source does not answer it.", icon=":material/thumb_down:")


@contextmanager
def problems_toasted() -> Iterator[None]:
    """Tell a RAGError in passing: what answers a button cannot end the page."""
    try:
        yield
    except RAGError as error:
        st.toast(plain(str(error)), icon=":material/error:")
