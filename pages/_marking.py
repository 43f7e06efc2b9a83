"""The two thumbs beside a source: it answers the question, or it does not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from pages import _ui as ui
from pages._markdown import plain
from pages._visitor import visitor
from rag.errors import RAGError
from rag.golden.marks import add_mark, mark_of, standing
from rag.types import Candidate

_THUMBS = (
    (True, "thumb_up", "green", "This is the right source"),
    (False, "thumb_down", "orange", "Not this one"),
)
_EVERYBODY = "Kept as a golden question, which everybody who uses this library sees"


def show(question: str, candidate: Candidate, key: str) -> None:
    """Both thumbs as they stand; nothing where the document is not in the library."""
    document = candidate.chunk.document_id
    with ui.errors_shown():
        library = ui.library()
        if not library.names({document}):
            return
        marked = standing(library.golden.listed(), question, candidate.chunk)
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
