"""Two pipelines question by question, each question to be opened on Inspect."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import streamlit as st

from pages import _ui as ui
from pages._evaluation import running
from pages._evaluation.choosing import language
from pages._evaluation.figures import SHOWN
from pages._evaluation.remembered import remembered
from pages._evaluation.sources import SOURCES
from pages._markdown import plain
from rag.evaluation.asking_again import trace_of
from rag.evaluation.comparing import COMPARED
from rag.evaluation.kept_evaluations import DEPTH, KeptEvaluation
from rag.evaluation.outcomes import Outcome, outcomes
from rag.evaluation.pipelines import PipelineSpec
from rag.evaluation.results import Evaluation
from rag.history import recorded
from rag.settings import load_settings

CHOSEN = "evaluation-question"
_KINDS = {"win": "Wins", "loss": "Losses", "tie": "Ties"}
_MARKS = {"win": "▲ win", "loss": "▼ loss", "tie": "= tie"}


def show(kept: KeptEvaluation) -> None:
    """The pair, how it stands, the questions, and the one that is chosen."""
    evaluation = kept.evaluation
    names = [row.spec.name for row in evaluation.rows if row.figures]
    if len(names) < 2:
        return
    st.subheader("Question by question", anchor=False)
    first, second, measure = _pair(evaluation, names)
    if first == second:
        st.info("Choose two different pipelines.")
        return
    found = outcomes(evaluation, first, second, measure)
    numbers = Counter(outcome.verdict for outcome in found)
    st.markdown(
        f"**{plain(second)}** against **{plain(first)}**: {numbers['win']} better, "
        f"{numbers['loss']} worse, {numbers['tie']} the same. "
        + plain(_difference(evaluation, first, second, measure))
    )
    with remembered("evaluation-outcome", "win" if numbers["win"] else None) as key:
        wanted = st.segmented_control(
            "Which questions",
            list(_KINDS),
            format_func=lambda kind: f"{_KINDS[kind]} ({numbers[kind]})",
            key=key,
            label_visibility="collapsed",
        )
    shown = [outcome for outcome in found if wanted in {None, outcome.verdict}]
    if wanted == "loss":
        shown.reverse()
    key = f"outcomes {evaluation.made_at} {first} {second} {measure} {wanted}"
    st.dataframe(
        _table(shown, first, second),
        hide_index=True,
        placeholder=f"> {DEPTH}",
        key=key,
        on_select=lambda: _choose(key, shown),
        selection_mode="single-row",
        height=min(38 + 35 * max(len(shown), 1), 320),
        column_config=_columns(first, second, SHOWN[measure]),
    )
    wanted_id = st.session_state.get(CHOSEN)
    chosen = next((outcome for outcome in shown if outcome.question.id == wanted_id), None)
    if chosen is None:
        st.caption(
            "Under the names of the pipelines is the place of the first right passage. Click a row "
            "to open its question."
        )
        return
    _question(kept, chosen, (first, second))


def _pair(evaluation: Evaluation, names: Sequence[str]) -> tuple[str, str, str]:
    """Two pipelines and a measure; at first those of the verdict, where there is one."""
    before, after = _telling_pair(evaluation, names)
    left, middle, right = st.columns(3)
    stamp = evaluation.made_at
    with left, remembered(f"evaluation-first {stamp}", before) as key:
        first = st.selectbox("Compare", names, key=key)
    with middle, remembered(f"evaluation-second {stamp}", after) as key:
        second = st.selectbox("with", names, key=key)
    with right, remembered("evaluation-measure", "ndcg@10") as key:
        measure = st.selectbox("by", COMPARED, format_func=lambda one: SHOWN[one], key=key)
    return first, second, measure


def _telling_pair(evaluation: Evaluation, names: Sequence[str]) -> tuple[str, str]:
    for row in evaluation.rows:
        if row.spec.reranker != "none" and row.spec.name in names and row.spec.recall in names:
            return row.spec.recall, row.spec.name
    return names[0], names[-1]


def _difference(evaluation: Evaluation, first: str, second: str, measure: str) -> str:
    """The mean difference with its interval and p-value."""
    found, sign = evaluation.comparison(first, second, measure), 1
    if found is None:
        found, sign = evaluation.comparison(second, first, measure), -1
    if found is None:
        return ""
    mean = found.difference.mean
    low, high = sorted((sign * found.difference.low, sign * found.difference.high))
    return (
        f"{SHOWN[measure]} {sign * mean * 100:+.1f} points "
        f"({low * 100:+.1f} to {high * 100:+.1f}), p {found.p_value:.2g}."
    )


def _table(shown: Sequence[Outcome], first: str, second: str) -> dict[str, list[Any]]:
    return {
        "Outcome": [_MARKS[outcome.verdict] for outcome in shown],
        "Question": [outcome.question.text for outcome in shown],
        "Gain": [100 * outcome.gain for outcome in shown],
        first: [outcome.ranks[0] for outcome in shown],
        second: [outcome.ranks[1] for outcome in shown],
    }


def _columns(first: str, second: str, measure: str) -> dict[str, Any]:
    number = st.column_config.NumberColumn
    place = "Place of the first right passage"
    return {
        "Outcome": st.column_config.TextColumn(width=65),
        "Question": st.column_config.TextColumn(width=320),
        "Gain": number(width=60, format="%+.0f", help=f"Points of {measure}"),
        first: number(help=f"{place} by {first}"),
        second: number(help=f"{place} by {second}"),
    }


def _choose(key: str, shown: Sequence[Outcome]) -> None:
    picked = st.session_state[key]["selection"]["rows"]
    st.session_state[CHOSEN] = shown[picked[0]].question.id if picked else None


def _question(kept: KeptEvaluation, chosen: Outcome, pair: tuple[str, str]) -> None:
    """What is known of one question, and the way to Inspect."""
    question, evaluation = chosen.question, kept.evaluation
    with st.container(border=True):
        st.markdown(f"**{plain(question.text)}**")
        right = ", ".join(list(question.gold)[:5])
        st.caption(plain(f"{language(question.language)} · {question.id} · right: {right}"))
        for name, rank in zip(pair, chosen.ranks, strict=True):
            place = f"first right passage at {rank}" if rank else f"none among the first {DEPTH}"
            st.markdown(f"{plain(name)}: {place}")
        specs = [row.spec for name in pair if (row := evaluation.row(name))]
        reranked = [spec for spec in specs if spec.reranker != "none"]
        if st.button("Open on Inspect", icon=":material/frame_inspect:", type="primary"):
            _inspect(kept, chosen, (reranked or specs)[-1])


def _inspect(kept: KeptEvaluation, chosen: Outcome, spec: PipelineSpec) -> None:
    settings = load_settings()
    with ui.errors_shown(), st.spinner("Asking it again …"):
        golden = SOURCES[kept.source].read(kept.place)
        trace, chunk = trace_of(chosen.question, spec, golden, settings, running.opener(settings))
    ui.inspect(recorded(trace), chunk)
    st.switch_page("pages/inspection.py")
