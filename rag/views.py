"""Traces and answers as JSON: the same numbers under the same names everywhere.

`rag.trace_files` reads back what `record_view` writes; `docs/trace.md` describes it.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rag.languages import crossing
from rag.types import (
    AddResult,
    Answer,
    Candidate,
    DocumentRecord,
    Notice,
    Record,
    Score,
    Statement,
    Trace,
)

JSON = dict[str, Any]

FORMAT = "ranklens-trace"
# Goes up when a reader of the older layout would misread the newer one.
VERSION = 1


def record_view(record: Record) -> JSON:
    """What `rag ask --json` and `rag search --json` print, and what a downloaded trace holds."""
    seen = trace_view(record.trace) if record.answer is None else answer_view(record.answer)
    return {
        "format": FORMAT,
        "version": VERSION,
        "id": record.id,
        "asked_at": record.asked_at.isoformat(),
        **seen,
    }


def trace_view(trace: Trace) -> JSON:
    """What retrieval did."""
    return {
        "question": trace.question,
        "standalone": trace.standalone,
        "profile": trace.profile,
        "models": dict(trace.models),
        "settings": dict(trace.settings),
        "library": asdict(trace.library),
        "reading": trace.reading,
        "calibrated": trace.calibrated,
        "relevant": trace.relevant,
        "candidates": [candidate_view(trace, candidate) for candidate in trace.candidates],
        "seconds": {stage: round(seconds, 4) for stage, seconds in trace.seconds.items()},
        "usage": [asdict(usage) for usage in trace.usage],
        "notices": [notice_view(notice) for notice in trace.notices],
    }


def candidate_view(trace: Trace, candidate: Candidate) -> JSON:
    """A candidate with the score and rank of every stage; null where a stage did not see it."""
    chunk = candidate.chunk
    return {
        "rank": candidate.rank,
        "document": candidate.document,
        "document_id": chunk.document_id,
        "page": chunk.page,
        "chunk_id": chunk.id,
        "position": chunk.position,
        "start": chunk.start,
        "end": chunk.end,
        "heading": chunk.heading,
        "text": chunk.text,
        "dense": score_view(candidate.dense),
        "lexical": score_view(candidate.lexical),
        "fused": score_view(candidate.fused),
        "rerank": score_view(candidate.rerank),
        "across_languages": crossing(trace.searched, chunk.text),
    }


def evidence_line(trace: Trace, candidate: Candidate) -> str:
    """What every stage thought of a candidate of the trace, and whether it crossed languages."""
    crossed = crossing(trace.searched, candidate.chunk.text)
    return candidate.evidence + (f" · found across languages: {crossed}" if crossed else "")


def score_view(score: Score | None) -> JSON | None:
    """A stage's score and rank, and its weight where the rank counted for less than one vote."""
    if score is None:
        return None
    seen: JSON = {"score": score.score, "rank": score.rank}
    return seen if score.weight == 1 else {**seen, "weight": score.weight}


def answer_view(answer: Answer) -> JSON:
    """The trace and what was made of it."""
    return {
        **trace_view(answer.trace),
        "answer": answer.text,
        "answered": answer.answered,
        "kind": answer.kind,
        "passages": [candidate.chunk.id for candidate in answer.passages],
        "citations": [
            {
                "number": citation.number,
                "chunk_id": citation.candidate.chunk.id,
                "document": citation.candidate.document,
                "page": citation.candidate.chunk.page,
                "claim": list(citation.claim),
                "quote": citation.quote,
                "start": citation.start,
                "end": citation.end,
                "support": round(citation.support, 4),
            }
            for citation in answer.citations
        ],
        "statements": [statement_view(statement) for statement in answer.statements],
        "dropped_citations": answer.dropped,
        "problem": None if answer.problem is None else notice_view(answer.problem),
        "seconds": {stage: round(seconds, 4) for stage, seconds in answer.seconds.items()},
        "usage": [asdict(usage) for usage in answer.usage],
    }


def statement_view(statement: Statement) -> JSON:
    """A sentence of the answer as it was audited."""
    return {
        **asdict(statement),
        "numbers": list(statement.numbers),
        "support": round(statement.support, 4),
        "better_support": round(statement.better_support, 4),
        "false_quotations": list(statement.false_quotations),
    }


def notice_view(notice: Notice) -> JSON:
    """Message and hint."""
    return {"message": notice.message, "hint": notice.hint}


def document_view(record: DocumentRecord) -> JSON:
    """A row of the listing; the time in ISO 8601, UTC."""
    return {**asdict(record), "added_at": record.added_at.isoformat()}


def result_view(result: AddResult) -> JSON:
    """What became of one file."""
    return asdict(result)
