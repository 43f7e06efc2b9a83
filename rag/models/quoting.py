"""Answers without a language model: the sentences that the question's words lead to."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Sequence

import numpy as np

from rag.folding import one_line
from rag.late_interaction import Span, span_maxsims
from rag.models import Embedder
from rag.types import AnswerKind, Passage, Question, Turn, Vector

# A second quote further behind the best one more often distracts than adds.
SECOND_QUOTE_MARGIN = 0.05
# What a passage loses for every place behind the first, so that the better one wins a near tie.
PLACE_COST = 0.01

_NO_ANSWER = re.compile(r"\s*#{1,6} |.*[?？]\W*$", re.DOTALL)


class QuoteAnswerer:
    """Quotes the best one or two sentences of the passages, each with its citation."""

    name = "quoted sentences"
    kind: AnswerKind = "quoted"

    def __init__(
        self,
        embedder: Embedder,
        sentences: Callable[[str], list[Span]],
    ) -> None:
        self._embedder = embedder
        self._sentences = sentences

    def stream(
        self, question: Question, passages: Sequence[Passage], history: Sequence[Turn]
    ) -> Generator[str]:
        """One quote a piece, best first, as `“sentence” [number]`."""
        quotes = self._best(question, passages)
        for index, (number, quote) in enumerate(quotes):
            yield f"“{quote}” [{number}]" if index == 0 else f"\n\n“{quote}” [{number}]"

    def _best(self, question: Question, passages: Sequence[Passage]) -> list[tuple[int, str]]:
        texts = [passage.chunk.text for passage in passages]
        token_spans = self._embedder.token_spans(texts)
        scored: list[tuple[float, int, str]] = []
        for place, (passage, spans) in enumerate(zip(passages, token_spans, strict=True)):
            sentences = self._sentences(texts[place])
            scores = self._scores(question, passage, spans, sentences)
            scored += [
                (float(score) - PLACE_COST * place, place + 1, one_line(texts[place][start:end]))
                for score, (start, end) in zip(scores, sentences, strict=True)
            ]
        scored.sort(key=lambda item: -item[0])
        # A heading or a question repeats the asker's words without answering.
        told = [item for item in scored if not _NO_ANSWER.match(item[2])] or scored
        best = told[:1]
        for score, number, quote in told[1:]:
            if quote != best[0][2] and score >= best[0][0] - SECOND_QUOTE_MARGIN:
                best.append((score, number, quote))
                break
        return [(number, quote) for _, number, quote in best]

    def _scores(
        self,
        question: Question,
        passage: Passage,
        token_spans: Sequence[Span],
        sentences: Sequence[Span],
    ) -> Vector:
        """MaxSim of every sentence, or its cosine where the model has no token vectors."""
        if question.tokens is not None and passage.tokens is not None:
            return span_maxsims(
                question.tokens, passage.tokens, token_spans, sentences, question.weights
            )
        texts = [passage.chunk.text[start:end] for start, end in sentences]
        return np.asarray(self._embedder.encode_documents(texts).dense @ question.dense)
