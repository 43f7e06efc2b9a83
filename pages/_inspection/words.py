"""Which words of a passage earned its score."""

from __future__ import annotations

import streamlit as st

from pages import _ui as ui
from pages._inspection import chosen
from pages._markdown import plain, shaded
from rag.types import Candidate, Record
from rag.views import evidence_line
from rag.words import WordView

# The colour of the theme's accent; how dark says how much a word earned.
_SHADE = "rgba(42,157,130,{:.2f})"
_DARKEST = 0.65
# Below it a shade is noise: words without meaning resemble one another.
_LIGHTEST = 0.15


def show(record: Record) -> None:
    """The chosen passage with its words shaded, and every question word beside what it found."""
    candidate = chosen.candidate(record)
    if candidate is None:
        st.info("No passage was found for this question.")
        return
    pick(record, candidate)
    view = word_view(record, candidate)
    if record.trace.models["embedder"] != ui.pipeline().embedder.name:
        st.caption("Taken apart by the model in use now, which is another than that of the trace.")
    evidence = plain(evidence_line(record.trace, candidate))
    st.markdown(f"**{plain(candidate.location)}** · {evidence}")
    if view.basis == "words":
        st.caption(
            "The darker a word, the more of the score it earned. Words in bold are the "
            "question's own, which full text finds."
        )
    else:
        st.caption(
            "This reranker gives a text one number, so whole sentences are shaded by the number "
            "each would get alone. Words in bold are the question's own."
        )
    with st.container(border=True):
        shades = [
            (word.span, _SHADE.format(word.shade * _DARKEST))
            for word in view.shaded
            if word.shade > _LIGHTEST
        ]
        st.markdown(shaded(candidate.chunk.text, shades, view.same_words))
    if view.basis == "words":
        question_words(candidate, view)
    sentences(candidate, view)


def pick(record: Record, candidate: Candidate) -> None:
    """Another passage to look at."""
    found = {one.chunk.id: one for one in record.trace.candidates}
    key = f"passage-{record.id}"
    st.session_state[key] = candidate.chunk.id
    st.selectbox(
        "Passage",
        list(found),
        format_func=lambda one: f"{found[one].rank}. {found[one].location}",
        key=key,
        on_change=lambda: chosen.choose(st.session_state[key]),
    )


def word_view(record: Record, candidate: Candidate) -> WordView:
    """The score taken apart, once for a passage and session."""
    known: dict[tuple[str, str], WordView] = st.session_state.setdefault("word-views", {})
    name = (record.trace.searched, candidate.chunk.id)
    if name not in known:
        with ui.errors_shown():
            known[name] = ui.pipeline().words(
                record.trace.searched, candidate.chunk, candidate.document
            )
    return known[name]


def question_words(candidate: Candidate, view: WordView) -> None:
    """Each question word, the passage words it matched best, and how strongly."""
    text = candidate.chunk.text
    asked = [word for word in view.question if not word.punctuation]
    st.markdown(f"**Question words** · MaxSim {view.maxsim:.3f}")
    st.caption(
        "Every question word looks for its best match in the passage; the mean of these "
        "strengths, in which rare words weigh more, is MaxSim."
    )
    st.dataframe(
        {
            "Question word": [word.text for word in asked],
            "Weight": [round(100 * word.weight) for word in asked],
            "Strength": [word.strength for word in asked],
            "Best matches": [
                "  ·  ".join(f"{text[slice(*one.span)]} ({one.cosine:.2f})" for one in word.matches)
                for word in asked
            ],
        },
        hide_index=True,
        column_config={
            "Question word": st.column_config.TextColumn(width=110),
            "Weight": st.column_config.NumberColumn(format="%d %%", width=70),
            "Strength": st.column_config.ProgressColumn(
                format="%.2f", min_value=0, max_value=1, width=110
            ),
            "Best matches": st.column_config.TextColumn(width=410),
        },
    )


def sentences(candidate: Candidate, view: WordView) -> None:
    """The passage's sentences, best first."""
    text = candidate.chunk.text
    st.markdown("**Sentences**")
    st.caption("The passage's sentences, the one that answers best on top.")
    st.dataframe(
        {
            "Score": [sentence.score for sentence in view.sentences],
            "Sentence": [text[slice(*sentence.span)] for sentence in view.sentences],
        },
        hide_index=True,
        column_config={
            "Score": st.column_config.ProgressColumn(
                format="%.3f", min_value=0, max_value=1, width=110
            ),
            "Sentence": st.column_config.TextColumn(width=590),
        },
    )
