"""The door to the library."""

from __future__ import annotations

import hashlib
import random
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from lancedb.expr import col, lit

from rag import log
from rag.errors import LibraryError
from rag.fault_points import reached
from rag.store import recall
from rag.store.catalogue import Catalogue, ChunkCounts
from rag.store.checksums import Ledger
from rag.store.connecting import connected
from rag.store.failures import in_plain_words, plain_words
from rag.store.golden import Golden
from rag.store.healing import finish_removals, settle_interrupted
from rag.store.indexes import Indexes
from rag.store.locking import LibraryLock, committing, local_folder
from rag.store.losses import steps
from rag.store.measurements import Measurements
from rag.store.opening import open_tables
from rag.store.questions import Questions
from rag.store.recovery import notice, recover, told
from rag.store.repairing import Repairs
from rag.store.snapshots import remove_left_behind
from rag.store.tables import (
    CHUNK_COLUMNS,
    CHUNKS,
    DOCUMENTS,
    ORIGINALS,
    PAGE_COLUMNS,
    PAGES,
    Tables,
    chunk_record,
    chunk_rows,
    document_rows,
    in_place_of,
    matching,
    original_rows,
    page_records,
    page_rows,
    upsert,
    vector_length,
)
from rag.store.upkeep import bytes_on_disk, keep_up
from rag.types import (
    Chunk,
    ChunkVectors,
    Document,
    DocumentRecord,
    LibraryState,
    Notice,
    Page,
    StoredVectors,
    Vector,
)

_REMOVAL_WAIT_SECONDS = 2.0


class Store:
    """One library and one index of it; any number of threads may use one store.

    Every public method raises LibraryError where the library cannot be read or written.
    """

    def __init__(self, uri: str, tables: Tables, lock: LibraryLock) -> None:
        self.uri = uri
        self._tables = tables
        self._catalogue = Catalogue(tables.documents)
        self._counts = ChunkCounts(tables.chunks)
        self._lock = lock
        self._ledger = tables.ledger
        self.questions = Questions(uri, tables.questions, tables.ledger)
        self.golden = Golden(uri, tables.golden, tables.ledger)
        self.measurements = Measurements(uri, tables.measurements, tables.ledger)
        self.indexes = Indexes(uri, tables.connection, tables.ledger)

    @classmethod
    def open(cls, uri: str | Path, fingerprint: str, dimensions: int) -> Store:
        """The library at `uri`, a folder or an address, with the index `fingerprint`.

        Makes what is missing. Puts right what a killed process left behind, unless another
        process is adding a document just now. `dimensions` is the length of a dense vector.
        """
        uri = str(uri)
        with plain_words(uri):
            connection = connected(uri, sees_others_at_once=True)
            lock, ledger = LibraryLock(local_folder(uri)), Ledger(local_folder(uri))
            recover(lock, ledger, connection)
            with lock.setup():
                tables = open_tables(uri, connection, ledger, fingerprint, dimensions)
            store = cls(uri, tables, lock)
            if not lock.present:
                store._heal(finish_removals)
                return store
            remove_left_behind(Path(uri))
            with lock.ingest(wait=0) as locked:
                if locked:
                    store._heal(*steps(told(Path(uri))))
            return store

    @property
    def fingerprint(self) -> str:
        """The name of this index."""
        return str(self._tables.chunks.name).removeprefix(CHUNKS)

    def repairs(self) -> Repairs:
        """What puts right what was found damaged; see `rag.repair`."""
        return Repairs(self._tables)

    @property
    def damage(self) -> Notice | None:
        """What was found damaged at a start, until it is repaired."""
        return notice(self._ledger.folder)

    @property
    def dimensions(self) -> int:
        """Length of the dense vectors of this index."""
        return vector_length(self._tables.chunks)

    # --- documents -------------------------------------------------------------------------

    @in_plain_words(DOCUMENTS)
    def documents(self) -> list[DocumentRecord]:
        """All documents, the newest first, each with its chunks in this index."""
        counts = self._counts.by_document()
        records = [
            replace(record, chunks=counts.get(record.id, 0))
            for record in self._catalogue.records().values()
        ]
        return sorted(records, key=lambda record: (record.added_at, record.id), reverse=True)

    @in_plain_words(DOCUMENTS)
    def missing(self) -> list[DocumentRecord]:
        """The documents that are ready and not in this index, by name."""
        counts = self._counts.by_document()
        records = self._catalogue.records().values()
        lacking = [one for one in records if one.status == "ready" and one.id not in counts]
        return sorted(lacking, key=lambda record: (record.name, record.id))

    @in_plain_words(DOCUMENTS)
    def document(self, document_id: str) -> DocumentRecord | None:
        """The document with that id, or None."""
        return self._catalogue.records().get(document_id)

    @in_plain_words(DOCUMENTS)
    def names(self, ids: Collection[str]) -> dict[str, str]:
        """Names of the documents with these ids; an unknown id is left out."""
        records = self._catalogue.records()
        return {
            document_id: records[document_id].name for document_id in ids if document_id in records
        }

    @in_plain_words(DOCUMENTS)
    def put_document(self, record: DocumentRecord) -> None:
        """Write the document's row, over the one with the same id.

        The status `embedding` may be written under the ingest lock only: without it
        such a row is taken for one that a killed process left.
        """
        reached("store.library.document")
        if record.status == "ready":
            self._ledger.seal(ORIGINALS, PAGES, self._tables.chunks.name)
        with committing(self.uri):
            upsert(self._tables.documents).execute(document_rows(record))
            if record.status != "embedding":
                self._ledger.seal(DOCUMENTS)

    @in_plain_words(ORIGINALS)
    def put_original(self, document_id: str, content: bytes) -> None:
        """Keep the bytes of the file; an original that is there already is left alone."""
        reached("store.library.original")
        rows = original_rows(document_id, content)
        self._tables.originals.merge_insert("id").when_not_matched_insert_all().execute(rows)

    @in_plain_words(ORIGINALS)
    def original(self, document_id: str) -> bytes | None:
        """The bytes of the file, or None."""
        found = matching(self._tables.originals, ["content"], col("id") == lit(document_id))
        return found["content"][0].as_py() if found.num_rows else None

    @in_plain_words(ORIGINALS)
    def has_original(self, document_id: str) -> bool:
        """Whether the bytes of the file are there."""
        return bool(
            matching(self._tables.originals, ["id"], col("id") == lit(document_id)).num_rows
        )

    @in_plain_words(PAGES)
    def put_pages(self, document: Document) -> None:
        """Write the document's pages in place of its older ones."""
        reached("store.library.pages")
        in_place_of(self._tables.pages, document.id).execute(page_rows(document))

    @in_plain_words(PAGES)
    def pages(self, document_id: str) -> list[Page]:
        """The document's pages in order."""
        where = col("document_id") == lit(document_id)
        return page_records(matching(self._tables.pages, PAGE_COLUMNS, where))

    def put_chunks(
        self, chunks: Sequence[Chunk], vectors: ChunkVectors, search_texts: Sequence[str]
    ) -> None:
        """Make one document searchable: all its chunks in one commit, in place of older ones.

        `search_texts` is what full text finds the chunks by. Raises ValueError for chunks of
        several documents and for lengths that differ.
        """
        table = self._tables.chunks
        ids = {chunk.document_id for chunk in chunks}
        sparse = vectors.sparse_codes or chunks
        lengths = {len(chunks), len(vectors.token_codes), len(sparse), len(search_texts)}
        if (
            len(ids) != 1
            or len(lengths) != 1
            or vectors.dense.shape != (len(chunks), self.dimensions)
        ):
            raise ValueError("put_chunks takes the chunks of one document, each with its vectors")
        with plain_words(self.uri, table.name):
            reached("store.library.chunks")
            rows = chunk_rows(chunks, vectors, search_texts, table.schema)
            in_place_of(table, ids.pop()).execute(rows)

    @in_plain_words("chunks")
    def chunks(self, document_id: str) -> list[Chunk]:
        """The document's chunks in order."""
        where = col("document_id") == lit(document_id)
        found = matching(self._tables.chunks, CHUNK_COLUMNS, where).to_pylist()
        return sorted(map(chunk_record, found), key=lambda chunk: chunk.position)

    @in_plain_words("chunks")
    def texts(self, chunk_ids: Sequence[str]) -> dict[str, str]:
        """The texts of these chunks, without unknown ids."""
        if not chunk_ids:
            return {}
        where = col("id").isin(list(chunk_ids))
        found = matching(self._tables.chunks, ["id", "text"], where)
        return dict(zip(found["id"].to_pylist(), found["text"].to_pylist(), strict=True))

    @in_plain_words("chunks")
    def sample(self, count: int, seed: int) -> list[Chunk]:
        """At most `count` chunks drawn at random, the same for the same seed and library."""
        table = self._tables.chunks
        rows = int(table.count_rows())
        places = sorted(random.Random(seed).sample(range(rows), min(count, rows)))
        if not places:
            return []
        found = table.take_offsets(places).select(list(CHUNK_COLUMNS)).to_arrow()
        drawn = [(chunk_record(row), 0.0) for row in found.to_pylist()]
        return [chunk for chunk, _ in self._searchable(drawn)]

    @in_plain_words("chunks")
    def state(self) -> LibraryState:
        """What the library holds now: the documents that can be found, and all chunks."""
        ready = sorted(
            record.id for record in self._catalogue.records().values() if record.status == "ready"
        )
        return LibraryState(
            fingerprint=self.fingerprint,
            contents=hashlib.sha256("".join(ready).encode()).hexdigest()[:12],
            documents=len(ready),
            chunks=sum(self._counts.by_document().values()),
        )

    @in_plain_words(DOCUMENTS)
    def remove(self, document_id: str) -> None:
        """Remove the document, its original, its pages and its chunks in every index.

        It is out of search at once. While another document is being stored, its data follows when
        that is done; a document that is itself being stored is removed after that.
        """
        record = self.document(document_id)
        if record is None:
            return
        self._mark_removing(record)
        adding = record.status == "embedding"
        with self._lock.ingest(wait=-1 if adding else _REMOVAL_WAIT_SECONDS) as locked:
            if locked:
                self._mark_removing(record)
                finish_removals(self._tables)
        log.event(
            "document removed",
            texts={"name": record.name},
            document=record.id[: log.ID_DIGITS],
        )

    # --- recall ----------------------------------------------------------------------------

    @in_plain_words("chunks")
    def search_dense(self, vector: Vector, depth: int) -> list[tuple[Chunk, float]]:
        """The chunks nearest to a vector [dimensions] with their cosine similarity, best first."""
        return self._searchable(recall.search_dense(self._tables.chunks, vector, depth))

    @in_plain_words("chunks")
    def search_lexical(self, text: str, depth: int) -> list[tuple[Chunk, float]]:
        """The chunks with any word of the text and their BM25 score, best first."""
        return self._searchable(recall.search_lexical(self._tables.chunks, text, depth))

    @in_plain_words("chunks")
    def vectors(self, chunk_ids: Sequence[str]) -> dict[str, StoredVectors]:
        """Dense vector [dimensions] and token codes of these chunks, without unknown ids."""
        return recall.vectors(self._tables.chunks, chunk_ids)

    def finish(self) -> None:
        """Write down that this index holds all documents."""
        with plain_words(self.uri, self._tables.chunks.name):
            self._ledger.seal(self._tables.chunks.name)
        self.indexes.finish(self.fingerprint)

    # --- upkeep ----------------------------------------------------------------------------

    @in_plain_words("chunks")
    def optimize(self) -> None:
        """Bring the indexes up to date and merge small files, where that pays.

        Does nothing while another thread or process adds a document: that one calls it later.
        """
        with self._lock.ingest(wait=0) as locked:
            if locked:
                keep_up(self.uri, self._tables)

    @contextmanager
    def ingest_lock(self) -> Iterator[None]:
        """Held while one document is stored: waits for every other thread and process.

        The same thread may take it again. On entry, documents that a killed process left half
        added are settled; on leaving, removals that waited are finished. A remote library has no
        lock.
        """
        outermost = self._lock.present and not self._lock.held
        with self._lock.ingest():
            if outermost:
                self._heal(finish_removals, settle_interrupted)
            try:
                yield
            finally:
                if outermost:
                    self._heal(finish_removals)

    @in_plain_words("files")
    def size_bytes(self, fingerprint: str = "") -> int:
        """Bytes on disk, older versions included, of all or of one index; 0 where it is remote."""
        return bytes_on_disk(self.uri, f"{CHUNKS}{fingerprint}" if fingerprint else "")

    @in_plain_words("files")
    def free_bytes(self) -> int | None:
        """Bytes that are free on the library's disk; None where it is remote."""
        folder = local_folder(self.uri)
        return None if folder is None else shutil.disk_usage(folder).free

    def _searchable(self, scored: list[tuple[Chunk, float]]) -> list[tuple[Chunk, float]]:
        """Without the chunks of documents that failed, are being removed or have no row."""
        hidden = {"removing", "failed"}
        records = self._catalogue.records()
        shown = {record.id for record in records.values() if record.status not in hidden}
        return [pair for pair in scored if pair[0].document_id in shown]

    def _heal(self, *steps: Callable[[Tables], None]) -> None:
        """Take these steps; one that fails is left for the next time and stops nothing else."""
        for step in steps:
            try:
                with plain_words(self.uri, DOCUMENTS):
                    step(self._tables)
            except LibraryError as error:
                log.event("library not put right", failure=error)

    def _mark_removing(self, record: DocumentRecord) -> None:
        self.put_document(replace(record, status="removing"))
