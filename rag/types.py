"""The records that travel between the stages.

Every record is frozen: a stage returns new records and never changes one it was given.
Scores are typed and higher is always better:

- `dense`: cosine similarity of question and passage, -1..1
- `lexical`: BM25, 0 or more
- `fused`: reciprocal rank fusion, meaningful as an order only
- `rerank`: probability that the passage answers the question, 0..1
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]

DocumentStatus = Literal["embedding", "ready", "failed", "removing"]
IngestStage = Literal["reading", "chunking", "embedding", "storing"]
AddOutcome = Literal["added", "already there", "failed", "cancelled"]
AnswerKind = Literal["quoted", "generated", "nothing relevant"]

NOTHING_RELEVANT = "Nothing in the library answers this question. The nearest passages are:"


@dataclass(frozen=True, slots=True)
class Notice:
    """Something the person should know: what happened, and what to do next."""

    message: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


# --- documents -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Page:
    """One page, slide, sheet or whole text of a document, as plain text with Markdown headings.

    `problem` says why a page could not be read; it is empty for a page that was read.
    A page that was read and holds no text has an empty `text` and an empty `problem`.
    """

    number: int
    text: str
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """A file after reading.

    `id` is the sha256 of the file's bytes in hexadecimal.
    `pages` has one entry for every page of the file, also for those that were not read.
    `notices` are plain sentences about what is doubtful: a guessed encoding, pages without text.
    """

    id: str
    name: str
    media_type: str
    size: int
    pages: tuple[Page, ...]
    notices: tuple[str, ...] = ()

    @property
    def pages_read(self) -> int:
        """Pages whose text was taken, blank ones included."""
        return sum(not page.problem for page in self.pages)


@dataclass(frozen=True, slots=True)
class DocumentRecord:
    """One row of the library's listing. `size` is in bytes, `added_at` in UTC."""

    id: str
    name: str
    media_type: str
    size: int
    status: DocumentStatus
    message: str
    pages: int
    pages_read: int
    chunks: int
    added_at: datetime


@dataclass(frozen=True, slots=True)
class Chunk:
    """A passage: consecutive whole sentences of one page.

    `start` and `end` are character offsets into the page's text, `text` is exactly that slice.
    `heading` is the path of headings above the chunk, outermost first, joined by " > ".
    """

    id: str
    document_id: str
    position: int
    page: int
    start: int
    end: int
    text: str
    heading: str = ""


# --- ingest --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one stage of one document is: `done` of `total` pages, chunks or commits."""

    name: str
    stage: IngestStage
    done: int
    total: int

    def __str__(self) -> str:
        return f"{self.name}: {self.stage} {self.done} of {self.total}"


@dataclass(frozen=True, slots=True)
class AddResult:
    """What became of one file."""

    name: str
    outcome: AddOutcome
    document_id: str = ""
    pages: int = 0
    pages_read: int = 0
    chunks: int = 0
    seconds: float = 0.0
    notices: tuple[str, ...] = ()
    problem: Notice | None = None

    def __str__(self) -> str:
        if self.problem is not None:
            return f"{self.name}: {self.outcome}. {self.problem}"
        if self.outcome == "cancelled":
            return f"{self.name}: cancelled"
        read = f"{self.pages_read} of {self.pages} pages read, {self.chunks} chunks"
        if self.pages_read == self.pages:
            pages = "1 page" if self.pages == 1 else f"{self.pages} pages"
            chunks = "1 chunk" if self.chunks == 1 else f"{self.chunks} chunks"
            read = f"{pages}, {chunks}"
        return " ".join([f"{self.name}: {self.outcome} ({read}).", *self.notices])


# --- models --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Encoding:
    """The vectors of n texts.

    `dense` is [n, dimensions], every row of length 1.
    `tokens` has one array [tokens of the text, dimensions] a text, every row of length 1, without
    the vectors of the prompt and of special tokens; None where the model has no token vectors.
    """

    dense: Vector
    tokens: tuple[Vector, ...] | None


@dataclass(frozen=True, slots=True)
class ChunkVectors:
    """The vectors of a document's chunks as the store keeps them.

    `dense` is [chunks, dimensions]; `token_codes` has one code a chunk, empty where the model has
    no token vectors.
    """

    dense: Vector
    token_codes: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its vectors: `dense` is [dimensions], `tokens` [tokens, dimensions]."""

    text: str
    dense: Vector
    tokens: Vector | None


@dataclass(frozen=True, slots=True)
class Passage:
    """What a reranker may look at: the chunk and all evidence that recall left behind.

    `dense` is the cosine with the question, `lexical` the BM25 score or 0 where no word matched.
    `tokens` are the chunk's token vectors, [tokens, dimensions], as the store kept them.
    """

    chunk: Chunk
    document: str
    dense: float
    lexical: float
    tokens: Vector | None = None


# --- retrieval -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Score:
    """What one stage thought of a candidate. Rank 1 is the best."""

    score: float
    rank: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """A chunk with the score and rank of every stage; None where a stage did not see it.

    `rank` is the place in the final order.
    """

    rank: int
    chunk: Chunk
    document: str
    dense: Score | None = None
    lexical: Score | None = None
    fused: Score | None = None
    rerank: Score | None = None

    @property
    def moved(self) -> int:
        """Places gained by reranking; negative where places were lost."""
        if self.fused is None or self.rerank is None:
            return 0
        return self.fused.rank - self.rerank.rank

    @property
    def location(self) -> str:
        """Where a reader finds the passage."""
        return f"{self.document}, p. {self.chunk.page}"

    @property
    def evidence(self) -> str:
        """One line with the score and rank of every stage that saw the candidate."""
        parts = []
        if self.dense is not None:
            parts.append(f"dense {self.dense.score:.2f} (#{self.dense.rank})")
        if self.lexical is not None:
            parts.append(f"BM25 {self.lexical.score:.1f} (#{self.lexical.rank})")
        if self.fused is not None:
            parts.append(f"fused #{self.fused.rank}")
        if self.rerank is not None:
            parts.append(f"rerank {self.rerank.score:.0%} (#{self.rerank.rank}{_move(self.moved)})")
        return " · ".join(parts)


def _move(places: int) -> str:
    if places == 0:
        return ""
    return f", up {places}" if places > 0 else f", down {-places}"


@dataclass(frozen=True, slots=True)
class Trace:
    """Everything that retrieval did for one question.

    `candidates` are in final order. `relevant` is how many of them, counted from the best, reach
    the relevance threshold. `seconds` has one entry a stage. `settings` and `models` say what ran.
    """

    question: str
    profile: str
    models: Mapping[str, str]
    settings: Mapping[str, Any]
    candidates: tuple[Candidate, ...]
    relevant: int
    seconds: Mapping[str, float]
    notices: tuple[Notice, ...] = ()


# --- answers -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Turn:
    """One earlier exchange of the conversation."""

    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class Citation:
    """A `[number]` of the answer.

    `quote` is the sentence of the passage that best supports the citing sentence, and `start` and
    `end` are its offsets into the chunk's text.
    `support` is the late-interaction similarity of the two sentences, 0..1; for a quoted answer
    the citing sentence is the quote itself.
    `claim` are the offsets of the citing sentence in the answer's text.
    """

    number: int
    candidate: Candidate
    claim: tuple[int, int]
    quote: str
    start: int
    end: int
    support: float


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer's text with its checked citations.

    `passages` are the candidates in the prompt; `[1]` is the first of them.
    `dropped` counts the numbers that the model invented and that were taken out of `text`.
    `problem` says why the text is incomplete or missing; None where all went well.
    """

    text: str
    kind: AnswerKind
    citations: tuple[Citation, ...]
    passages: tuple[Candidate, ...]
    trace: Trace
    seconds: Mapping[str, float] = field(default_factory=dict)
    dropped: int = 0
    problem: Notice | None = None

    @property
    def answered(self) -> bool:
        """Whether the answer says something about the question."""
        return self.kind != "nothing relevant" and bool(self.text)
