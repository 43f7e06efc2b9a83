"""Which sentence of a passage supports a sentence of the answer, and how well. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from rag.late_interaction import Span, span_maxsims
from rag.types import Vector


def best_sentence(
    claim: Vector, passage: Vector, token_spans: Sequence[Span], sentences: Sequence[Span]
) -> tuple[Span, float]:
    """The sentence of the passage that is nearest to the claim, and its MaxSim, 0..1.

    `claim` and `passage` are token vectors of one space. Without sentences the span is empty.
    """
    if not sentences:
        return (0, 0), 0.0
    scores = span_maxsims(claim, passage, token_spans, sentences)
    best = int(scores.argmax())
    return sentences[best], float(min(max(scores[best], 0.0), 1.0))
