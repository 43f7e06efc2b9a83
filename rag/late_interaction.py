"""Late interaction: every question token looks for its best passage token. Pure arithmetic.

MaxSim is the mean, over the question's tokens, of the best cosine among the passage's tokens
(Khattab and Zaharia 2020, ColBERT, with the mean in place of the sum so that questions of any
length share one scale). Where tokens have weights, the mean is weighted.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rag.types import Vector

Span = tuple[int, int]


def maxsims(question: Vector, passages: Sequence[Vector], weights: Vector | None = None) -> Vector:
    """Of each passage the mean over the question's tokens of the best cosine, [passages].

    `weights` are those of the question's tokens, [tokens], more than 0; None for equal ones.
    -1..1; 0 where question or passage has no token.
    """
    scores: Vector = np.zeros(len(passages), dtype=np.float32)
    filled = [index for index, passage in enumerate(passages) if len(passage)]
    if not len(question) or not filled:
        return scores
    # One product over all passages is several times faster than one a passage.
    every = np.concatenate([passages[index] for index in filled]) @ question.T
    starts = np.cumsum([0, *(len(passages[index]) for index in filled[:-1])])
    scores[filled] = np.maximum.reduceat(every, starts, axis=0) @ shares(weights, len(question))
    return scores


def shares(weights: Vector | None, tokens: int) -> Vector:
    """The part of each of `tokens` many tokens in the mean, [tokens]; they sum to 1."""
    if weights is None:
        return np.full(tokens, 1 / max(tokens, 1), dtype=np.float32)
    part: Vector = weights / weights.sum()
    return part


def span_maxsims(
    question: Vector,
    passage: Vector,
    token_spans: Sequence[Span],
    spans: Sequence[Span],
    weights: Vector | None = None,
) -> Vector:
    """MaxSim of the question with the tokens of each span of the passage's text, [spans].

    `token_spans` are the character offsets of the passage's tokens; surplus ones are ignored.
    A token belongs to the span that holds its first character. A span without tokens gets -1.
    """
    scores: Vector = np.full(len(spans), -1.0, dtype=np.float32)
    if not len(question) or not len(passage):
        return scores
    every = question @ passage.T
    part = shares(weights, len(question))
    starts = np.array([start for start, _ in token_spans[: len(passage)]])
    for index, (start, end) in enumerate(spans):
        inside: NDArray[np.bool_] = (starts >= start) & (starts < end)
        if inside.any():
            scores[index] = part @ every[:, : len(starts)][:, inside].max(axis=1)
    return scores
