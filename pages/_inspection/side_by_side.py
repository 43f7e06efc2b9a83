"""Every candidate, stage by stage: the rank flow, and the table of all scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from pages import _charts as charts
from pages._inspection import chosen
from rag.baseline import Baseline, Stage, band
from rag.rank_flow import COLUMNS, MOST, Path, rank_flow
from rag.types import Candidate, Record, Score

_TEXT_CHARACTERS = 200


def show(record: Record, baseline: Baseline | None) -> None:
    """The chart and the table; a passage that is chosen in one of them opens below."""
    trace = record.trace
    everything = len(trace.candidates)
    st.caption(
        "Each line is a passage on its way from stage to stage, the best on top. Green ones were "
        "rescued by reranking, orange ones were kept out by it. Click a circle to open a passage."
    )
    most = MOST
    if everything > MOST and st.toggle(f"All {everything} candidates", key="all-candidates"):
        most = everything
    flow = rank_flow(trace, record.answer, most)
    spec = charts.rank_flow_chart(flow, chosen.chunk_id())
    st.vega_lite_chart(
        None,
        spec,
        key=f"flow-{record.id}",
        on_select=lambda: chosen.choose_in_chart(f"flow-{record.id}"),
        selection_mode="passage",
        width="stretch",
    )
    st.caption("The same in figures. Click a column's name to sort, a row to open its passage.")
    shown = [path.candidate for path in flow.paths]
    st.dataframe(
        rows(flow.paths, baseline),
        hide_index=True,
        placeholder="–",
        key=f"table-{record.id}",
        on_select=lambda: chosen.choose_in_table(f"table-{record.id}", shown),
        selection_mode="single-row",
        column_config=_columns(shown),
        height=420,
    )


def rows(paths: Sequence[Path], baseline: Baseline | None) -> dict[str, list[Any]]:
    """The table's columns."""
    candidates = [path.candidate for path in paths]
    ranks = {name: [path.ranks[place] for path in paths] for place, name in enumerate(COLUMNS)}
    words = [stands_out(baseline, candidate) for candidate in candidates]
    return {
        "#": [candidate.rank for candidate in candidates],
        "Passage": [candidate.location for candidate in candidates],
        "Rerank": [None if one.rerank is None else 100 * one.rerank.score for one in candidates],
        "Rerank #": ranks["Reranked"],
        "Moved": [one.moved if one.rerank else None for one in candidates],
        **({"Stands out": words} if any(words) else {}),
        "Dense": [_score(candidate.dense) for candidate in candidates],
        "Dense #": ranks["Dense recall"],
        "BM25": [_score(candidate.lexical) for candidate in candidates],
        "BM25 #": ranks["Full text"],
        "Fused #": ranks["Fused"],
        "Prompt": ranks["In the prompt"],
        "Cited": [number is not None for number in ranks["Cited"]],
        "Text": [candidate.chunk.text[:_TEXT_CHARACTERS] for candidate in candidates],
    }


def stands_out(baseline: Baseline | None, candidate: Candidate) -> str | None:
    """The plain word for the reranker's score, or for the cosine where that was not measured."""
    stages: tuple[tuple[Stage, Score | None], ...] = (
        ("rerank", candidate.rerank),
        ("dense", candidate.dense),
    )
    for stage, score in stages:
        share = baseline.share_below(stage, score.score) if baseline and score else None
        if share is not None:
            return band(share)
    return None


def _columns(candidates: Sequence[Candidate]) -> Mapping[str, Any]:
    highest = max((one.lexical.score for one in candidates if one.lexical), default=1.0)
    number, bar = st.column_config.NumberColumn, st.column_config.ProgressColumn
    return {
        "#": number(width=40, pinned=True, help="Final place"),
        "Passage": st.column_config.TextColumn(width=240, pinned=True),
        "Rerank": bar(
            width=105,
            format="%.1f %%",
            min_value=0,
            max_value=100,
            help="Probability of relevance",
        ),
        "Rerank #": number(width=75),
        "Moved": number(width=70, format="%d", help="Places gained by reranking"),
        "Stands out": st.column_config.TextColumn(
            width=95, help="How far the score is above those of unrelated pairs in this library"
        ),
        "Dense": bar(
            width=105, format="%.3f", min_value=0, max_value=1, help="Cosine with the question"
        ),
        "Dense #": number(width=70),
        "BM25": bar(
            width=105, format="%.1f", min_value=0, max_value=highest, help="Full-text score"
        ),
        "BM25 #": number(width=70),
        "Fused #": number(width=70, help="Place in reciprocal rank fusion; an order, not a score"),
        "Prompt": number(width=65, help="Its number in the prompt"),
        "Cited": st.column_config.CheckboxColumn(width=60),
        "Text": st.column_config.TextColumn(width=400),
    }


def _score(score: Score | None) -> float | None:
    return None if score is None else score.score
