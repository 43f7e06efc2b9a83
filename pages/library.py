"""Library: add documents, see what was read of them, look into them, remove them."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from pages import _adding as adding
from pages import _index as index
from pages import _ui as ui
from pages._markdown import passage, plain
from rag.documents import SUFFIXES
from rag.jobs import Job
from rag.types import Chunk, DocumentRecord

_PREVIEWED = 50
_STATUS = {"ready": "ready", "embedding": "being added", "failed": "failed"}


def page() -> None:
    """The whole page, top to bottom."""
    ui.ensure_frame()
    with ui.errors_shown():
        records = ui.library().documents()
        ui.sidebar(records)
        st.title("Library")
        index.show_notice()
        upload()
        adding.show()
        if not records:
            st.info("No documents yet. Upload some, or begin with the samples.")
            adding.offer_samples()
            return
        chosen = table(records)
        if chosen is not None:
            details(chosen)


def upload() -> None:
    """The upload box; it empties itself once its files are taken."""
    turn = st.session_state.setdefault("upload-turn", 0)
    files = st.file_uploader(
        "Add documents",
        accept_multiple_files=True,
        type=[suffix.removeprefix(".") for suffix in SUFFIXES],
        key=f"upload-{turn}",
    )
    if files:
        adding.start(adding.uploaded(files))
        st.session_state["upload-turn"] = turn + 1
        st.rerun()


def table(records: Sequence[DocumentRecord]) -> DocumentRecord | None:
    """All documents; the one whose row is chosen."""
    rows = {
        "Name": [record.name for record in records],
        "Status": [_STATUS.get(record.status, record.status) for record in records],
        "Pages": [pages_read(record) for record in records],
        "Chunks": [record.chunks for record in records],
        "Size": [f"{record.size / 1000:,.0f} kB" for record in records],
        "Added": [record.added_at for record in records],
    }
    choice = st.dataframe(
        rows,
        hide_index=True,
        on_select="rerun",
        selection_mode="single-row",
        column_config={
            "Name": st.column_config.TextColumn(width=200),
            "Status": st.column_config.TextColumn(width=80),
            "Pages": st.column_config.TextColumn(width=70),
            "Chunks": st.column_config.NumberColumn(width=70),
            "Size": st.column_config.TextColumn(width=80),
            "Added": st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm", width=145),
        },
        key="documents",
    )
    st.caption("Choose a row to look into a document or to remove it.")
    chosen = choice.selection.rows
    return records[chosen[0]] if chosen and chosen[0] < len(records) else None


def pages_read(record: DocumentRecord) -> str:
    """`12`, or `7 of 12` where pages could not be read."""
    if record.pages_read == record.pages:
        return str(record.pages)
    return f"{record.pages_read} of {record.pages}"


def details(record: DocumentRecord) -> None:
    """What was read of one document, and the way to remove it."""
    title, button = st.columns([5, 1], vertical_alignment="center")
    title.subheader(plain(record.name), anchor=False)
    if button.button("Remove", icon=":material/delete:"):
        confirm_removal(record)
    if record.message:
        st.caption(plain(record.message))
    chunks = ui.library().chunks(record.id)
    for chunk in chunks[:_PREVIEWED]:
        show_chunk(chunk)
    if len(chunks) > _PREVIEWED:
        st.caption(f"{len(chunks) - _PREVIEWED} more chunks are not shown.")


def show_chunk(chunk: Chunk) -> None:
    """One chunk with its place in the document."""
    with st.container(border=True):
        place = f"#{chunk.position + 1} · p. {chunk.page} · {chunk.start}-{chunk.end}"
        st.caption(plain(f"{place} · {chunk.heading}" if chunk.heading else place))
        st.markdown(passage(chunk.text))


@st.dialog("Remove this document?")
def confirm_removal(record: DocumentRecord) -> None:
    """Ask once more, then remove."""
    st.markdown(
        f"**{plain(record.name)}** and its {ui.counted(record.chunks, 'chunk')} will be removed."
    )
    st.caption("Questions that were asked before keep the passages they showed.")
    if st.button("Remove it", type="primary"):
        with ui.errors_shown():
            library = ui.library()
            library.remove(record.id)
            # Its words count in the scores of others until the index is built anew.
            Job(library.optimize)
        st.rerun()


page()
