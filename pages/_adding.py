"""Files on their way into the library: the start, how far they are, what became of them."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from pages import _ui as ui
from pages._markdown import plain
from rag.ingest import File
from rag.jobs import AddJob
from rag.serving import sample_files
from rag.types import AddResult

_RESULT_ICONS = {
    "added": ":material/check_circle:",
    "already there": ":material/content_copy:",
    "failed": ":material/error:",
    "cancelled": ":material/do_not_disturb_on:",
}


def start(files: Sequence[File]) -> None:
    """Start adding files in the background of this session."""
    with ui.errors_shown():
        st.session_state["job"] = AddJob(ui.pipeline().add, files)


def uploaded(files: Sequence[UploadedFile]) -> list[File]:
    """What the person dropped, as files to add."""
    return [File.holding(file.name, file.getvalue()) for file in files]


def offer_samples() -> None:
    """The one button of an empty library."""
    if st.button("Add the sample documents", icon=":material/auto_stories:", type="primary"):
        start([File.at(path) for path in sample_files()])
        st.rerun()


def running() -> bool:
    """Whether files of this session are being added."""
    job: AddJob | None = st.session_state.get("job")
    return job is not None and job.running


def show() -> None:
    """Progress of the files being added, and a line for every one that is done."""
    job: AddJob | None = st.session_state.get("job")
    if job is None:
        return
    if job.running:
        _show_running()
    else:
        _show_results(job)


@st.fragment(run_every=ui.REFRESH_SECONDS)
def _show_running() -> None:
    job: AddJob = st.session_state["job"]
    if not job.running:
        st.rerun()
    done, progress = len(job.results), job.progress
    share, text = done / job.total, f"{done} of {ui.counted(job.total, 'file')} done"
    if progress is not None:
        share += (progress.done / max(progress.total, 1)) / job.total
        text += f" · {plain(str(progress))}"
    ui.show_progress(job, share, text, "Finish this file and skip the rest", "stop-adding")
    for result in job.results:
        _show_result(result)


def _show_results(job: AddJob) -> None:
    with st.container(border=True):
        for result in job.results:
            _show_result(result)
        if job.problem is not None:
            ui.show_problem(job.problem)
        if st.button("Close", key="close-job", type="tertiary", icon=":material/close:"):
            del st.session_state["job"]
            st.rerun()


def _show_result(result: AddResult) -> None:
    st.markdown(f"{_RESULT_ICONS[result.outcome]} {plain(str(result))}")
