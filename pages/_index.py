"""The indexes of the library: build another one, switch to it and back, free what is old."""

from __future__ import annotations

import streamlit as st

from pages import _ui as ui
from pages._markdown import plain
from rag import opening
from rag.jobs import Build, IndexJob
from rag.settings import IndexSettings, Settings, load_settings
from rag.types import IndexRecord


def show_notice() -> None:
    """What is to be known of the index that answers, on every page; and how building goes."""
    settings = load_settings()
    damage = ui.library().damage
    if damage is not None:
        ui.show_notice(damage)
    job = _jobs().get(str(settings.home))
    if job is not None and job.running:
        _show_running()
        return
    notice = opening.index_notice(settings, ui.library())
    if notice is not None:
        ui.show_notice(notice)


def show_indexes(chosen: Settings) -> None:
    """The way to the index of these settings, which need not be saved, and all there are."""
    settings = load_settings()
    in_use = ui.index_in_use(settings)
    job = _jobs().get(str(settings.home))
    if job is not None and job.running:
        _show_running()
    else:
        if job is not None and job.problem is not None:
            ui.show_problem(job.problem)
        _offer(chosen, in_use)
    indexes = ui.library().indexes.listed()
    with st.expander(ui.counted(len(indexes), "index", "indexes"), icon=":material/database:"):
        for record in indexes:
            _show_index(settings, record, in_use, busy=job is not None and job.running)


def _offer(chosen: Settings, in_use: IndexSettings) -> None:
    """What choosing this index means, and the button that does it."""
    wanted = chosen.index
    documents = [one for one in ui.library().documents() if one.status == "ready"]
    left = [one.id for one in documents]
    if wanted.fingerprint in {one.fingerprint for one in ui.library().indexes.listed()}:
        held = ui.library().indexes.documents(wanted.fingerprint)
        left = [one for one in left if one not in held]
    if wanted == in_use:
        if not left:
            return
        st.markdown(f"{ui.counted(len(left), 'document')} not in the index that answers.")
        label = "Bring it up to date"
    elif left:
        st.markdown(
            f"This is another index. {ui.counted(len(left), 'document')} of {len(documents)} must "
            "be encoded for it, from the pages that are stored. Until then the present index "
            "answers, and it stays: you can switch back."
        )
        label = "Build and switch"
    else:
        st.markdown("This is another index. It holds all documents.")
        label = "Switch to it"
    if st.button(label, icon=":material/database:", type="primary"):
        _start(chosen, wanted)
        st.rerun()


def _show_index(
    settings: Settings, record: IndexRecord, in_use: IndexSettings, *, busy: bool
) -> None:
    """One index: what it is, what it takes, and what can be done with it."""
    index = opening.index_settings(record)
    here = record.fingerprint == in_use.fingerprint
    size = ui.library().size_bytes(record.fingerprint) / 1e6
    words = plain(opening.described(index)) if index else "made with settings of another version"
    state = "answers now" if here else "built" if record.built else "half built"
    left, right = st.columns([3, 2], vertical_alignment="center")
    left.markdown(f"**{words}**  \n{ui.counted(record.chunks, 'chunk')} · {size:,.1f} MB · {state}")
    if here:
        return
    with right.container(horizontal=True, horizontal_alignment="right"):
        if index is not None and st.button(
            "Switch to it" if record.built else "Go on building",
            key=f"use-{record.fingerprint}",
            disabled=busy,
        ):
            _start(settings, index)
            st.rerun()
        if st.button(
            f"Free {size:,.1f} MB",
            key=f"free-{record.fingerprint}",
            icon=":material/delete:",
            type="tertiary",
            disabled=busy,
            help="The documents stay; this index can be built again.",
        ):
            ui.library().indexes.remove(record.fingerprint)
            st.rerun()


def _start(settings: Settings, index: IndexSettings) -> None:
    """Bring an index up to date in the background, and then let it answer."""
    loading = ui.loading(settings, index)

    def build() -> Build:
        return loading.pipeline.result().build_index

    def switch() -> None:
        opening.switch_index(load_settings(settings.home), index, settings.profile)

    _jobs()[str(settings.home)] = IndexJob(build, switch)


@st.fragment(run_every=ui.REFRESH_SECONDS)
def _show_running() -> None:
    job = _jobs()[str(load_settings().home)]
    if not job.running:
        st.rerun()
    progress = job.progress
    text = "Building the index: " + (plain(str(progress)) if progress else "loading the models …")
    stopping = "What is done stays: the next build goes on from there"
    ui.show_progress(job, progress.share if progress else 0.0, text, stopping, "stop-index")


@st.cache_resource(show_spinner=False)
def _jobs() -> dict[str, IndexJob]:
    """The latest work on an index, by library; one for all sessions."""
    return {}
