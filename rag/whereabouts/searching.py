"""Which document of the library holds a text, and where a document may hold it unread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from rag.types import Chunk, DocumentRecord, Page
from rag.whereabouts.letters import Found, LetteredPages, letters

_DOCUMENTS = 20
_HITS = 100
# Comparing takes about a second for this many.
_LETTERS = 3_000_000
_ALIKE = 0.5
_NAMED_PAGES = 5


class Shelf(Protocol):
    """What searching needs of the store."""

    def documents(self) -> list[DocumentRecord]:
        """The rows of all documents."""
        ...

    def pages(self, document_id: str) -> list[Page]:
        """The pages of a document in order."""
        ...

    def search_lexical(self, text: str, depth: int) -> list[tuple[Chunk, float]]:
        """Chunks by BM25, best first."""
        ...


@dataclass(frozen=True, slots=True)
class Place:
    """A document that holds a text, with all its pages."""

    document: DocumentRecord
    pages: tuple[Page, ...]
    found: Found


def find(shelf: Shelf, text: str) -> Place | None:
    """Where the library holds the text, or else the text most like it; None where nothing is near.

    Looked through are the documents of the best full-text hits, as far as their size allows.
    """
    wanted = letters(text)
    documents = {document.id: document for document in shelf.documents()}
    hits = shelf.search_lexical(text, _HITS)
    ids = [one for one in dict.fromkeys(chunk.document_id for chunk, _ in hits) if one in documents]
    read: list[tuple[str, tuple[Page, ...], LetteredPages]] = []
    room = _LETTERS
    for document_id in ids[:_DOCUMENTS]:
        pages = tuple(shelf.pages(document_id))
        lettered = LetteredPages(pages)
        if found := lettered.find(wanted):
            return Place(documents[document_id], pages, found)
        read.append((document_id, pages, lettered))
        room -= len(lettered)
        if room < 0:
            break
    near = [
        Place(documents[document_id], pages, found)
        for document_id, pages, lettered in read
        if (found := lettered.nearest(wanted)) and found.similarity >= _ALIKE
    ]
    return max(near, key=lambda place: place.found.similarity, default=None)


def unread(page: Page) -> str:
    """Why no text of a page is known; empty where there is some."""
    if page.problem:
        return page.problem.rstrip(".")
    return "" if page.text.strip() else "no text was found on it (a scanned image?)"


def unread_places(shelf: Shelf) -> list[str]:
    """The documents and pages whose text is not known, one line a document."""
    doubtful = [document for document in shelf.documents() if document.message]
    places = []
    for document in doubtful[:_DOCUMENTS]:
        if document.status == "failed":
            places.append(f"{document.name} (not added)")
            continue
        numbers = [str(page.number) for page in shelf.pages(document.id) if unread(page)]
        if numbers:
            places.append(f"{document.name}, {_pages(numbers)}")
    return places


def _pages(numbers: Sequence[str]) -> str:
    if len(numbers) > _NAMED_PAGES:
        return f"{len(numbers)} pages"
    return f"p. {', '.join(numbers)}"
