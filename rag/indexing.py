"""Brings an index up to date: documents that are in the library and not in it are encoded.

What is read are the stored pages, so no file is needed again. A document is in the index from the
commit of its chunks on; killed in between, the next run goes on with the documents that are left.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from rag.encoding import ChunkEncoder, search_texts
from rag.models import Embedder
from rag.token_codes import TokenCodec
from rag.types import (
    Chunk,
    ChunkVectors,
    Document,
    DocumentRecord,
    IndexProgress,
    Page,
    Progress,
)


class Indexed(Protocol):
    """What indexing needs of the store: the library, and the index that is to be built."""

    def missing(self) -> list[DocumentRecord]:
        """The documents that are ready and not in the index."""
        ...

    def pages(self, document_id: str) -> list[Page]:
        """The document's pages in order."""
        ...

    def put_chunks(
        self, chunks: list[Chunk], vectors: ChunkVectors, search_texts: list[str]
    ) -> None:
        """Put all chunks of a document into the index in one commit."""
        ...

    def finish(self) -> None:
        """Write down that the index holds all documents."""
        ...

    def optimize(self) -> None:
        """Fold new rows into the indexes of the tables."""
        ...

    def ingest_lock(self) -> AbstractContextManager[object]:
        """Let one process write at a time."""
        ...


@dataclass(frozen=True, slots=True)
class Indexing:
    """The way of an index from nothing, or from where it stopped, to all documents."""

    index: Indexed
    embedder: Embedder
    codec: TokenCodec
    chunk: Callable[[Document], list[Chunk]]
    # What is read of a document's name above each of its chunks.
    name: Callable[[str], str]

    def build(self, cancelled: Callable[[], bool] = lambda: False) -> Iterator[IndexProgress]:
        """Encode what is missing, document by document, with progress on the way.

        Documents may be added and removed meanwhile. `cancelled` is asked before each document.
        A document that leaves no chunk under this way of cutting is left out.
        Raises BackendError where the model fails and LibraryError where the library does; what was
        encoded by then stays.
        """
        done = 0
        left_out: set[str] = set()
        while True:
            missing = [one for one in self.index.missing() if one.id not in left_out]
            if not missing:
                if self._finished(left_out):
                    yield IndexProgress(done, done)
                    return
                continue
            total = done + len(missing)
            for record in missing:
                if cancelled():
                    return
                if not (yield from self._add(record, done, total)):
                    left_out.add(record.id)
                done += 1

    def _finished(self, left_out: set[str]) -> bool:
        """Whether nothing came in between; if so, the index is written down as built."""
        with self.index.ingest_lock():
            if any(one.id not in left_out for one in self.index.missing()):
                return False
            self.index.optimize()
            self.index.finish()
            return True

    def _add(
        self, record: DocumentRecord, done: int, total: int
    ) -> Generator[IndexProgress, None, bool]:
        """Encode one document; False where nothing of it can be in the index."""
        yield IndexProgress(done, total)
        pages = tuple(self.index.pages(record.id))
        document = Document(record.id, record.name, record.media_type, record.size, pages)
        chunks = self.chunk(document)
        if not chunks:
            return False
        name = self.name(record.name)
        vectors = yield from ChunkEncoder(self.embedder, self.codec, name).encode(
            chunks,
            lambda encoded: IndexProgress(
                done, total, Progress(record.name, "embedding", encoded, len(chunks))
            ),
        )
        with self.index.ingest_lock():
            # It may have been removed while it was encoded.
            if any(one.id == record.id for one in self.index.missing()):
                self.index.put_chunks(chunks, vectors, search_texts(chunks, name))
        return True
