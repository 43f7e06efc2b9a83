"""The verdict, the table of each language, the chart, and the ways to take them away."""

from __future__ import annotations

import json
from collections import Counter

import streamlit as st

from pages import _ui as ui
from pages._evaluation.chart import quality_chart
from pages._evaluation.choosing import language
from pages._markdown import plain
from rag.evaluation.comparing import seconds_taken
from rag.evaluation.resampling import Figure
from rag.evaluation.results import ALL, Evaluation, Row, Seconds
from rag.evaluation.verdict import verdict
from rag.evaluation.views import evaluation_csv, evaluation_view
from rag.types import Notice

# What the table shows, and the heads of its columns.
SHOWN = {
    "hit@1": "hit@1",
    "hit@5": "hit@5",
    "recall@10": "recall@10",
    "mrr@10": "MRR@10",
    "ndcg@10": "nDCG@10",
    "map": "MAP",
}
_HELP = {
    "hit@1": "Questions whose first passage is right",
    "hit@5": "Questions with a right passage among the first 5",
    "recall@10": "Right passages that are among the first 10",
    "mrr@10": "1 / the place of the first right passage, on average",
    "ndcg@10": "How well the first 10 are ordered, 100 % being perfect",
    "map": "Precision at every right passage, on average",
}


def show(evaluation: Evaluation) -> None:
    """Everything about the pipelines as a whole."""
    said = verdict(evaluation)
    if said:
        st.info(f"**{plain(said)}**", icon=":material/balance:")
    else:
        st.caption(
            "For a verdict choose a pipeline with a reranker and the same without it, such as "
            "fused+rerank and fused."
        )
    if evaluation.cancelled:
        ui.show_notice(
            Notice(
                f"Stopped after {ui.counted(len(evaluation.questions), 'question')}.",
                "Start again and it goes on from there.",
            )
        )
    _tables(evaluation)
    _problems(evaluation)
    if any(row.seconds for row in evaluation.rows):
        st.subheader("Quality against time", anchor=False)
        st.vega_lite_chart(None, quality_chart(evaluation), width="stretch")
    _downloads(evaluation)


def percent(figure: Figure) -> str:
    """`74 %` and the ends of the 95 % interval, as Markdown of two lines."""
    low, high = (f"{bound * 100:.0f}" for bound in (figure.low, figure.high))
    return f"{figure.mean * 100:.0f}\u00a0%  \n:gray[:small[{low}\u2060\u2013\u2060{high}]]"


def duration(seconds: Seconds | None) -> str:
    """The median and the 95th percentile as Markdown, or a dash where nobody took the time."""
    if seconds is None:
        return "–"
    return f"{seconds.p50 * 1000:,.0f}\u00a0ms  \n:gray[:small[{seconds.p95 * 1000:,.0f}\u00a0ms]]"


def table(evaluation: Evaluation, group: str) -> dict[str, list[str]]:
    """The columns of the pipelines that ran; tokens and cost where somebody counted them."""
    rows = [row for row in evaluation.rows if group in row.figures]
    rankings = [row.of(group, evaluation.questions) for row in rows]
    seconds = [seconds_taken([one.seconds for one in own]).get("total") for own in rankings]
    columns = {"Pipeline": [plain(row.spec.name) for row in rows]}
    for measure, head in SHOWN.items():
        columns[head] = [percent(row.figures[group][measure]) for row in rows]
    columns["p50, p95"] = [duration(one) for one in seconds]
    if group == ALL and any(row.tokens is not None for row in rows):
        columns["Tokens"] = [known(row.tokens, ",") for row in rows]
    if group == ALL and any(row.cost is not None for row in rows):
        columns["Cost"] = [known(row.cost, ".4f") for row in rows]
    return columns


def known(value: float | None, shape: str) -> str:
    """A number in its shape, or a dash where nobody counted."""
    return "–" if value is None else format(value, shape)


def _tables(evaluation: Evaluation) -> None:
    counts = Counter(question.language for question in evaluation.questions)
    groups = [ALL, *(sorted(counts) if len(counts) > 1 else [])]
    counts[ALL] = len(evaluation.questions)
    for group in groups:
        st.markdown(f"**{plain(language(group))}** ({counts[group]:,})")
        st.table(table(evaluation, group), border="horizontal")
    st.caption(
        "Below each figure is its 95 % interval, from resampled questions. Times are the median "
        "and the 95th percentile of a question, retrieval and reranking, on this machine.",
        help="  \n".join(f"**{SHOWN[measure]}**: {words}" for measure, words in _HELP.items()),
    )


def _problems(evaluation: Evaluation) -> None:
    for row in evaluation.rows:
        if row.problem is not None:
            ui.show_notice(
                Notice(f"{row.spec.name} did not run. {row.problem.message}", row.problem.hint)
            )
        if row.failures:
            ui.show_notice(_failures(row))
    for notice in evaluation.notices:
        ui.show_notice(notice)


def _failures(row: Row) -> Notice:
    failed = ui.counted(row.failures, "question")
    return Notice(f"{row.spec.name}: the reranker failed {failed}, left in the order of recall.")


def _downloads(evaluation: Evaluation) -> None:
    name = f"ranklens-evaluation-{evaluation.made_at:%Y%m%d-%H%M}"
    with st.container(horizontal=True, vertical_alignment="center"):
        st.download_button(
            "CSV",
            lambda: evaluation_csv(evaluation).encode("utf-8-sig"),
            f"{name}.csv",
            "text/csv",
            icon=":material/download:",
            on_click="ignore",
            help="Every measure with its interval, by pipeline and language",
        )
        st.download_button(
            "JSON",
            lambda: json.dumps(evaluation_view(evaluation), ensure_ascii=False, indent=2),
            f"{name}.json",
            "application/json",
            icon=":material/download:",
            on_click="ignore",
            help="All figures, as `rag eval --json` writes them",
        )
    st.caption("The chart as PNG: point at it, then at :material/download: above its right corner.")
