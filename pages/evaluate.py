"""Evaluate: what reranking is worth on golden questions."""

from __future__ import annotations

import streamlit as st

from pages import _index as index
from pages import _ui as ui
from pages._evaluation import answers, choosing, figures, golden, questions, running
from pages._markdown import plain
from rag.evaluation.kept_evaluations import KeptEvaluation, KeptEvaluations, Label
from rag.settings import load_settings
from rag.types import Notice

SHOWN = "evaluation"
GOLDEN = "Golden questions"
PARTS = ("Evaluations", GOLDEN)
_NOTHING = Notice(
    "It was stopped before every pipeline had ranked a question.",
    "Start again and it goes on from there.",
)


def page() -> None:
    """The whole page, top to bottom."""
    ui.ensure_frame()
    st.set_page_config(layout="wide")
    with ui.errors_shown():
        ui.sidebar(ui.library().documents())
        st.title("Evaluate")
        index.show_notice()
        part = st.segmented_control(
            "Part", PARTS, default=PARTS[0], key="evaluate-part", label_visibility="collapsed"
        )
        if part == GOLDEN:
            golden.show()
            return
        job = running.job()
        busy = job is not None and job.running
        results = KeptEvaluations(ui.library().measurements)
        labels = {label.name: label for label in results.listed()}
        begin(busy, first=not labels)
        if busy:
            running.show()
        elif job is not None and job.problem is not None:
            ui.show_problem(job.problem)
        elif job is not None and job.result and not job.result.evaluation.questions:
            ui.show_notice(_NOTHING)
        kept = shown(results, labels)
        if kept is None:
            if not busy:
                st.info(
                    "A golden set holds questions whose right passages are known. Pipelines are "
                    "held against it, and a sentence says whether reranking pays on these "
                    "documents."
                )
            return
        show(kept)


def begin(busy: bool, first: bool) -> None:
    """What to evaluate, and the button that starts it; open where it is the first."""
    settings = load_settings()
    with st.expander("New evaluation", icon=":material/science:", expanded=first):
        choice = choosing.choose(settings)
        pressed = st.button(
            "Evaluate",
            type="primary",
            icon=":material/play_arrow:",
            disabled=choice is None or busy,
        )
        if pressed and choice is not None:
            running.start(settings, choice)
            st.rerun()


def shown(results: KeptEvaluations, labels: dict[str, Label]) -> KeptEvaluation | None:
    """The evaluation that was chosen among the kept ones, at first the newest."""
    job = running.job()
    if job is not None and not job.running:
        if running.just_finished() and labels:
            st.session_state[SHOWN] = next(iter(labels))
        if job.problem is not None and job.result is not None:
            return job.result
    if not labels:
        return None
    if st.session_state.get(SHOWN) not in labels:
        st.session_state[SHOWN] = next(iter(labels))
    name = st.selectbox(
        "Result",
        list(labels),
        format_func=lambda one: f"{labels[one].golden} · {labels[one].made_at:%d %b %Y %H:%M} UTC",
        key=SHOWN,
    )
    return results.opened(name)


def show(kept: KeptEvaluation) -> None:
    """One evaluation."""
    evaluation = kept.evaluation
    spoken = choosing.counts([question.language for question in evaluation.questions])
    st.caption(
        plain(
            f"{ui.counted(len(evaluation.questions), 'question')} ({spoken}) · "
            f"{evaluation.models.get('embedder', '')} · seed {evaluation.seed}"
        )
    )
    figures.show(evaluation)
    if evaluation.answers is not None:
        answers.show(evaluation.answers)
    questions.show(kept)


page()
