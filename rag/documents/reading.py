"""The parent's side of reading: what arrives page by page becomes a Document.

A page that takes too long, or too much, is given up and reading goes on behind it in a new child.
"""

from __future__ import annotations

import hashlib
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

from rag.documents import refusals
from rag.documents.events import (
    OUT_OF_MEMORY,
    Detected,
    Event,
    Finished,
    PageText,
    Refused,
    Remark,
    Total,
    from_line,
)
from rag.documents.formats import FORMATS
from rag.documents.names import safe_name
from rag.documents.process import Child, reading_child
from rag.documents.refusals import Refusal
from rag.errors import MissingDependency, RAGError, UnreadableFile, UnsupportedFile
from rag.settings import ReadingLimits
from rag.types import Document, Page, PageRead

_MOST_RESTARTS = 3
# Opening a file may take as long as this many pages.
_OPENING_PAGES = 3
# So may one of a format that gives its text in one piece; an honest one takes seconds.
_UNDIVIDED_PAGES = 6
_MOST_REASONS = 3
# A character takes 4 bytes at most in a line; pages without text need some, too.
_BYTES_PER_CHARACTER = 4
_BYTES_PER_PAGE = 300
_ERRORS: dict[str, type[RAGError]] = {
    "unsupported": UnsupportedFile,
    "unreadable": UnreadableFile,
    "missing": MissingDependency,
}
_CPU_SIGNAL = getattr(signal, "SIGXCPU", None)
_KILL_SIGNAL = getattr(signal, "SIGKILL", None)
# However many people add files, a few are read at a time; each may take its limit of memory.
_READERS = threading.BoundedSemaphore(max(2, (os.cpu_count() or 1) // 2))


def read(
    content: bytes,
    name: str,
    limits: ReadingLimits,
    progress: Callable[[PageRead], None] | None = None,
) -> Document:
    """See `rag.documents.read_document`."""
    name = safe_name(name)
    try:
        if not content:
            raise refusals.empty(name)
        if len(content) > limits.file_bytes:
            raise refusals.too_large(name, len(content), limits.file_bytes)
        with _READERS:
            reading = _Reading(content, name, limits, progress)
            reading.run()
        return reading.document()
    except Refusal as refusal:
        raise _ERRORS[refusal.kind](refusal.message, refusal.hint) from None


class _Reading:
    """One file while it is read."""

    def __init__(
        self,
        content: bytes,
        name: str,
        limits: ReadingLimits,
        progress: Callable[[PageRead], None] | None,
    ) -> None:
        self._content = content
        self._name = name
        self._limits = limits
        self._progress = progress
        self._end = time.monotonic() + limits.seconds
        self._key = ""
        self._opened = False
        self._total = 0
        self._pages: dict[int, PageText] = {}
        self._remarks: list[str] = []
        self._characters = 0
        self._failure: Refusal | None = None

    def run(self) -> None:
        """Read to the end, or as far as can be. Raises Refusal where that is nowhere."""
        for _ in range(1 + _MOST_RESTARTS):
            try:
                self._attempt()
                break
            except Refusal as refusal:
                self._failure = refusal
            if not self._total:
                raise self._failure
            if not FORMATS[self._key].resumes or time.monotonic() >= self._end:
                break
            self._keep(PageText(len(self._pages) + 1, "", self._reason(len(self._pages) + 1)))
            if len(self._pages) >= self._total:
                break
        for number in range(len(self._pages) + 1, self._total + 1):
            self._keep(PageText(number, "", self._reason(0)))

    def document(self) -> Document:
        """What was read. Raises Refusal where there is no text."""
        pages = [self._pages[number] for number in sorted(self._pages)]
        if not any(page.text.strip() for page in pages):
            problem = next((page.problem for page in pages if page.problem), "")
            if problem:
                broken = refusals.broken(self._name, FORMATS[self._key].title)
                raise self._failure or Refusal(
                    f"{self._name} could not be read: {problem}.", broken.hint
                )
            raise refusals.without_text(self._name, any(page.images for page in pages))
        return Document(
            id=hashlib.sha256(self._content).hexdigest(),
            name=self._name,
            media_type=FORMATS[self._key].media_type,
            size=len(self._content),
            pages=tuple(map(_page, pages)),
            notices=(*dict.fromkeys(self._remarks), *_shortcomings(pages)),
        )

    def _attempt(self) -> None:
        """Read from the first missing page on. Raises Refusal where the child does not finish."""
        limits = self._limits
        order = {
            "size": len(self._content),
            "name": self._name,
            "memory_bytes": limits.memory_bytes,
            "seconds": limits.seconds,
            "unpacked_bytes": limits.unpacked_bytes,
            "most_pages": limits.pages,
            "first_page": len(self._pages) + 1,
        }
        most_bytes = limits.characters * _BYTES_PER_CHARACTER + limits.pages * _BYTES_PER_PAGE
        self._opened = False
        try:
            with reading_child(order, self._content, most_bytes) as child:
                while not isinstance(event := self._next(child), Finished):
                    self._take(event)
        except OSError as error:
            raise Refusal(
                f"{self._name} could not be read: no process could be started.",
                "Close other programs and try again.",
            ) from error

    def _next(self, child: Child) -> Event:
        patience = self._patience()
        try:
            line = child.line(patience, self._end)
        except TimeoutError:
            seconds = patience if time.monotonic() < self._end else self._limits.seconds
            raise refusals.too_slow(self._name, seconds) from None
        if line is None:
            raise self._ended(child)
        try:
            return from_line(line)
        except ValueError:
            raise self._ended(child) from None

    def _patience(self) -> float:
        """How many seconds may pass until the next line."""
        if not self._key or not FORMATS[self._key].resumes:
            return self._limits.seconds_per_page * _UNDIVIDED_PAGES
        return self._limits.seconds_per_page * (1 if self._opened else _OPENING_PAGES)

    def _ended(self, child: Child) -> Refusal:
        """Why the child is gone."""
        if child.overflowed:
            return refusals.too_much_text(self._name, self._limits.characters)
        code = child.exit_code()
        if -code == _CPU_SIGNAL:
            return refusals.too_slow(self._name, self._limits.seconds)
        if code == OUT_OF_MEMORY or -code == _KILL_SIGNAL:
            return refusals.too_hungry(self._name)
        return refusals.crashed(self._name)

    def _take(self, event: Event) -> None:
        match event:
            case Detected(key) if key in FORMATS:
                self._key = key
            case Remark(sentence):
                self._remarks.append(sentence)
            case Total(pages) if 0 < pages <= self._limits.pages:
                self._opened = True
                self._total = pages
            case PageText(number) if number == len(self._pages) + 1 <= self._total:
                self._keep(event)
            case Refused(kind, message, hint) if kind in _ERRORS:
                raise Refusal(message, hint, kind)  # type: ignore[arg-type]
            case _:
                raise refusals.crashed(self._name)

    def _keep(self, page: PageText) -> None:
        if self._characters + len(page.text) > self._limits.characters:
            self._end = 0.0
            raise refusals.too_much_text(self._name, self._limits.characters)
        self._characters += len(page.text)
        self._pages[page.number] = page
        if self._progress is not None:
            media_type = FORMATS[self._key].media_type
            self._progress(PageRead(_page(page), media_type, self._total))

    def _reason(self, number: int) -> str:
        """The failure as a clause about one page, or about the rest of the file for 0."""
        said = str(self._failure or "").removeprefix(self._name).strip(" .")
        if not number and time.monotonic() < self._end:
            return "reading was stopped after several failures"
        return f"page {number} {said}" if number else f"the file {said}"


def _page(page: PageText) -> Page:
    return Page(page.number, page.text, page.problem)


def _shortcomings(pages: list[PageText]) -> Iterator[str]:
    """Sentences about the pages that were not read and those without text."""
    total = len(pages)
    reasons = Counter(page.problem for page in pages if page.problem)
    if reasons:
        said = "; ".join(list(reasons)[:_MOST_REASONS])
        more = "; and more" if len(reasons) > _MOST_REASONS else ""
        yield f"{total - reasons.total()} of {total} pages were read: {said}{more}."
    for images, what in ((True, "no text (scanned images?)"), (False, "no text")):
        count = sum(not p.problem and not p.text.strip() and p.images == images for p in pages)
        if count:
            yield f"{count} of {total} pages {'has' if count == 1 else 'have'} {what}."
