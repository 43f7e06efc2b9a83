"""What a score means: held against pairs of question and passage that have nothing to do."""

from __future__ import annotations

import streamlit as st

from pages import _charts as charts
from pages._inspection import chosen
from pages._markdown import plain
from rag.baseline import BANDS, Baseline, Stage, band
from rag.types import Record

_STAGES: dict[Stage, tuple[str, str, str]] = {
    "dense": ("Dense recall", "cosine", "{:.3f}"),
    "lexical": ("Full text", "BM25", "{:.1f}"),
    "rerank": ("Reranker", "probability", "{:.0%}"),
}


def show(record: Record, baseline: Baseline | None) -> None:
    """Of each score of the chosen passage the share of unrelated pairs below it, and its word."""
    candidate = chosen.candidate(record)
    if baseline is None or candidate is None:
        st.info(
            "The library is too small to say what a score means: it needs some more passages to "
            "draw unrelated pairs from."
        )
        return
    st.caption(
        f"Grey: the scores of {baseline.pairs:,} pairs of a sentence and a passage from this "
        "library that have nothing to do with each other. Line: the chosen passage. The further "
        "right of the grey, the less it is chance."
    )
    st.markdown(f"**{plain(candidate.location)}**")
    columns = st.columns(3, gap="large")
    for (stage, (title, unit, form)), column in zip(_STAGES.items(), columns, strict=True):
        score = getattr(candidate, stage)
        with column:
            st.markdown(f"**{title}** · {unit}")
            if score is None:
                st.caption("This stage did not see the passage.")
                continue
            share = baseline.share_below(stage, score.score)
            if share is None:
                st.caption("Not measured: this reranker is not calibrated, or there is none.")
                continue
            st.markdown(f"### {form.format(score.score)} :gray-badge[{band(share)}]")
            st.caption(plain(baseline.in_words(stage, score.score)))
            st.vega_lite_chart(
                None,
                charts.score_chart(getattr(baseline, stage), score.score, unit),
                width="stretch",
                key=f"meaning-{stage}",
            )
    st.caption(
        "The words are the same everywhere: "
        + " · ".join(f"**{word}** above {share:.1%}" for share, word in BANDS if share)
        + f" of unrelated pairs, else **{BANDS[-1][1]}**."
    )
