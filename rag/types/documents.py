"""Files on their way to passages."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from rag.types.notice import Notice

DocumentStatus = Literal["embedding", "ready", "failed", "removing"]
IngestStage = Literal["reading", "chunking", "embedding", "storing"]
AddOutcome = Literal["added", "already there", "failed", "cancelled"]


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
class PageRead:
    """A page of a file that is being read, and how many pages the file has."""

    page: Page
    media_type: str
    total: int


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
