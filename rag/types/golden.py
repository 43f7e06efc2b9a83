"""Questions with the passages that answer them, by which changes of settings are judged."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from rag.types.documents import Chunk

GoldenOrigin = Literal["marked", "imported", "drafted"]


@dataclass(frozen=True, slots=True)
class PassageSpan:
    """Where a passage stands, whatever the index: a piece of a page of a document.

    `start` and `end` are character offsets into the page's text.
    """

    document_id: str
    page: int
    start: int
    end: int

    @classmethod
    def of(cls, chunk: Chunk) -> PassageSpan:
        """Where a chunk stands."""
        return cls(chunk.document_id, chunk.page, chunk.start, chunk.end)

    @property
    def id(self) -> str:
        """A name that is the same for the same place."""
        return f"{self.document_id[:16]}#p{self.page}:{self.start}-{self.end}"

    def matches(self, other: PassageSpan) -> bool:
        """Whether both share at least half of the shorter: finding one is finding the other."""
        shorter = min(self.end - self.start, other.end - other.start)
        return 0 < shorter <= 2 * self._shared(other)

    def likeness(self, other: PassageSpan) -> float:
        """Characters that both have over characters that any has, 0..1; 1 for the same place."""
        shared = self._shared(other)
        total = (self.end - self.start) + (other.end - other.start) - shared
        return shared / total if shared else 0.0

    def _shared(self, other: PassageSpan) -> int:
        if (self.document_id, self.page) != (other.document_id, other.page):
            return 0
        return max(0, min(self.end, other.end) - max(self.start, other.start))


@dataclass(frozen=True, slots=True)
class GoldenMark:
    """One row of the golden questions: whether a passage answers a question.

    `span` names the passage, so that a mark survives another index. `document` is the name of its
    document and `beginning` the beginning of its text, as they were. `answer` is a short text that
    is right, empty where nobody gave one. `relevant` is False where a person said that the passage
    does not answer the question. Only what is `confirmed` counts: what a model drafted waits for
    a person. `asker` is who made the mark, `made_at` is in UTC.
    """

    id: str
    question: str
    language: str
    span: PassageSpan
    document: str
    beginning: str
    relevant: bool
    origin: GoldenOrigin
    confirmed: bool
    made_at: datetime
    asker: str
    answer: str = ""
