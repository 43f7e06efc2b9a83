"""What retrieval did for one question."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rag.types.documents import Chunk
from rag.types.notice import Notice
from rag.types.usage import Usage, usage_line


@dataclass(frozen=True, slots=True)
class Score:
    """What one stage thought of a candidate. Rank 1 is the best.

    `weight`, 0..1, is what the rank counts for in fusion.
    """

    score: float
    rank: int
    weight: float = 1.0


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
class LibraryState:
    """What a library held at one moment.

    `fingerprint` names the index, `contents` is a short hash of the ids of all documents that
    could be found: another hash means that documents were added or removed.
    """

    fingerprint: str
    contents: str
    documents: int
    chunks: int


@dataclass(frozen=True, slots=True)
class Trace:
    """Everything that retrieval did for one question.

    `question` is what was typed, `standalone` the follow-up question as the language model rewrote
    it with the history; empty where it was searched as typed.
    `candidates` are in final order. `relevant` is how many of them, counted from the best, reach
    the relevance threshold; all of them where scores are no probabilities. `seconds` has one entry
    a stage. `settings` and `models` say what ran, `library` what it ran over. `reading` says why
    the reranker read fewer passages than the settings allow; empty where it read them all.
    `calibrated` tells whether its scores are probabilities that were fitted on data; else they are
    0..1 and mean an order. `usage` is what was asked of services.
    """

    question: str
    profile: str
    models: Mapping[str, str]
    settings: Mapping[str, Any]
    library: LibraryState
    candidates: tuple[Candidate, ...]
    relevant: int
    seconds: Mapping[str, float]
    notices: tuple[Notice, ...] = ()
    reading: str = ""
    calibrated: bool = True
    standalone: str = ""
    usage: tuple[Usage, ...] = ()

    @property
    def searched(self) -> str:
        """The text that every stage worked with."""
        return self.standalone or self.question

    @property
    def usage_line(self) -> str:
        """Tokens and cost in words; empty where no service was asked."""
        return usage_line(self.usage)

    @property
    def prompt(self) -> tuple[Candidate, ...]:
        """The candidates that an answer is written from; `[1]` is the first of them."""
        return self.candidates[: min(self.relevant, int(self.settings["passages"]))]
