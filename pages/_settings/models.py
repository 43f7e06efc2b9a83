"""What is known of the model that is chosen, and its way from the hub to this machine."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import streamlit as st

from pages import _ui as ui
from pages._markdown import plain
from pages._settings.trying import Part
from rag.errors import RAGError
from rag.models.known_models import KNOWN_MODELS, OWN_MODELS, known_model
from rag.models.layouts import layout_of
from rag.settings import Settings
from rag.types import Notice

_REFRESH_SECONDS = 0.5
_SIZE_SECONDS = 600


@dataclass
class Download:
    """A model on its way; `done` and `total` are bytes."""

    done: int = 0
    total: int = 0
    future: Future[Path] = field(default_factory=Future)

    def report(self, done: int, total: int) -> None:
        """How far it is."""
        self.done, self.total = done, total

    @property
    def problem(self) -> Notice | None:
        """Why it failed."""
        error = self.future.exception() if self.future.done() else None
        if error is None:
            return None
        if isinstance(error, RAGError):
            return error.notice
        return Notice(f"The download stopped unexpectedly ({type(error).__name__}).")


def known(kind: str) -> list[str]:
    """The names of the models of a kind."""
    return [one.name for one in KNOWN_MODELS if one.kind == kind]


def show(part: Part, settings: Settings) -> bool:
    """What the model of a part is; gives whether it can be tried, or has to be fetched first."""
    index, query = settings.index, settings.query
    kind, name = {
        "embedder": (index.embedder, index.model),
        "reranker": (query.reranker, query.reranker_model),
    }.get(part, ("", ""))
    model = name or OWN_MODELS.get(kind, "")
    record = known_model(model)
    if record is not None:
        about = [
            f"Languages: {record.languages}",
            f"{record.dimensions} dimensions" if record.dimensions else "",
            f"licence: {record.licence}" if record.licence else "",
            f"needs {record.needs}" if record.needs else "",
        ]
        st.caption(plain(" · ".join(filter(None, about))) + f"  \n{plain(record.note)}")
    remote_code = query.remote_code == model
    if layout_of(kind, remote_code) is None:
        return True
    if not model:
        st.caption("Choose a model, or name a folder that holds one.")
        return False
    return _on_this_machine(kind, model, remote_code)


def _on_this_machine(kind: str, model: str, remote_code: bool) -> bool:
    from rag.models.hub import hub_layout, is_here

    if is_here(model, hub_layout(kind, model, remote_code)):
        st.caption(":material/check: On this machine")
        return True
    running = _downloads().get(model)
    if running is not None and not running.future.done():
        _show_progress(model)
        return False
    if running is not None and running.problem is not None:
        ui.show_problem(running.problem)
    size, problem = _size(kind, model, remote_code)
    if problem is not None:
        ui.show_notice(problem)
        return False
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(f":material/cloud: Not on this machine: {size:,} MB to fetch from the model hub")
        if st.button("Download", key=f"download-{kind}", icon=":material/download:"):
            _start(kind, model, remote_code)
            st.rerun()
    return False


@st.cache_data(ttl=_SIZE_SECONDS, show_spinner="Asking the model hub …")
def _size(kind: str, model: str, remote_code: bool) -> tuple[int, Notice | None]:
    """Megabytes to fetch, or why they cannot be fetched; the hub is asked for unknown models."""
    record = known_model(model)
    if record is not None and record.megabytes:
        return record.megabytes, None
    from rag.models.hub import download_size, hub_layout

    try:
        return round(download_size(model, hub_layout(kind, model, remote_code)) / 1e6), None
    except RAGError as error:
        return 0, error.notice


def _start(kind: str, model: str, remote_code: bool) -> None:
    from rag.models.hub import download_model

    download = Download()
    download.future = ThreadPoolExecutor(max_workers=1).submit(
        download_model, kind, model, download.report, remote_code
    )
    _downloads()[model] = download


@st.fragment(run_every=_REFRESH_SECONDS)
def _show_progress(model: str) -> None:
    download = _downloads()[model]
    if download.future.done():
        st.rerun()
    share = min(download.done / download.total, 1.0) if download.total else 0.0
    arrived = f"{download.done / 1e6:,.0f} of {download.total / 1e6:,.0f} MB"
    st.progress(share, text=plain(f"{model}: {arrived if download.total else 'beginning'}"))


@st.cache_resource(show_spinner=False)
def _downloads() -> dict[str, Download]:
    """The latest download of each model; one for all sessions."""
    return {}
