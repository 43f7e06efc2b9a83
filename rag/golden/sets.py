"""The golden questions of a library as a golden set for the lab."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Protocol

from rag.errors import RAGError
from rag.evaluation.golden_sets import GoldenQuestion, GoldenSet
from rag.golden.marks import Kept, by_question
from rag.types import DocumentRecord, GoldenMark, Page, PassageSpan
from rag.whereabouts.letters import LetteredPages, letters

NAME = "this library"


class Library(Protocol):
    """What golden questions need of the store."""

    @property
    def golden(self) -> Kept:
        """The marks."""
        ...

    def documents(self) -> list[DocumentRecord]:
        """The rows of all documents."""
        ...

    def pages(self, document_id: str) -> list[Page]:
        """The pages of a document in order."""
        ...


def golden_set_of(library: Library) -> GoldenSet:
    """The confirmed questions of a library, each with what answers it and what does not.

    Marks on documents that are not in the library are left out, and with them the questions that
    nothing else answers. Raises RAGError where no question is left, and LibraryError.
    """
    marks = [mark for mark in library.golden.listed() if mark.confirmed]
    present = placed(library, marks)
    spans: dict[str, PassageSpan] = {}
    questions = []
    for key, said in sorted(by_question(present).items()):
        spans |= {mark.span.id: mark.span for mark in said}
        right = sorted({mark.span.id for mark in said if mark.relevant})
        wrong = sorted({mark.span.id for mark in said if not mark.relevant} - set(right))
        if right:
            latest = max(said, key=lambda mark: mark.made_at)
            # With other gold it is another question: rankings are kept by the id, and what a
            # ranking calls gold is part of it.
            name = hashlib.sha256(repr((key, right, wrong)).encode()).hexdigest()[:12]
            questions.append(
                GoldenQuestion(
                    id=name,
                    text=latest.question,
                    language=latest.language,
                    gold=dict.fromkeys(right, 1),
                    answers=tuple(dict.fromkeys(mark.answer for mark in said if mark.answer)),
                    rejected=tuple(wrong),
                )
            )
    if not questions:
        raise RAGError(*_nothing(marks))
    return GoldenSet(NAME, (), (), tuple(questions), "span", spans)


def _nothing(marks: Sequence[GoldenMark]) -> tuple[str, str]:
    """Why there is no golden question, and what to do."""
    if any(mark.relevant for mark in marks):
        return (
            "The documents that the golden questions are about are not in this library.",
            "Add them again, or mark sources of other documents.",
        )
    return (
        "This library has no golden questions yet.",
        "Mark the right source of an answer with the thumb on Ask, or: rag golden import FILE",
    )


def placed(library: Library, marks: Iterable[GoldenMark]) -> list[GoldenMark]:
    """The marks whose documents can be found, where their texts stand now.

    A document that was read again, by a later version, may have other characters before the
    passage: then the passage is looked for by its beginning. Where even that is gone, the page
    does not say the same any more and the mark is left out.
    """
    ready = {record.id for record in library.documents() if record.status == "ready"}
    by_document: dict[str, list[GoldenMark]] = {}
    for mark in marks:
        if mark.span.document_id in ready:
            by_document.setdefault(mark.span.document_id, []).append(mark)
    found = []
    for document_id, own in by_document.items():
        pages = {page.number: page for page in library.pages(document_id)}
        for mark in own:
            span = _span_now(mark, pages.get(mark.span.page))
            if span is not None:
                found.append(replace(mark, span=span))
    return found


def text_of(span: PassageSpan, pages: Iterable[Page]) -> str:
    """What stands at a place; empty where there is no such page."""
    return next((one.text[span.start : span.end] for one in pages if one.number == span.page), "")


def _span_now(mark: GoldenMark, page: Page | None) -> PassageSpan | None:
    span = mark.span
    if page is None:
        return None
    if page.text.startswith(mark.beginning, span.start):
        return span
    found = LetteredPages([page]).find(letters(mark.beginning))
    if found is None:
        return None
    start = found.spans[0].start
    return replace(span, start=start, end=min(start + span.end - span.start, len(page.text)))
