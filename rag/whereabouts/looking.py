"""From the text or the page that a person expected to the stage that lost it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from rag.errors import RAGError, UnknownDocument
from rag.models import Embedder
from rag.types import Candidate, Chunk, DocumentRecord, Record
from rag.whereabouts.letters import letters
from rag.whereabouts.recalling import Searchable, unrecalled
from rag.whereabouts.searching import Place, Shelf, find, unread, unread_places
from rag.whereabouts.splitting import holding, parts, whole_again
from rag.whereabouts.stages import Stage, best_fate, fate

LONGEST_TEXT = 5_000


class Library(Searchable, Shelf, Protocol):
    """What looking for a passage needs of the store."""

    def chunks(self, document_id: str) -> list[Chunk]:
        """The chunks of a document in order."""
        ...


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Where the expected passage went.

    `message` tells it with its figures; `hint` names the setting and the value that would have
    kept it. `chunks` are the passages that hold the text, or its parts where it is split.
    `candidate` is the one of them that came furthest, None where none was recalled.
    `similarity` is the share of the text's runs of three letters that was found, 0..1.
    """

    stage: Stage
    message: str
    hint: str
    chunks: tuple[Chunk, ...]
    candidate: Candidate | None
    similarity: float


def expected_text(record: Record, store: Library, embedder: Embedder, text: str) -> Whereabouts:
    """Where the passage with this text went.

    The text may be copied out of a viewer: blanks, hyphens, punctuation, width, case and accents
    do not count. Where no page holds it, the nearest text is taken and named.
    Raises RAGError for a text without letters or with more than 5,000 characters, LibraryError and
    SettingsError.
    """
    wanted = letters(text)
    if not wanted:
        raise RAGError("There is no text to look for.", "Paste a sentence that you expected.")
    if len(text) > LONGEST_TEXT:
        raise RAGError(
            f"The text has {len(text):,} characters.",
            f"Paste at most {LONGEST_TEXT:,}: a sentence is enough.",
        )
    held = [one for one in record.trace.candidates if wanted in letters(one.chunk.text)]
    if held:
        return _told(record, held, [candidate.chunk for candidate in held])
    place = find(store, text)
    if place is None:
        return _nowhere(store)
    told = _placed(record, store, embedder, place)
    similarity = place.found.similarity
    if similarity == 1:
        return told
    nearest = (
        f"The nearest text is on p. {place.found.spans[0].page} of {place.document.name}, "
        f"{similarity:.0%} alike."
    )
    return replace(told, message=f"{nearest} {told.message}", similarity=similarity)


def expected_page(
    record: Record, store: Library, embedder: Embedder, document_id: str, page: int
) -> Whereabouts:
    """Where the passages of a page went; told is the one that came furthest.

    Raises UnknownDocument, RAGError where the document has no such page, LibraryError and
    SettingsError.
    """
    recalled = [
        candidate
        for candidate in record.trace.candidates
        if (candidate.chunk.document_id, candidate.chunk.page) == (document_id, page)
    ]
    if recalled:
        return _page_told(record, store, recalled)
    document = next((one for one in store.documents() if one.id == document_id), None)
    if document is None:
        raise UnknownDocument("The document is no longer in the library.", "Choose another one.")
    pages = {one.number: one for one in store.pages(document_id)}
    if page not in pages:
        raise RAGError(
            f"{document.name} has no page {page}.", f"Choose one from 1 to {max(pages, default=1)}."
        )
    if reason := unread(pages[page]):
        return _without_passages(
            "not extracted",
            f"Page {page} of {document.name} was never extracted: {reason}.",
            "Run text recognition (OCR) on the document or save it anew, then add the result.",
        )
    if absent := _absent(record, store, document):
        return absent
    chunks = [chunk for chunk in store.chunks(document_id) if chunk.page == page]
    if not chunks:
        return _not_indexed(document)
    told = _lost_in_recall(record, store, embedder, chunks)
    if len(chunks) == 1:
        return told
    others = f"It is the nearest of the page's {len(chunks)} passages; none was recalled."
    return replace(told, message=f"{told.message} {others}")


def _page_told(record: Record, store: Library, recalled: Sequence[Candidate]) -> Whereabouts:
    chunk = recalled[0].chunk
    chunks = [candidate.chunk for candidate in recalled]
    if store.state().fingerprint == record.trace.library.fingerprint:
        stored = [one for one in store.chunks(chunk.document_id) if one.page == chunk.page]
        chunks = stored or chunks
    told = _told(record, recalled, chunks)
    if len(chunks) == 1:
        return told
    ids = {one.id for one in chunks}
    prompted = sum(candidate.chunk.id in ids for candidate in record.trace.prompt)
    others = (
        f"Of the page's {len(chunks)} passages {len(recalled)} "
        f"{'was' if len(recalled) == 1 else 'were'} recalled and {prompted} "
        f"{'is' if prompted == 1 else 'are'} in the prompt."
    )
    return replace(told, message=f"{told.message} {others}")


def _told(record: Record, candidates: Sequence[Candidate], chunks: Sequence[Chunk]) -> Whereabouts:
    candidate, fate = best_fate(record, candidates)
    return Whereabouts(fate.stage, fate.message, fate.hint, tuple(chunks), candidate, 1.0)


def _placed(record: Record, store: Library, embedder: Embedder, place: Place) -> Whereabouts:
    """What became of a text that stands in the library."""
    document, found = place.document, place.found
    if absent := _absent(record, store, document):
        return absent
    chunks = store.chunks(document.id)
    whole, divided = holding(chunks, found), parts(chunks, found)
    if not divided:
        return _not_indexed(document)
    if not whole:
        hint = whole_again(record.trace, embedder, document, place.pages, found)
        return _split(record, document, divided, hint)
    ids = {chunk.id for chunk in whole}
    recalled = [one for one in record.trace.candidates if one.chunk.id in ids]
    if recalled:
        return _told(record, recalled, whole)
    return _lost_in_recall(record, store, embedder, whole)


def _absent(record: Record, store: Library, document: DocumentRecord) -> Whereabouts | None:
    """Why the question could not find the document as it is now; None where it could."""
    if store.state().fingerprint != record.trace.library.fingerprint:
        return _without_passages(
            "another index",
            "The question was asked of another index, which cuts or encodes documents otherwise.",
            "Ask the question again.",
        )
    known = {candidate.chunk.document_id for candidate in record.trace.candidates}
    if document.added_at > record.asked_at and document.id not in known:
        return _without_passages(
            "added later",
            f"{document.name} was added at {document.added_at:%Y-%m-%d %H:%M} UTC, after the "
            "question was asked.",
            "Ask the question again.",
        )
    return None


def _lost_in_recall(
    record: Record, store: Library, embedder: Embedder, chunks: Sequence[Chunk]
) -> Whereabouts:
    nearest, lost = unrecalled(record.trace, store, embedder, chunks)
    others = [chunk for chunk in chunks if chunk is not nearest]
    return Whereabouts(lost.stage, lost.message, lost.hint, (nearest, *others), None, 1.0)


def _split(
    record: Record, document: DocumentRecord, chunks: Sequence[Chunk], hint: str
) -> Whereabouts:
    """What became of each part of a text."""
    candidates = {candidate.chunk.id: candidate for candidate in record.trace.candidates}
    found = [candidates[chunk.id] for chunk in chunks if chunk.id in candidates]
    numbers = [f"#{chunk.position + 1}" for chunk in chunks]
    message = (
        f"The text is split across passages {', '.join(numbers[:-1])} and {numbers[-1]} of "
        f"{document.name}."
    )
    for number, chunk in zip(numbers, chunks, strict=True):
        candidate = candidates.get(chunk.id)
        told = fate(record, candidate).message if candidate else "It was not recalled."
        message += f" {number}: {told}"
    best = best_fate(record, found)[0] if found else None
    return Whereabouts("split", message, hint, tuple(chunks), best, 1.0)


def _nowhere(store: Library) -> Whereabouts:
    message = "No page of the library holds this text or anything near it."
    places = unread_places(store)
    if not places:
        return _without_passages(
            "not in the library",
            message,
            "Paste other words of the same passage, or choose its document and page.",
            0.0,
        )
    return _without_passages(
        "not in the library",
        f"{message} It may stand where no text was extracted: {'; '.join(places)}.",
        "Run text recognition (OCR) on these documents, then add the results.",
        0.0,
    )


def _not_indexed(document: DocumentRecord) -> Whereabouts:
    return _without_passages(
        "not indexed",
        f"{document.name} holds it, but this index has no passage of it.",
        "Index the document again.",
    )


def _without_passages(
    stage: Stage, message: str, hint: str, similarity: float = 1.0
) -> Whereabouts:
    return Whereabouts(stage, message, hint, (), None, similarity)
