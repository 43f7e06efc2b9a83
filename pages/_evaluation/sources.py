"""Where golden sets come from; each kind of place is one entry of `SOURCES`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from pages import _ui as ui
from pages._evaluation.remembered import remembered
from rag.evaluation.golden_sets import GoldenSet, read_golden_set
from rag.golden.sets import golden_set_of


@dataclass(frozen=True, slots=True)
class Source:
    """A kind of place.

    `choose` shows what there is to choose and gives the place, None where none is chosen yet.
    `read` gives the golden set of a place, or raises RAGError.
    """

    name: str
    choose: Callable[[], str | None]
    read: Callable[[str], GoldenSet]


def _choose_folder() -> str | None:
    with remembered("evaluation-folder", "") as key:
        folder = st.text_input(
            "Folder on this machine", key=key, placeholder="/home/me/golden", max_chars=1000
        )
    st.caption(
        "The folder holds the documents, in `corpus.jsonl` (id, title, text) or as files in a "
        "folder `pdfs`, and the questions in `queries.jsonl` (id, text). `qrels.tsv` names what "
        "answers each: question id, passage id or file name (`NAME#p4` is a page), and a grade "
        "of 1 or more, with tabs between them."
    )
    return folder.strip() or None


def _read_folder(place: str) -> GoldenSet:
    return read_golden_set(Path(place).expanduser())


def _choose_library() -> str:
    st.caption(
        "The questions whose right sources were marked on Ask and Inspect, asked of this library "
        "as it is."
    )
    return ""


def _read_library(place: str) -> GoldenSet:
    return golden_set_of(ui.library())


def likely() -> str:
    """The kind of place to begin with: this library, once it has golden questions."""
    marks = ui.library().golden.listed()
    return "library" if any(mark.confirmed and mark.relevant for mark in marks) else "folder"


SOURCES: Mapping[str, Source] = {
    "library": Source("Golden questions of this library", _choose_library, _read_library),
    "folder": Source("A folder", _choose_folder, _read_folder),
}
