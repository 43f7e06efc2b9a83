"""Makes what is damaged in a library anew: pages from the original, passages from the pages.

What was read once is read again by the same reader and cut in the same way, so a document comes
back with the same passages under the same ids. Questions, golden marks and settings stay.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from rag import log
from rag.documents import read_document
from rag.errors import LibraryError, RAGError
from rag.opening import index_settings, open_library, open_pipeline
from rag.pipeline import Pipeline
from rag.settings import IndexSettings, Settings
from rag.store import DamagedDocument, Store, Verification, recover_unopened, verify
from rag.types import DocumentRecord

Opened = Callable[[Settings, IndexSettings], Pipeline]


@dataclass(frozen=True, slots=True)
class Repaired:
    """What was repaired, by name, and what there is `left` to find after that.

    `at_the_start` was mended when the library was opened. The files of the documents in `add_again`
    are needed: their original is damaged or lost. `problems` kept others from being restored.
    """

    at_the_start: tuple[str, ...]
    restored: tuple[str, ...]
    add_again: tuple[str, ...]
    problems: tuple[str, ...]
    lost_rows: dict[str, int]
    left: Verification


def repair(
    settings: Settings,
    report: Callable[[str], None] = lambda said: None,
    opened: Opened = open_pipeline,
) -> Repaired:
    """Find what is damaged and make it anew; nothing is deleted, damaged files are moved aside.

    Others may ask meanwhile; adding waits. Killed midway, the next run goes on. Raises
    LibraryError, and what `open_library` raises.
    """

    def tell(what: str, done: int, total: int) -> None:
        report(f"Reading {what}: {done * 100 // max(total, 1)} %")

    store = _opened(settings)
    found = verify(settings.home, tell)
    work = _Work(settings, store, report)
    with store.ingest_lock():
        work.take_out(found)
        for one in _concerned(found, verify(settings.home, tell)):
            work.restore(one)
    work.build(opened)
    _count_chunks(store, work.restored)
    left = verify(settings.home, tell)
    if replace(left, earlier=(), documents=()).clean and not work.problems:
        store.repairs().settle()
        left = replace(left, earlier=())
    log.event("library repaired", documents=len(work.restored), left=len(left.documents))
    return Repaired(
        at_the_start=tuple(map(str, found.earlier)),
        restored=tuple(sorted(work.restored.values())),
        add_again=tuple(one.name for one in left.documents if "original" in one.parts),
        problems=tuple(work.problems),
        lost_rows=found.rows,
        left=left,
    )


def _opened(settings: Settings) -> Store:
    """The library. Opening mends what can be seen at once, else every file is looked at."""
    try:
        return open_library(settings)
    except LibraryError:
        recover_unopened(settings.home)
        return open_library(settings)


class _Work:
    """One repair on its way."""

    def __init__(self, settings: Settings, store: Store, report: Callable[[str], None]) -> None:
        self.restored: dict[str, str] = {}
        self.problems: list[str] = []
        self._settings = settings
        self._store = store
        self._report = report
        self._repairs = store.repairs()
        self._indexes: set[str] = set()

    def take_out(self, found: Verification) -> None:
        """Leave every damaged file and row."""
        for one in found.documents:
            if "original" in one.parts:
                self._repairs.drop_original(one.id)
        self._repairs.files(found.damaged)
        self._repairs.rows(found.rows)

    def restore(self, damaged: DamagedDocument) -> None:
        """Make one document ready to be put into the indexes that lack it."""
        self._report(f"Restoring {damaged.name}")
        record = self._store.document(damaged.id)
        if record is None or set(damaged.parts) == {"original"}:
            return
        try:
            if "pages" in damaged.parts:
                record = _read_again(self._settings, self._store, record)
        except RAGError as error:
            self.problems.append(f"{damaged.name}: {error}")
            return
        indexes = {part for part in damaged.parts if part not in {"original", "pages"}}
        if record.status != "ready":
            indexes |= {one.fingerprint for one in self._store.indexes.listed() if one.built}
        for fingerprint in indexes:
            self._repairs.drop_chunks(fingerprint, damaged.id)
        if record.status != "ready":
            self._store.put_document(replace(record, status="ready", message=""))
        self._indexes |= indexes
        self.restored[damaged.id] = damaged.name

    def build(self, opened: Opened) -> None:
        """Bring the indexes up to date that lack restored documents."""
        for record in self._store.indexes.listed():
            if record.fingerprint not in self._indexes:
                continue
            index = index_settings(record)
            if index is None:
                self.problems.append(f"The index {record.fingerprint} is of another version.")
                continue
            try:
                for progress in opened(self._settings, index).build_index():
                    self._report(str(progress))
            except RAGError as error:
                self.problems.append(str(error))


def _concerned(first: Verification, then: Verification) -> list[DamagedDocument]:
    """The documents that were damaged before or after damaged rows were taken out."""
    found: dict[str, DamagedDocument] = {}
    for one in (*first.documents, *then.documents):
        parts = (*(found[one.id].parts if one.id in found else ()), *one.parts)
        found[one.id] = replace(one, parts=tuple(dict.fromkeys(parts)))
    return list(found.values())


def _read_again(settings: Settings, store: Store, record: DocumentRecord) -> DocumentRecord:
    """The document's row after its pages were read from its original once more."""
    content = store.original(record.id)
    if content is None:
        raise RAGError("Its text and its original are damaged.", "Add the file again.")
    document = read_document(content, record.name, settings.reading)
    store.put_pages(document)
    known = replace(
        record,
        media_type=document.media_type,
        size=document.size,
        pages=len(document.pages),
        pages_read=document.pages_read,
    )
    if known != record:
        store.put_document(known)
    return known


def _count_chunks(store: Store, restored: dict[str, str]) -> None:
    """Let the listing say how many passages the restored documents have."""
    for document_id in restored:
        record, chunks = store.document(document_id), len(store.chunks(document_id))
        if record is not None and record.chunks != chunks:
            store.put_document(replace(record, chunks=chunks))
