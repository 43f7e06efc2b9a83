"""The golden questions of this library: see, confirm, draft, import, export and remove them."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial

import streamlit as st

from pages import _ui as ui
from pages._markdown import passage, plain
from pages._marking import problems_toasted
from pages._visitor import visitor
from rag.errors import RAGError
from rag.golden.drafting import draft_questions, no_model, passages_to_ask_about
from rag.golden.marks import add_mark, confirm
from rag.golden.reading import Imported, import_golden
from rag.golden.sets import text_of
from rag.golden.writing import Row, as_csv, as_jsonl, golden_rows
from rag.settings import load_settings
from rag.store import Store
from rag.types import GoldenMark

_DRAFTED_AT_ONCE = 5
_SHOWN_DRAFTS = 10
_SHOWN_REFUSED = 20
_ORIGINS = {
    "marked": "marked by a person",
    "imported": "imported",
    "drafted": "drafted, then confirmed",
}
_TEMPLATE = "question,language,document,page,text,answer,relevant\r\n"


def show() -> None:
    """The whole part, top to bottom; it stands alone."""
    with ui.errors_shown():
        marks = ui.library().golden.listed()
        present = {one.id for one in ui.library().documents() if one.status == "ready"}
    st.caption(
        "What answers what in your own documents. The thumbs on Ask and Inspect add to it, and "
        "everybody who uses this library sees it. Pipelines and settings are judged by it."
    )
    show_ways_in_and_out([mark for mark in marks if mark.confirmed])
    show_import()
    show_drafts([mark for mark in marks if not mark.confirmed])
    show_confirmed([mark for mark in marks if mark.confirmed], present)


def show_ways_in_and_out(marks: Sequence[GoldenMark]) -> None:
    """Import, export, and drafting."""
    endpoint = load_settings().endpoint
    problem = no_model(endpoint)
    with st.container(horizontal=True):
        with st.popover("Import", icon=":material/upload_file:"):
            file = st.file_uploader("CSV or JSONL", type=["csv", "jsonl", "txt"], key="golden-file")
            st.caption(
                "Columns: question, language, document (its name), page, text (as it stands "
                "there), answer. A question needs a text, or a document and a page."
            )
            st.download_button(
                "An empty CSV",
                _TEMPLATE.encode("utf-8-sig"),
                "golden.csv",
                "text/csv",
                on_click="ignore",
                type="tertiary",
            )
        for label, write, media_type in (
            ("CSV", as_csv, "text/csv"),
            ("JSONL", as_jsonl, "application/jsonl"),
        ):
            st.download_button(
                label,
                partial(written, ui.library(), write, marks),
                f"golden.{label.lower()}",
                media_type,
                icon=":material/download:",
                on_click="ignore",
                disabled=not marks,
            )
        drafting = st.button(
            "Drafting needs a language model" if problem else "Draft questions",
            icon=":material/edit_note:",
            disabled=problem is not None,
            help=plain(str(problem))
            if problem
            else "The language model writes questions that "
            "passages of your documents answer; none counts before you confirm it",
            key="draft-questions",
        )
    if file is not None and st.session_state.get("golden-file-read") != file.file_id:
        st.session_state["golden-file-read"] = file.file_id
        with ui.errors_shown(), st.spinner("Finding the passages …"):
            st.session_state["golden-imported"] = import_golden(
                ui.library(), file.getvalue(), file.name, visitor()
            )
        st.rerun()
    if drafting:
        draft()


def written(
    library: Store, write: Callable[[Sequence[Row]], bytes], marks: Sequence[GoldenMark]
) -> bytes:
    """The file that is downloaded; made when somebody wants it, by nobody's run of the page."""
    return write(golden_rows(library, marks))


def show_import() -> None:
    """What became of the file that was imported last."""
    imported: Imported | None = st.session_state.get("golden-imported")
    if imported is None:
        return
    with st.container(border=True):
        st.markdown(f"**Import.** {plain(str(imported))}")
        for sentence in (*imported.remarks, *imported.refused[:_SHOWN_REFUSED]):
            st.markdown(f":material/info: {plain(sentence)}")
        if len(imported.refused) > _SHOWN_REFUSED:
            st.caption(f"{len(imported.refused) - _SHOWN_REFUSED} more rows are not shown.")
        if st.button("Close", key="close-import", type="tertiary", icon=":material/close:"):
            del st.session_state["golden-imported"]
            st.rerun()


def draft() -> None:
    """Let the model write questions; each is kept as soon as it is written."""
    library = ui.library()
    unusable = 0
    try:
        chunks = passages_to_ask_about(
            library, library.golden.listed(), _DRAFTED_AT_ONCE, random.randrange(2**32)
        )
        names = library.names({chunk.document_id for chunk in chunks})
        bar = st.progress(0.0, text="Drafting …")
        drafts = draft_questions(chunks, names, load_settings().endpoint, visitor())
        for done, mark in enumerate(drafts, start=1):
            if mark is None:
                unusable += 1
            else:
                add_mark(library.golden, mark)
            bar.progress(done / len(chunks), text=f"Drafting … {done} of {len(chunks)}")
        bar.empty()
    except RAGError as error:
        ui.show_problem(error.notice)
        return
    if not chunks:
        st.toast("No passage is left that is long enough and has no question yet.")
    elif unusable:
        count = f"{unusable} of {len(chunks)}"
        st.toast(f"Left out: {count} drafts were no question that the passage answers.")
    st.rerun()


def show_drafts(drafts: Sequence[GoldenMark]) -> None:
    """What waits for a person."""
    if not drafts:
        return
    st.subheader(f"{ui.counted(len(drafts), 'draft')} to confirm", anchor=False)
    for mark in drafts[:_SHOWN_DRAFTS]:
        with st.container(border=True, gap="xsmall"):
            st.markdown(f"**{plain(mark.question)}**")
            st.caption(plain(f"{mark.document}, p. {mark.span.page}"))
            st.markdown(passage(text(mark)))
            with st.container(horizontal=True):
                st.button(
                    "Confirm",
                    key=f"confirm-{mark.id}",
                    icon=":material/check:",
                    on_click=accept,
                    args=(mark,),
                )
                st.button(
                    "Discard",
                    key=f"discard-{mark.id}",
                    type="tertiary",
                    on_click=forget,
                    args=([mark],),
                )
    if len(drafts) > _SHOWN_DRAFTS:
        st.caption(f"{len(drafts) - _SHOWN_DRAFTS} more drafts follow these.")


def show_confirmed(marks: Sequence[GoldenMark], present: set[str]) -> None:
    """All that counts; what is chosen can be removed."""
    questions = len({mark.question for mark in marks if mark.relevant})
    st.subheader(ui.counted(questions, "golden question"), anchor=False)
    if not marks:
        st.info(
            "There is none yet. Ask something and press the thumb of the source that answers it, "
            "or import a list."
        )
        return
    rows = {
        "Question": [mark.question for mark in marks],
        "Source": [source(mark, present) for mark in marks],
        "Answers it": [mark.relevant for mark in marks],
        "Language": [mark.language for mark in marks],
        "From": [_ORIGINS[mark.origin] for mark in marks],
        "Since": [mark.made_at for mark in marks],
    }
    choice = st.dataframe(
        rows,
        hide_index=True,
        on_select="rerun",
        selection_mode="multi-row",
        column_config={
            "Question": st.column_config.TextColumn(width=320),
            "Source": st.column_config.TextColumn(width=220),
            "Answers it": st.column_config.CheckboxColumn(width=80),
            "Language": st.column_config.TextColumn(width=80),
            "Since": st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm", width=145),
        },
        key="golden-marks",
    )
    chosen = [marks[row] for row in choice.selection.rows if row < len(marks)]
    if not chosen:
        st.caption("Choose rows to read their passages or to remove them.")
        return
    st.button(
        f"Remove {ui.counted(len(chosen), 'row')}",
        icon=":material/delete:",
        on_click=forget,
        args=(chosen,),
    )
    for mark in chosen[:_SHOWN_DRAFTS]:
        with st.container(border=True, gap="xsmall"):
            st.caption(plain(source(mark, present)))
            st.markdown(passage(text(mark)))
            if mark.answer:
                st.caption(plain(f"Answer: {mark.answer}"))


def source(mark: GoldenMark, present: set[str]) -> str:
    """Where the passage stands, or that its document is gone."""
    gone = "" if mark.span.document_id in present else " (no longer in the library)"
    return f"{mark.document}, p. {mark.span.page}{gone}"


def text(mark: GoldenMark) -> str:
    """The passage, or what was kept of it where its document is gone."""
    with ui.errors_shown():
        return text_of(mark.span, ui.library().pages(mark.span.document_id)) or mark.beginning


def accept(mark: GoldenMark) -> None:
    """Let a draft count."""
    with problems_toasted():
        confirm(ui.library().golden, mark, visitor())


def forget(marks: Sequence[GoldenMark]) -> None:
    """Remove these marks for good."""
    with problems_toasted():
        ui.library().golden.remove([mark.id for mark in marks])
        # The rows that were chosen would be other ones now.
        st.session_state.pop("golden-marks", None)
