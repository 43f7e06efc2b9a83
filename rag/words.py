"""Which words earned a passage its score. Pure.

MaxSim is a weighted sum over the question's tokens of their best cosine, so it can be taken apart
without remainder: by question word, by passage word and by sentence (Khattab and Zaharia 2020,
ColBERT).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rag.folding import fold
from rag.late_interaction import Span, maxsims, shares, span_maxsims
from rag.same_words import same_words, spaced_words
from rag.types import Question, Vector

MATCHES = 3

# Cosines of one-bit codes are this uncertain, so which of two equal words wins is chance.
_NEAR_TIE = 0.03

# What is no more than nothing counts as this, so that shares of it can be taken.
_NOTHING = 1e-12


@dataclass(frozen=True, slots=True)
class Match:
    """A passage word beside a question word.

    `cosine` is the weighted mean, over the question word's tokens, of the best cosine among the
    passage word's tokens: MaxSim of one word with the other.
    """

    span: Span
    cosine: float


@dataclass(frozen=True, slots=True)
class QuestionWord:
    """A word of the question and what it found.

    `weight` is its part of the question; the parts of all words sum to 1.
    `strength` is the weighted mean, over the word's tokens, of the best cosine in the whole
    passage, so it is at least that of the best match.
    `matches` are at most `MATCHES` passage words of different spelling, best first.
    `punctuation` tells a word without letter and digit, which takes part in MaxSim all the same.
    """

    text: str
    span: Span
    weight: float
    strength: float
    matches: tuple[Match, ...]
    punctuation: bool = False


@dataclass(frozen=True, slots=True)
class ShadedWord:
    """A part of the passage and what it earned.

    `share` is its part of the score; the shares of a passage sum to 1.
    `shade`, 0..1, is how dark to show it: how far it stands out, the part that does most having 1.
    """

    span: Span
    share: float
    shade: float
    punctuation: bool = False


@dataclass(frozen=True, slots=True)
class RankedSentence:
    """A sentence of the passage and its score for the question."""

    span: Span
    score: float


@dataclass(frozen=True, slots=True)
class WordView:
    """A score taken apart.

    With `basis` "words", `shaded` are the passage's words, `sentences` are scored by MaxSim and
    the sum of the question words' weights times strengths is `maxsim`, punctuation included.
    With `basis` "sentences" there are no question words, `shaded` are sentences and `maxsim` is
    None.
    `same_words` is where the passage has the question's own words, as full text counts them.
    """

    question: tuple[QuestionWord, ...]
    shaded: tuple[ShadedWord, ...]
    same_words: tuple[Span, ...]
    sentences: tuple[RankedSentence, ...]
    maxsim: float | None
    basis: Literal["words", "sentences"]


def word_view(
    question: Question,
    question_spans: Sequence[Span],
    passage: str,
    passage_tokens: Vector,
    passage_spans: Sequence[Span],
    sentences: Sequence[Span],
) -> WordView:
    """The passage's MaxSim by question word, by passage word and by sentence.

    Tokens are [tokens, dimensions], and those of question and passage are of one space; the
    question must have some. Spans are their character offsets, of which surplus ones are ignored.
    Sentences without a token, as behind a cut, are left out.
    Every token's best cosine counts for the passage word that holds the token which gave it.
    """
    assert question.tokens is not None
    asked = _words(question.text, question_spans[: len(question.tokens)])
    read = _words(passage, passage_spans[: len(passage_tokens)])
    cosines: Vector = question.tokens @ passage_tokens.T
    weights = shares(question.weights, len(question.tokens))
    scores = span_maxsims(
        question.tokens, passage_tokens, passage_spans, sentences, question.weights
    )
    empty = not cosines.size
    return WordView(
        question=()
        if empty
        else tuple(_question_words(question.text, asked, passage, read, cosines, weights)),
        shaded=() if empty else _shaded(asked, read, cosines, weights),
        same_words=same_words(question.text, passage),
        sentences=_ranked(
            [
                (span, score)
                for span, score in zip(sentences, scores.tolist(), strict=True)
                if score > -1
            ]
        ),
        maxsim=float(maxsims(question.tokens, [passage_tokens], question.weights)[0]),
        basis="words",
    )


def sentence_view(
    question: str, passage: str, sentences: Sequence[Span], scores: Sequence[float]
) -> WordView:
    """The passage by sentence, for a reranker that gives one number a text.

    `scores` belong to the sentences, one to one. The best sentence has the shade 1 and the worst
    0, because the scores of one passage can lie close together at any height; equal ones have 1.
    """
    values = np.asarray(scores, dtype=np.float64)
    width = np.ptp(values) if len(values) else 0.0
    shades = (values - values.min()) / width if width else np.ones(len(values))
    earned = np.maximum(values, _NOTHING)
    shares = earned / earned.sum()
    return WordView(
        question=(),
        shaded=tuple(
            ShadedWord(span, share, shade)
            for span, share, shade in zip(sentences, shares.tolist(), shades.tolist(), strict=True)
        ),
        same_words=same_words(question, passage),
        sentences=_ranked(list(zip(sentences, values.tolist(), strict=True))),
        maxsim=None,
        basis="sentences",
    )


@dataclass(frozen=True, slots=True)
class _Word:
    """Neighbouring tokens; `span` is empty for a token of blanks."""

    span: Span
    tokens: list[int]
    punctuation: bool


def _words(text: str, token_spans: Sequence[Span]) -> list[_Word]:
    """The tokens by word: pieces of one spaced word together, every other token alone."""
    spaced = {place: span for span in spaced_words(text) for place in range(*span)}
    words: list[_Word] = []
    for token, (start, end) in enumerate(token_spans):
        piece = text[start:end]
        start += len(piece) - len(piece.lstrip())
        visible = (start, start + len(piece.strip()))
        # A blank of its own lies in front of a word and is no part of it.
        places = [place for place in range(*visible) if text[place].isalnum()] or range(*visible)
        span = spaced.get(places[0], visible) if places else visible
        if words and words[-1].span == span:
            words[-1].tokens.append(token)
        else:
            words.append(_Word(span, [token], not any(map(str.isalnum, text[slice(*span)]))))
    return words


def _question_words(
    question: str,
    asked: Sequence[_Word],
    passage: str,
    read: Sequence[_Word],
    cosines: Vector,
    weights: Vector,
) -> Iterator[QuestionWord]:
    best = cosines.max(axis=1)
    for word, matched in zip(asked, _word_cosines(asked, read, cosines, weights), strict=True):
        matches: dict[str, Match] = {}
        for place in np.argsort(-matched, kind="stable").tolist():
            span = read[place].span
            if not read[place].punctuation:
                matches.setdefault(fold(passage[slice(*span)]), Match(span, float(matched[place])))
            if len(matches) == MATCHES:
                break
        yield QuestionWord(
            text=question[slice(*word.span)],
            span=word.span,
            weight=float(weights[word.tokens].sum()),
            strength=float(np.average(best[word.tokens], weights=weights[word.tokens])),
            matches=tuple(matches.values()),
            punctuation=word.punctuation,
        )


def _word_cosines(
    asked: Sequence[_Word], read: Sequence[_Word], cosines: Vector, weights: Vector
) -> Vector:
    """MaxSim of every question word with every passage word, [question words, passage words]."""
    columns = np.stack([cosines[:, word.tokens].max(axis=1) for word in read], axis=1)
    return np.stack(
        [np.average(columns[word.tokens], axis=0, weights=weights[word.tokens]) for word in asked]
    )


def _shaded(
    asked: Sequence[_Word], read: Sequence[_Word], cosines: Vector, weights: Vector
) -> tuple[ShadedWord, ...]:
    earned = np.maximum(cosines.max(axis=1), _NOTHING) * weights
    parts = np.bincount(cosines.argmax(axis=1), earned, cosines.shape[1]) / earned.sum()
    shades = _shades(asked, read, cosines, weights)
    return tuple(
        ShadedWord(word.span, float(parts[word.tokens].sum()), shade, word.punctuation)
        for word, shade in zip(read, shades.tolist(), strict=True)
    )


def _shades(
    asked: Sequence[_Word], read: Sequence[_Word], cosines: Vector, weights: Vector
) -> NDArray[np.float64]:
    """Of every passage word the best excess over the mean, squared, among its near-best cosines.

    All tokens of such models are alike to .7 and more, and "the" and 的 most so to everything:
    by the cosine alone, whatever many empty words fall on would be darkest.
    """
    shades = np.zeros(len(read))
    rows = [place for place, word in enumerate(asked) if not word.punctuation]
    columns = [place for place, word in enumerate(read) if not word.punctuation]
    if rows and columns:
        found = _word_cosines(asked, read, cosines, weights)[np.ix_(rows, columns)]
        best = found.max(axis=1, keepdims=True)
        excess = (best - found.mean(axis=1, keepdims=True)) * (found >= best - _NEAR_TIE)
        strongest = np.square(excess).max(axis=0)
        shades[columns] = strongest / max(strongest.max(), _NOTHING)
    return shades


def _ranked(scored: list[tuple[Span, float]]) -> tuple[RankedSentence, ...]:
    return tuple(
        RankedSentence(span, score)
        for span, score in sorted(scored, key=lambda pair: (-pair[1], pair[0]))
    )
