"""What the log tells of questions, files and the start."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Generator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version
from typing import Any, TypeVar

from rag import __version__
from rag.errors import RAGError
from rag.log import ID_DIGITS, event, problem
from rag.settings import Settings
from rag.types import AddResult, DocumentRecord, Record

_Event = TypeVar("_Event")

_VERSIONED = ("streamlit", "lancedb", "torch", "sentence-transformers", "openai", "pypdf")
_SUFFIX = re.compile(r"\.[a-z0-9]{1,5}")


def started(settings: Settings) -> None:
    """Tell of the start: versions, and which settings and index."""
    dumped = settings.model_dump_json(exclude={"home", "cache"})
    event(
        "start",
        ranklens=__version__,
        python=python_version(),
        packages={name: found for name in _VERSIONED if (found := _version(name))},
        profile=settings.profile,
        settings=hashlib.sha256(dumped.encode()).hexdigest()[:ID_DIGITS],
        index=settings.index.fingerprint,
    )


def question(record: Record) -> None:
    """Tell of a question that was asked, and of its answer."""
    trace, answer = record.trace, record.answer
    facts: dict[str, Any] = {}
    seconds, usage, notices = trace.seconds, trace.usage, list(trace.notices)
    texts: dict[str, Any] = {"question": trace.question}
    if trace.standalone:
        texts["standalone"] = trace.standalone
    if answer is not None:
        seconds, usage = answer.seconds, answer.usage
        facts = {
            "answer": answer.kind,
            "characters": len(answer.text),
            "passages": len(answer.passages),
            "citations": len(answer.citations),
            "invented": answer.dropped,
            "sentences": len(answer.statements),
            "supported": answer.supported,
        }
        if answer.problem is not None:
            facts |= problem(answer.problem)
            texts["problem"] = answer.problem.message
    total = sum(value for stage, value in seconds.items() if stage != "first token")
    event(
        "question",
        texts=texts,
        id=record.id,
        seconds=round(total, 3),
        stages={stage: round(value, 3) for stage, value in seconds.items()},
        candidates=len(trace.candidates),
        documents=trace.library.documents,
        chunks=trace.library.chunks,
        index=trace.library.fingerprint,
        models=dict(trace.models),
        notices=[problem(notice) for notice in notices],
        usage=[
            {
                "stage": one.stage,
                "service": one.service,
                "model": one.model,
                "requests": one.requests,
                "input_tokens": one.input_tokens,
                "output_tokens": one.output_tokens,
            }
            for one in usage
        ],
        **facts,
    )


def files(
    results: Generator[_Event], record: Callable[[str], DocumentRecord | None]
) -> Generator[_Event]:
    """The events of adding files, unchanged; what became of each file is told.

    `record` gives the library's row of a document.
    """
    try:
        for one in results:
            if isinstance(one, AddResult):
                _file(one, record)
            yield one
    finally:
        results.close()


def _file(result: AddResult, record: Callable[[str], DocumentRecord | None]) -> None:
    facts: dict[str, Any] = {}
    suffix = Path(result.name).suffix.lower()
    texts: dict[str, Any] = {"name": result.name}
    if result.problem is not None:
        facts |= problem(result.problem)
        texts["problem"] = result.problem.message
    try:
        row = record(result.document_id) if result.document_id else None
    except RAGError:
        row = None
    if row is not None:
        facts |= {"bytes": row.size, "media_type": row.media_type}
    event(
        "file",
        texts=texts,
        outcome=result.outcome,
        document=result.document_id[:ID_DIGITS],
        suffix=suffix if _SUFFIX.fullmatch(suffix) else "",
        pages=result.pages,
        pages_read=result.pages_read,
        chunks=result.chunks,
        seconds=round(result.seconds, 3),
        **facts,
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
