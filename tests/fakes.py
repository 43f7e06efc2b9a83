"""Small stand-ins that behave: similar texts are near, relevant passages score higher."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from rag.types import AnswerKind, Encoding, Passage, Question, Turn, Vector

DIMENSIONS = 64
_WORD = re.compile(r"[a-z0-9]+|[\u3400-\u9fff]", re.IGNORECASE)


def words(text: str) -> list[str]:
    """Latin words and single Chinese characters, in lower case."""
    return [match.group().lower() for match in _WORD.finditer(text)]


@cache
def word_vector(word: str) -> Vector:
    """A direction of its own for every word, the same in every process."""
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "little")
    vector = np.random.RandomState(seed).standard_normal(DIMENSIONS).astype(np.float32)
    return vector / np.linalg.norm(vector)


@dataclass
class FakeEmbedder:
    """A bag of words: texts that share words are near. `encoded` counts the texts it saw."""

    name: str = "fake"
    dimensions: int = DIMENSIONS
    encoded: int = 0
    with_tokens: bool = True
    computes_here: bool = True
    before: Callable[[], None] = field(default=lambda: None)

    def encode_documents(self, texts: Sequence[str], context: str = "") -> Encoding:
        self.before()
        self.encoded += len(texts)
        tokens = tuple(self._tokens(text) for text in texts)
        whole = [self._tokens(f"{context}\n{text}") for text in texts]
        dense = np.array([self._pooled(rows) for rows in whole], dtype=np.float32)
        return Encoding(dense.reshape(len(texts), DIMENSIONS), tokens if self.with_tokens else None)

    def encode_question(self, text: str) -> Question:
        tokens = self._tokens(text)
        return Question(text, self._pooled(tokens), tokens if self.with_tokens else None)

    def token_spans(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        return [[match.span() for match in _WORD.finditer(text)] for text in texts]

    def _tokens(self, text: str) -> Vector:
        found = [word_vector(word) for word in words(text)]
        return np.array(found, dtype=np.float32).reshape(-1, DIMENSIONS)

    def _pooled(self, tokens: Vector) -> Vector:
        total = tokens.sum(axis=0) if len(tokens) else np.eye(1, DIMENSIONS)[0]
        return np.asarray(total / np.linalg.norm(total), dtype=np.float32)


@dataclass
class FakeReranker:
    """The share of the question's words that the passage holds."""

    name: str = "word overlap"
    by_words: bool = True
    calibrated: bool = True

    def score(self, question: Question, passages: Sequence[Passage]) -> list[float]:
        asked = set(words(question.text))
        return [
            len(asked & set(words(passage.chunk.text))) / max(len(asked), 1) for passage in passages
        ]


@dataclass
class FakeAnswerer:
    """Says what it was told to, piece by piece, and remembers what it was given."""

    pieces: Sequence[str] = ("An answer [1].",)
    name: str = "fake model"
    kind: AnswerKind = "generated"
    failure: Exception | None = None
    seen: list[tuple[str, list[str], list[Turn]]] = field(default_factory=list)
    closed: bool = False

    def stream(
        self, question: Question, passages: Sequence[Passage], history: Sequence[Turn]
    ) -> Generator[str]:
        self.seen.append((question.text, [p.chunk.text for p in passages], list(history)))
        try:
            yield from self.pieces
            if self.failure is not None:
                raise self.failure
        finally:
            self.closed = True
