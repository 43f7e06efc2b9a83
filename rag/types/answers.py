"""What was answered, and what its sentences rest on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from rag.types.notice import Notice
from rag.types.retrieval import Candidate, Trace
from rag.types.usage import Usage, usage_line

AnswerKind = Literal["quoted", "generated", "nothing relevant"]

NOTHING_RELEVANT = "Nothing in the library answers this question. The nearest passages are:"


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
    `support` is the probability, 0..1, that the passage says what the citing sentence says; 1
    where it holds it word for word.
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
class Statement:
    """A sentence of the answer, held against the passages in the prompt.

    `start` and `end` are its offsets in the answer's text, its citations included.
    `numbers` are the passages it cites.
    `support` is the probability, 0..1, that one of the cited passages says it; 0 where it cites
    none.
    `supported` says whether that is enough and all its quotations are there.
    `better` is the number of another passage in the prompt that supports it clearly more; 0 where
    there is none. `better_support` is the probability that that passage says it.
    `false_quotations` are the words in quotation marks that no cited passage holds; no passage at
    all where none is cited.
    """

    start: int
    end: int
    numbers: tuple[int, ...]
    support: float
    supported: bool
    better: int = 0
    better_support: float = 0.0
    false_quotations: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer's text with its checked citations.

    `passages` are the candidates in the prompt; `[1]` is the first of them.
    `statements` are the sentences of `text` that claim something, each audited.
    `dropped` counts the numbers that the model invented and that were taken out of `text`.
    `problem` says why the text is incomplete or missing; None where all went well.
    `seconds` and `usage` are those of the trace and of the answer.
    """

    text: str
    kind: AnswerKind
    citations: tuple[Citation, ...]
    passages: tuple[Candidate, ...]
    trace: Trace
    seconds: Mapping[str, float] = field(default_factory=dict)
    statements: tuple[Statement, ...] = ()
    dropped: int = 0
    problem: Notice | None = None
    usage: tuple[Usage, ...] = ()

    @property
    def answered(self) -> bool:
        """Whether the answer says something about the question."""
        return self.kind != "nothing relevant" and bool(self.text)

    @property
    def supported(self) -> int:
        """How many of the statements are supported."""
        return sum(statement.supported for statement in self.statements)

    @property
    def cites(self) -> bool:
        """Whether any sentence cites a passage; one that says that nothing was found cites none."""
        return any(statement.numbers for statement in self.statements)

    @property
    def usage_line(self) -> str:
        """Tokens, cost and, where a model wrote, seconds to its first word; may be empty."""
        first = self.seconds.get("first token") if self.kind == "generated" else None
        return usage_line(self.usage, first)

    @property
    def support_line(self) -> str:
        """How many sentences are supported, in words; empty where there is none to support."""
        total = len(self.statements)
        if not total:
            return ""
        if not self.cites:
            return "No sentence cites a source"
        return f"{self.supported} of {total} {'sentence' if total == 1 else 'sentences'} supported"


@dataclass(frozen=True, slots=True)
class Record:
    """A question that was asked, with its trace and, where one was written, its answer.

    `asked_at` is in UTC.
    """

    id: str
    asked_at: datetime
    trace: Trace
    answer: Answer | None = None


@dataclass(frozen=True, slots=True)
class AskedQuestion:
    """One row of the history."""

    id: str
    question: str
    asked_at: datetime
