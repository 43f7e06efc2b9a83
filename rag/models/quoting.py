"""Answers without a language model: the sentences that the question's words lead to."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

import numpy as np

from rag.late_interaction import Span, span_maxsims
from rag.models import Embedder
from rag.types import AnswerKind, Passage, Question, Turn, Vector

# A second quote further behind the best one more often distracts than adds.
SECOND_QUOTE_MARGIN = 0.05


class QuoteAnswerer:
    """Quotes the best one or two sentences of the passages, each with its citation.

    `rotate` turns the embedder's token vectors into the space of the passages' own.
    """

    name = "quoted sentences"
    kind: AnswerKind = "quoted"

    def __init__(
        self,
        embedder: Embedder,
        sentences: Callable[[str], list[Span]],
        rotate: Callable[[Vector], Vector],
    ) -> None:
        self._embedder = embedder
        self._sentences = sentences
        self._rotate = rotate

    def stream(
        self, question: Question, passages: Sequence[Passage], history: Sequence[Turn]
    ) -> Generator[str]:
        """One quote a piece, best first, as `“sentence” [number]`."""
        quotes = self._best(question, passages)
        for index, (number, quote) in enumerate(quotes):
            yield f"“{quote}” [{number}]" if index == 0 else f"\n\n“{quote}” [{number}]"

    def _best(self, question: Question, passages: Sequence[Passage]) -> list[tuple[int, str]]:
        scored: list[tuple[float, int, str]] = []
        token_spans = self._embedder.token_spans([passage.chunk.text for passage in passages])
        for number, (passage, spans) in enumerate(zip(passages, token_spans, strict=True), start=1):
            text = passage.chunk.text
            sentences = self._sentences(text)
            scores = self._scores(question, passage, spans, sentences)
            scored += [
                (float(score), number, text[start:end])
                for score, (start, end) in zip(scores, sentences, strict=True)
            ]
        scored.sort(key=lambda item: -item[0])
        best: list[tuple[int, str]] = []
        for score, number, quote in scored:
            fresh = all(quote != other for _, other in best)
            if fresh and score >= scored[0][0] - SECOND_QUOTE_MARGIN:
                best.append((number, " ".join(quote.split())))
            if len(best) == 2:
                break
        return best

    def _scores(
        self,
        question: Question,
        passage: Passage,
        token_spans: Sequence[Span],
        sentences: Sequence[Span],
    ) -> Vector:
        """MaxSim of every sentence, or its cosine where the model has no token vectors."""
        if question.tokens is not None and passage.tokens is not None:
            return span_maxsims(question.tokens, passage.tokens, token_spans, sentences)
        texts = [passage.chunk.text[start:end] for start, end in sentences]
        return np.asarray(self._embedder.encode_documents(texts).dense @ question.dense)
