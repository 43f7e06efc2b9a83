"""How well a passage supports a sentence of the answer, and with which of its sentences. Pure.

A logistic model looks at how near the claim's words are to the passage's best sentence, at the
least supported run of words in the claim, at numbers that the passage does not have, and at
whether the two are written in different scripts. Token vectors are compared after centring: the
model's mean token vector, which they all share, hides what tells them apart.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

import numpy as np

from rag.folding import fold
from rag.late_interaction import Span, span_maxsims
from rag.types import Vector

COEFFICIENTS = "support.json"
FEATURES = ("best sentence", "weakest run", "missing numbers", "other script")
# A wrong name or number is a few tokens long, and a mean over all tokens hides it.
RUN = 3

_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")
_WORD = re.compile(r"(?P<chinese>[\u3400-\u9fff])|[^\W\d_\u2e80-\u9fff]+")


@dataclass(frozen=True, slots=True)
class Tokenised:
    """A text with its token vectors, [tokens, dimensions], centred and of length 1.

    `token_spans` and `sentences` are character offsets into the text; a claim needs none.
    """

    text: str
    tokens: Vector
    token_spans: Sequence[Span] = ()
    sentences: Sequence[Span] = ()


@dataclass(frozen=True, slots=True)
class SupportModel:
    """The fitted model: a probability from features, and from where on it counts as support.

    `weights` are in the order of `FEATURES`. Fitted by `scripts/fit_support.py`.
    """

    weights: Vector
    bias: float
    threshold: float

    def probability(self, features: Vector) -> float:
        """The probability, 0..1, that the passage says what the claim says."""
        return float(1.0 / (1.0 + np.exp(-(features @ self.weights + self.bias))))


@lru_cache(maxsize=1)
def support_model() -> SupportModel:
    """The model with the committed coefficients."""
    fitted = json.loads((files("rag") / "models" / "data" / COEFFICIENTS).read_text("utf-8"))
    return SupportModel(
        np.array(fitted["weights"], np.float32), fitted["bias"], fitted["threshold"]
    )


def centred(vectors: Vector, centre: Vector) -> Vector:
    """Vectors [n, dimensions] without what all share with the centre, each of length 1.

    How much of the centre an estimate holds depends on how its code was read, and what is at a
    right angle to it does not.
    """
    shared = centre / max(float(np.linalg.norm(centre)), 1e-9)
    moved = vectors - (vectors @ shared)[:, None] * shared
    return np.asarray(moved / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-9))


def features(claim: Tokenised, passage: Tokenised) -> tuple[Span, Vector]:
    """The sentence of the passage that is nearest to the claim, and the model's features.

    The features are in the order of `FEATURES`. Without a token on one side there is no such
    sentence, and the features are those of nothing in common.
    """
    span, nearest = best_sentence(
        claim.tokens, passage.tokens, passage.token_spans, passage.sentences
    )
    other_script = abs(_chinese(claim.text) - _chinese(passage.text))
    found = [
        nearest,
        _weakest_run(claim.tokens, _within(passage, span)),
        # Another script often writes another number: 3 million, 300万.
        _missing_numbers(claim.text, passage.text) * (1 - other_script),
        other_script,
    ]
    return span, np.array(found, dtype=np.float32)


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


def word_counts(text: str) -> tuple[int, int]:
    """How many Chinese characters and how many words of other scripts a text has."""
    kinds = [match["chinese"] is not None for match in _WORD.finditer(text)]
    return sum(kinds), len(kinds) - sum(kinds)


def _within(passage: Tokenised, span: Span) -> Vector:
    starts = [start for start, _ in passage.token_spans[: len(passage.tokens)]]
    return passage.tokens[[n for n, start in enumerate(starts) if span[0] <= start < span[1]]]


def _weakest_run(claim: Vector, sentence: Vector) -> float:
    """The least mean, over neighbouring tokens of the claim, of the best cosine; 0 for nothing."""
    if not len(claim) or not len(sentence):
        return 0.0
    best = (claim @ sentence.T).max(axis=1)
    run = min(RUN, len(best))
    return float(np.convolve(best, np.full(run, 1 / run), "valid").min())


def _missing_numbers(claim: str, passage: str) -> float:
    """The share of the claim's numbers that the passage does not have."""
    stated = _numbers(claim)
    return len(stated - _numbers(passage)) / len(stated) if stated else 0.0


def _numbers(text: str) -> set[str]:
    return {number.replace(",", "") for number in _NUMBER.findall(fold(text))}


def _chinese(text: str) -> float:
    """The share of Chinese characters among the words of a text."""
    chinese, other = word_counts(text)
    return chinese / max(chinese + other, 1)
