"""Evaluations in the background: one at a time for a library, for all sessions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import streamlit as st

from pages import _ui as ui
from pages._evaluation.choosing import Choice
from pages._markdown import plain
from rag import opening
from rag.evaluation.kept_evaluations import KeptEvaluation, KeptEvaluations
from rag.evaluation.progress import Cancelled, Report
from rag.evaluation.run import evaluate
from rag.jobs import EvaluationJob
from rag.pipeline import Pipeline
from rag.settings import IndexSettings, Settings, load_settings

_BEGUN_HERE = "evaluation-begun"


def job() -> EvaluationJob[KeptEvaluation] | None:
    """The latest evaluation of the library."""
    return _jobs().get(str(load_settings().home))


def start(settings: Settings, choice: Choice) -> None:
    """Evaluate in the background."""
    opened, store = opener(settings), ui.library()

    def run(report: Report, cancelled: Cancelled) -> KeptEvaluation:
        found = evaluate(
            choice.golden,
            choice.specs,
            settings,
            choice.limit,
            choice.seed,
            report,
            cancelled,
            opened=opened,
            answers=choice.answers,
            judge=choice.judge,
        )
        return KeptEvaluation(found, choice.source, choice.place)

    def keep(found: KeptEvaluation) -> None:
        if found.evaluation.questions:
            KeptEvaluations(store.measurements).keep(found)

    _jobs()[str(settings.home)] = EvaluationJob(choice.golden.name, run, keep)
    st.session_state[_BEGUN_HERE] = True


def just_finished() -> bool:
    """Whether what this session began has ended since it was last asked."""
    return bool(st.session_state.pop(_BEGUN_HERE, False))


def opener(settings: Settings) -> Callable[[Settings, IndexSettings], Pipeline]:
    """Opens the library of a golden set with the models that are loaded already, if they fit."""
    index = ui.index_in_use(settings)
    loading = ui.loading(settings, index)

    def opened(wanted: Settings, wanted_index: IndexSettings) -> Pipeline:
        # Whether names are read is nothing to the models.
        if wanted_index.model_copy(update={"names": index.names}) != index:
            return opening.open_pipeline(wanted, wanted_index)
        here = loading.pipeline.result()
        elsewhere = here.settings.model_copy(update={"home": wanted.home, "index": wanted_index})
        store = opening.open_library(wanted, wanted_index)
        return replace(here, settings=elsewhere, store=store).with_settings(wanted)

    return opened


@st.fragment(run_every=ui.REFRESH_SECONDS)
def show() -> None:
    """How far it is, and the way to stop it."""
    running = job()
    if running is None or not running.running:
        st.rerun()
    progress = running.progress
    share = progress.done / max(progress.total, 1) if progress else 0.0
    said = plain(str(progress)) if progress else "loading the models …"
    stopping = "What is done stays: the next start goes on from there"
    text = f"{plain(running.name)} · {said}"
    ui.show_progress(running, share, text, stopping, "stop-evaluation")


@st.cache_resource(show_spinner=False)
def _jobs() -> dict[str, EvaluationJob[KeptEvaluation]]:
    """The latest evaluation, by library; one for all sessions."""
    return {}
