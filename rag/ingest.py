"""Files in, searchable documents out, with progress on the way.

One commit, that of the chunks, makes a document visible. Everything before it can be killed at
any moment: what is left behind is recognised and cleared by the next start.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Protocol

from rag import log
from rag.disk_space import check_space, disk_full, says_full
from rag.encoding import ChunkEncoder, search_texts
from rag.errors import LibraryError, RAGError, UnreadableFile
from rag.models import Embedder
from rag.token_codes import TokenCodec
from rag.types import (
    AddResult,
    Chunk,
    ChunkVectors,
    Document,
    DocumentRecord,
    PageRead,
    Progress,
)

_POLL_SECONDS = 0.1
# Every document is a file of each table, and every commit and question looks at all of them: with
# 300 documents adding one took four times as long as at first, with 64 half as long again.
_MERGED_AFTER = 64

Event = Progress | AddResult
ReportPage = Callable[[PageRead], None]
Read = Callable[[bytes, str, ReportPage], Document]


class Shelf(Protocol):
    """What ingest needs of the store."""

    def document(self, document_id: str) -> DocumentRecord | None:
        """The listing's row of one document."""
        ...

    def put_document(self, record: DocumentRecord) -> None:
        """Insert or replace a row of the listing."""
        ...

    def put_original(self, document_id: str, content: bytes) -> None:
        """Keep the file's bytes."""
        ...

    def has_original(self, document_id: str) -> bool:
        """Whether the file's bytes are kept."""
        ...

    def put_pages(self, document: Document) -> None:
        """Keep the text of all pages."""
        ...

    def put_chunks(
        self, chunks: Sequence[Chunk], vectors: ChunkVectors, search_texts: Sequence[str]
    ) -> None:
        """Make all chunks of a document searchable in one commit."""
        ...

    def remove(self, document_id: str) -> None:
        """Remove a document and all that belongs to it."""
        ...

    def optimize(self) -> None:
        """Fold new rows into the indexes."""
        ...

    def free_bytes(self) -> int | None:
        """Bytes that are free on the disk; None where there is none."""
        ...

    def ingest_lock(self) -> AbstractContextManager[object]:
        """Let one process write at a time."""
        ...


@dataclass(frozen=True, slots=True)
class File:
    """A file to add: its name and a way to its bytes, read when its turn comes."""

    name: str
    load: Callable[[], bytes]

    @classmethod
    def at(cls, path: Path) -> File:
        """The file at a path."""
        return cls(path.name, path.read_bytes)

    @classmethod
    def holding(cls, name: str, content: bytes) -> File:
        """A file whose bytes are at hand."""
        return cls(name, lambda: content)


class _Reading:
    """One file on its way through the reader, perhaps ahead of its turn."""

    def __init__(self, file: File) -> None:
        self.name = file.name
        self.started = perf_counter()
        self.content = b""
        self.document_id = ""
        self.pages: list[PageRead] = []
        self.future: Future[Document | None] = Future()
        self._load = file.load

    def run(self, shelf: Shelf, read: Read, spare: int) -> Document | None:
        """Load and read the file; None where the library holds it already.

        Raises LibraryError, before anything of it is written, where the disk has too little space.
        """
        try:
            self.content = self._load()
        except OSError as error:
            raise UnreadableFile(
                f"{self.name} cannot be opened: {error.strerror}.", "Check the path and try again."
            ) from None
        document_id = hashlib.sha256(self.content).hexdigest()
        if _is_ready(shelf.document(document_id)):
            self.document_id = document_id
            return None
        free = shelf.free_bytes()
        if free is not None:
            check_space(self.name, len(self.content), free, spare)
        self.document_id = document_id
        return read(self.content, self.name, self.pages.append)

    def part(self, first: int, end: int) -> Document:
        """What was read, from the page with the index `first` to the one before `end`."""
        pages = self.pages[first:end]
        return Document(
            id=self.document_id,
            name=self.name,
            media_type=pages[0].media_type if pages else "",
            size=len(self.content),
            pages=tuple(one.page for one in pages),
        )


@dataclass(frozen=True, slots=True)
class _Encoded:
    """A document with all that is kept of it."""

    document: Document
    chunks: list[Chunk]
    vectors: ChunkVectors


@dataclass(frozen=True, slots=True)
class Ingest:
    """The way of a file from bytes to a searchable document."""

    shelf: Shelf
    embedder: Embedder
    codec: TokenCodec
    read: Read
    chunk: Callable[[Document], list[Chunk]]
    # What is read of a document's name above each of its chunks.
    name: Callable[[str], str] = lambda _: ""
    # Bytes that every file must leave free on the disk.
    spare: int = 0

    def add(
        self, files: Sequence[File], cancelled: Callable[[], bool] = lambda: False
    ) -> Generator[Event]:
        """Add files one after the other; one AddResult a file, in order, Progress in between.

        `cancelled` is asked before each file. The next file is read while one is embedded.
        A file that fails never stops the others. Closing the iterator abandons the file in hand.
        Others may add at the same time: one writes at a time, and windows of chunks are encoded
        in turns, so that a short document does not wait for a long one.
        """
        added = 0
        failed: list[DocumentRecord] = []
        with ThreadPoolExecutor(max_workers=1) as reader:
            ahead: dict[int, _Reading] = {}
            for index, file in enumerate(files):
                if cancelled():
                    yield AddResult(file.name, "cancelled")
                    continue
                for near in range(index, min(index + 2, len(files))):
                    if near not in ahead:
                        reading = _Reading(files[near])
                        reading.future = reader.submit(
                            reading.run, self.shelf, self.read, self.spare
                        )
                        ahead[near] = reading
                result = yield from self._add_one(ahead[index], failed)
                del ahead[index]
                added += result.outcome == "added"
                yield result
                if added == _MERGED_AFTER:
                    self._optimize()
                    added = 0
            for reading in ahead.values():
                reading.future.cancel()
        if failed:
            with suppress(RAGError), self.shelf.ingest_lock():
                self._record(failed)
        if added:
            self._optimize()

    def _optimize(self) -> None:
        """Bring the search indexes up to date; what was added is found without it, only slower."""
        try:
            with self.shelf.ingest_lock():
                self.shelf.optimize()
        except LibraryError as error:
            log.event("search indexes not brought up to date", error=error)

    def _add_one(
        self, reading: _Reading, failed: list[DocumentRecord]
    ) -> Generator[Event, None, AddResult]:
        """Add one file, or its failure to `failed`: those that nobody has written down yet.

        A failure is told before it is written down.
        """
        try:
            encoder = ChunkEncoder(self.embedder, self.codec, self.name(reading.name))
            document = yield from self._watch(reading, encoder)
            encoded = None
            if document is not None and not _is_ready(self.shelf.document(document.id)):
                encoded = yield from self._encode(document, encoder)
            with self.shelf.ingest_lock():
                self._record(failed)
                known = self.shelf.document(reading.document_id)
                if encoded is None or _is_ready(known):
                    self._keep_lost_original(reading, known)
                    return _already_there(reading, known)
                return (yield from self._store(reading, encoded))
        except Exception as error:
            failure = _failure(reading.name, error)
            if reading.document_id:
                failed.append(_failed_record(reading, failure))
            return AddResult(
                reading.name,
                "failed",
                reading.document_id,
                seconds=perf_counter() - reading.started,
                problem=failure.notice,
            )

    def _watch(
        self, reading: _Reading, encoder: ChunkEncoder
    ) -> Generator[Event, None, Document | None]:
        """Wait for the reader, passing on how many pages it has done, and encode them meanwhile."""
        shown = -1
        waiting: Sequence[Chunk] = []
        while True:
            finished, _ = wait([reading.future], timeout=0 if waiting else _POLL_SECONDS)
            done = len(reading.pages)
            if done != shown:
                total = reading.pages[0].total if done else 0
                yield Progress(reading.name, "reading", done, total)
            if finished:
                return reading.future.result()
            # A service is asked when all are there: it takes as long for few as for many.
            if self.embedder.computes_here:
                waiting = encoder.ahead([*waiting, *self.chunk(reading.part(max(shown, 0), done))])
            shown = done

    def _encode(
        self, document: Document, encoder: ChunkEncoder
    ) -> Generator[Event, None, _Encoded]:
        """Chunk and embed; nothing of it is written yet, so nobody waits for it."""
        yield Progress(document.name, "chunking", 0, len(document.pages))
        chunks = self.chunk(document)
        yield Progress(document.name, "chunking", len(document.pages), len(document.pages))
        if not chunks:
            raise UnreadableFile(f"{document.name} has no text.", "Add a file with text.")
        vectors = yield from encoder.encode(
            chunks, lambda done: Progress(document.name, "embedding", done, len(chunks))
        )
        return _Encoded(document, chunks, vectors)

    def _store(self, reading: _Reading, encoded: _Encoded) -> Generator[Event, None, AddResult]:
        """Make it visible; the caller holds the lock. Abandoned midway, nothing is left."""
        document, chunks = encoded.document, encoded.chunks
        record = DocumentRecord(
            id=document.id,
            name=document.name,
            media_type=document.media_type,
            size=document.size,
            status="embedding",
            message=" ".join(document.notices),
            pages=len(document.pages),
            pages_read=document.pages_read,
            chunks=0,
            added_at=datetime.now(UTC),
        )
        yield Progress(reading.name, "storing", 0, len(chunks))
        try:
            self.shelf.put_document(record)
            self.shelf.put_original(document.id, reading.content)
            self.shelf.put_pages(document)
            texts = search_texts(chunks, self.name(document.name))
            self.shelf.put_chunks(chunks, encoded.vectors, texts)
            self.shelf.put_document(replace(record, status="ready", chunks=len(chunks)))
        except BaseException:
            with suppress(RAGError):
                self.shelf.remove(document.id)
            raise
        yield Progress(reading.name, "storing", len(chunks), len(chunks))
        return AddResult(
            reading.name,
            "added",
            document.id,
            pages=len(document.pages),
            pages_read=document.pages_read,
            chunks=len(chunks),
            seconds=perf_counter() - reading.started,
            notices=document.notices,
        )

    def _keep_lost_original(self, reading: _Reading, known: DocumentRecord | None) -> None:
        """Keep the bytes of a document whose original a failing disk took."""
        if known is not None and not self.shelf.has_original(known.id):
            self.shelf.put_original(known.id, reading.content)
            self.shelf.put_document(known)

    def _record(self, failed: list[DocumentRecord]) -> None:
        """Leave a row for each that is not in the library after all; the caller holds the lock."""
        while failed:
            record = failed.pop()
            with suppress(RAGError):
                if not _is_ready(self.shelf.document(record.id)):
                    self.shelf.remove(record.id)
                    self.shelf.put_document(record)


def _failure(name: str, error: Exception) -> RAGError:
    """What stopped a file, in words."""
    if isinstance(error, RAGError):
        return error
    if says_full(error):
        return disk_full()
    reference = log.unexpected(error, "adding a file")
    return RAGError(
        f"{name} could not be added: something failed unexpectedly "
        f"({type(error).__name__}, {reference} in the log).",
        "Add it again; if it stays, please report it.",
    )


def _failed_record(reading: _Reading, error: RAGError) -> DocumentRecord:
    """The row that says what happened to a file; it could be opened at all."""
    return DocumentRecord(
        id=reading.document_id,
        name=reading.name,
        media_type="",
        size=len(reading.content),
        status="failed",
        message=str(error),
        pages=0,
        pages_read=0,
        chunks=0,
        added_at=datetime.now(UTC),
    )


def _is_ready(record: DocumentRecord | None) -> bool:
    return record is not None and record.status == "ready"


def _already_there(reading: _Reading, known: DocumentRecord | None) -> AddResult:
    if known is None:
        raise LibraryError(f"{reading.name} was removed while it was added.", "Add it again.")
    notices = () if known.name == reading.name else (f"It is in the library as {known.name}.",)
    return AddResult(
        reading.name,
        "already there",
        known.id,
        pages=known.pages,
        pages_read=known.pages_read,
        chunks=known.chunks,
        seconds=perf_counter() - reading.started,
        notices=notices,
    )
