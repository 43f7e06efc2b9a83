"""Where a passage stands that a file names by document, page and text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from rag.folding import fold, one_line
from rag.golden.sets import Library, text_of
from rag.types import DocumentRecord, Page, PassageSpan
from rag.whereabouts.letters import Found, LetteredPages, letters
from rag.whereabouts.searching import Shelf, find

# Text recognition and other versions change a letter here and there; other sentences share less.
_ALIKE = 0.9
_NAMED_CHARACTERS = 40
_NUMBER = re.compile(r"\d{1,9}")


class Shelves(Library, Shelf, Protocol):
    """What importing needs of the store."""


class NotFound(Exception):
    """Why a row names no passage, as the end of a sentence."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A passage that was found: where, in which document, and its text."""

    span: PassageSpan
    document: str
    text: str


class Places:
    """Finds passages in one library; what was read of a document is kept for the next row."""

    def __init__(self, library: Shelves) -> None:
        self._library = library
        self._documents = [one for one in library.documents() if one.status == "ready"]
        self._read: dict[str, tuple[list[Page], LetteredPages]] = {}
        self._single: dict[tuple[str, int], LetteredPages] = {}

    def of(self, document: str, page: str, text: str) -> Placed:
        """The passage that is named so. Raises NotFound, and LibraryError."""
        wanted = letters(text)
        number = _NUMBER.search(page)
        if not wanted and (not number or not document):
            raise NotFound("it names no text, and no document with a page")
        if not document:
            return self._anywhere(text)
        named = [one for one in self._documents if one.name == document]
        named = named or [one for one in self._documents if fold(one.name) == fold(document)]
        if not named:
            raise NotFound(f"there is no document “{one_line(document)}” in the library")
        if not wanted and number:
            return self._page(named[0], int(number[0]))
        near = 0.0
        for record in named:
            found = self._within(record, int(number[0]) if number else 0, wanted)
            if found is not None and found.similarity >= _ALIKE:
                return _placed(record, self._pages(record)[0], found)
            near = max(near, found.similarity if found else 0.0)
        raise NotFound(
            f"{named[0].name} does not hold “{_beginning(text)}”; the most alike is {near:.0%} so"
        )

    def _anywhere(self, text: str) -> Placed:
        place = find(self._library, text)
        if place is None or place.found.similarity < _ALIKE:
            raise NotFound(f"no document of the library holds “{_beginning(text)}”")
        return _placed(place.document, place.pages, place.found)

    def _page(self, record: DocumentRecord, number: int) -> Placed:
        """The whole page."""
        pages = {page.number: page for page in self._pages(record)[0]}
        if number not in pages:
            raise NotFound(f"{record.name} has no page {number}")
        text = pages[number].text
        if not text.strip():
            raise NotFound(f"page {number} of {record.name} holds no text")
        return Placed(PassageSpan(record.id, number, 0, len(text)), record.name, text)

    def _within(self, record: DocumentRecord, number: int, wanted: str) -> Found | None:
        """On the page, else anywhere in the document, else what is most like it there."""
        _, lettered = self._pages(record)
        return (
            self._named_page(record, number).find(wanted)
            or lettered.find(wanted)
            or lettered.nearest(wanted)
        )

    def _named_page(self, record: DocumentRecord, number: int) -> LetteredPages:
        """The page of that number alone; nothing where there is none."""
        pages, lettered = self._pages(record)
        named = [page for page in pages if page.number == number]
        if named == pages:
            return lettered
        key = record.id, number
        if key not in self._single:
            self._single[key] = LetteredPages(named)
        return self._single[key]

    def _pages(self, record: DocumentRecord) -> tuple[list[Page], LetteredPages]:
        if record.id not in self._read:
            pages = self._library.pages(record.id)
            self._read[record.id] = pages, LetteredPages(pages)
        return self._read[record.id]


def _placed(record: DocumentRecord, pages: Sequence[Page], found: Found) -> Placed:
    """The longest piece, where a text goes over the end of a page."""
    piece = max(found.spans, key=lambda span: span.end - span.start)
    span = PassageSpan(record.id, piece.page, piece.start, piece.end)
    return Placed(span, record.name, text_of(span, pages))


def _beginning(text: str) -> str:
    line = one_line(text)
    return f"{line[:_NAMED_CHARACTERS]} …" if len(line) > _NAMED_CHARACTERS else line
