"""A question with its trace and answer as one JSON text, and back.

The layout is `views.record_view`; `docs/trace.md` describes it.
"""

from __future__ import annotations

import json
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from rag.errors import UnreadableTrace
from rag.types import (
    Answer,
    AnswerKind,
    Candidate,
    Chunk,
    Citation,
    LibraryState,
    Notice,
    Record,
    Score,
    ServiceKind,
    Statement,
    Trace,
    Usage,
)
from rag.views import FORMAT, VERSION, record_view

LARGEST_BYTES = 20_000_000

# Their seconds and usage are the answer's; all others are the trace's.
_ANSWER_STAGES = {"first token", "answer", "check"}


def write_record(record: Record) -> str:
    """The record as JSON on one line, in UTF-8 without escapes."""
    return json.dumps(record_view(record), ensure_ascii=False, separators=(",", ":"))


def read_record(text: str | bytes) -> Record:
    """The record that `write_record`, `rag ask --json` or `rag search --json` wrote.

    Raises UnreadableTrace.
    """
    hint = "Choose a file that RankLens made: rag ask QUESTION --json > trace.json"
    if len(text) > LARGEST_BYTES:
        raise UnreadableTrace("The file is too large for a trace.", hint)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise UnreadableTrace("The file is not JSON.", hint) from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise UnreadableTrace("The file is no trace of RankLens.", hint)
    if found.get("version") != VERSION:
        raise UnreadableTrace(
            f"The trace has version {found.get('version')!r}, and this RankLens reads {VERSION}.",
            "Install the newest RankLens.",
        )
    try:
        return _RecordFile.model_validate(found).record()
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "the whole"
        raise UnreadableTrace(f"The trace is damaged at {key}: {first['msg']}.", hint) from None


class _Layout(BaseModel):
    # Later versions may say more; what this one knows must be right.
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Score(_Layout):
    score: FiniteFloat
    rank: int = Field(ge=1)
    weight: float = Field(1.0, ge=0, le=1)

    def record(self) -> Score:
        return Score(self.score, self.rank, self.weight)


def _score(found: _Score | None) -> Score | None:
    return None if found is None else found.record()


class _Candidate(_Layout):
    rank: int = Field(ge=1)
    document: str
    document_id: str
    page: int
    chunk_id: str
    position: int
    start: int
    end: int
    heading: str
    text: str
    dense: _Score | None
    lexical: _Score | None
    fused: _Score | None
    rerank: _Score | None

    def record(self) -> Candidate:
        chunk = Chunk(
            id=self.chunk_id,
            document_id=self.document_id,
            position=self.position,
            page=self.page,
            start=self.start,
            end=self.end,
            text=self.text,
            heading=self.heading,
        )
        return Candidate(
            rank=self.rank,
            chunk=chunk,
            document=self.document,
            dense=_score(self.dense),
            lexical=_score(self.lexical),
            fused=_score(self.fused),
            rerank=_score(self.rerank),
        )


class _Library(_Layout):
    fingerprint: str
    contents: str
    documents: int
    chunks: int


class _Notice(_Layout):
    message: str
    hint: str

    def record(self) -> Notice:
        return Notice(self.message, self.hint)


class _Citation(_Layout):
    number: int = Field(ge=1)
    claim: tuple[int, int]
    quote: str
    start: int
    end: int
    support: FiniteFloat


class _Statement(_Layout):
    start: int
    end: int
    numbers: tuple[int, ...]
    support: FiniteFloat
    supported: bool
    better: int
    better_support: FiniteFloat
    false_quotations: tuple[str, ...]


class _Usage(_Layout):
    stage: str
    service: ServiceKind
    model: str
    requests: int = Field(ge=0)
    input_tokens: int = Field(ge=0)
    output_tokens: int = Field(ge=0)
    counted: bool
    cost: FiniteFloat | None
    currency: str


class _Settings(_Layout):
    model_config = ConfigDict(frozen=True, extra="allow")
    recall_depth: int
    rerank_depth: int
    passages: int = Field(ge=1)


class _Models(_Layout):
    embedder: str
    reranker: str
    answerer: str


class _RecordFile(_Layout):
    format: Literal["ranklens-trace"]
    id: str
    asked_at: AwareDatetime
    question: str
    profile: str
    models: _Models
    settings: _Settings
    library: _Library
    relevant: int = Field(ge=0)
    reading: str = ""
    calibrated: bool = True
    candidates: tuple[_Candidate, ...]
    seconds: dict[str, FiniteFloat]
    standalone: str = ""
    usage: tuple[_Usage, ...] = ()
    notices: tuple[_Notice, ...]
    # Only where an answer was written.
    answer: str | None = None
    kind: AnswerKind | None = None
    passages: tuple[str, ...] = ()
    citations: tuple[_Citation, ...] = ()
    statements: tuple[_Statement, ...] = ()
    dropped_citations: int = 0
    problem: _Notice | None = None

    def record(self) -> Record:
        usage = tuple(Usage(**used.model_dump()) for used in self.usage)
        trace = Trace(
            question=self.question,
            profile=self.profile,
            models=self.models.model_dump(),
            settings=self.settings.model_dump(),
            library=LibraryState(**self.library.model_dump()),
            candidates=tuple(candidate.record() for candidate in self.candidates),
            relevant=self.relevant,
            seconds={
                stage: seconds
                for stage, seconds in self.seconds.items()
                if stage not in _ANSWER_STAGES
            },
            notices=tuple(notice.record() for notice in self.notices),
            reading=self.reading,
            calibrated=self.calibrated,
            standalone=self.standalone,
            usage=tuple(used for used in usage if used.stage not in _ANSWER_STAGES),
        )
        return Record(self.id, self.asked_at, trace, self._answer(trace, usage))

    def _answer(self, trace: Trace, usage: tuple[Usage, ...]) -> Answer | None:
        if self.answer is None or self.kind is None:
            return None
        found = {candidate.chunk.id: candidate for candidate in trace.candidates}
        passages = tuple(found[chunk_id] for chunk_id in self.passages if chunk_id in found)
        return Answer(
            text=self.answer,
            kind=self.kind,
            citations=tuple(
                Citation(
                    number=citation.number,
                    candidate=passages[citation.number - 1],
                    claim=citation.claim,
                    quote=citation.quote,
                    start=citation.start,
                    end=citation.end,
                    support=citation.support,
                )
                for citation in self.citations
                if citation.number <= len(passages)
            ),
            passages=passages,
            trace=trace,
            seconds=self.seconds,
            statements=tuple(Statement(**statement.model_dump()) for statement in self.statements),
            dropped=self.dropped_citations,
            problem=None if self.problem is None else self.problem.record(),
            usage=usage,
        )
