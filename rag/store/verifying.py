"""Reads all that a library holds and finds what is not as it was written.

Files are held against the ledger. Merged files got a line there of their own, so rows are held
against what they carry themselves: an original is named by its checksum, pages and chunks have one.
Nothing is changed, and nothing is opened that a start would mend first.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from rag.errors import LibraryError
from rag.store import layout, manifests, spares
from rag.store.checksums import Ledger, checksum_of
from rag.store.connecting import connected
from rag.store.failures import plain_words
from rag.store.locking import local_folder
from rag.store.losses import LOST, RESTORABLE
from rag.store.recovery import ADDRESS, Mended, told, within
from rag.store.row_checksums import unchanged
from rag.store.tables import (
    CHUNKS,
    DOCUMENT_COLUMNS,
    DOCUMENTS,
    ORIGINALS,
    PAGES,
    document_records,
    matching,
    table_names,
)
from rag.types import DocumentRecord

# Rows that are read at once: of originals each may have 50 MB.
_ROWS = {ORIGINALS: 4, PAGES: 256}
_ROWS_OF_OTHERS = 1024

# What is being read, and how many of how many bytes or rows are done.
Report = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class DamagedFile:
    """A file that is not what the ledger says; `used` where the newest version needs it."""

    name: str
    what: Literal["changed", "cut short", "missing"]
    used: bool


@dataclass(frozen=True, slots=True)
class DamagedDocument:
    """A document that is not whole; `parts` are of `original`, `pages` and index fingerprints."""

    id: str
    name: str
    parts: tuple[str, ...]

    def __str__(self) -> str:
        words = [part if part in {"original", "pages"} else "passages" for part in self.parts]
        return f"{self.name}: {' and '.join(dict.fromkeys(words))} damaged or lost"


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found. `unchecked` files and rows are from before there were checksums.

    `rows` counts rows of other tables that cannot be read. `earlier` was found at a start and is
    not repaired yet.
    """

    files: int = 0
    size: int = 0
    unchecked_files: int = 0
    unchecked_rows: int = 0
    damaged: tuple[DamagedFile, ...] = ()
    documents: tuple[DamagedDocument, ...] = ()
    rows: dict[str, int] = field(default_factory=dict)
    unreadable: tuple[str, ...] = ()
    earlier: tuple[Mended, ...] = ()

    @property
    def clean(self) -> bool:
        """Whether nothing at all is damaged."""
        return not (self.damaged or self.documents or self.rows or self.unreadable or self.earlier)


def verify(uri: str | Path, report: Report = lambda what, done, total: None) -> Verification:
    """Read every file and row of the library.

    Raises LibraryError where there is none, and where the disk gives an error.
    """
    folder = local_folder(str(uri))
    with plain_words(str(uri), "files"):
        if folder is not None and not folder.is_dir():
            raise LibraryError(
                f"There is no library in {folder}.", "Name its folder: rag --home FOLDER verify"
            )
        found = _Found(connected(uri), report)
        if folder is not None:
            found.read_files(folder, Ledger(folder))
        for table in table_names(found.connection):
            found.read_table(table)
    return Verification(
        files=found.files,
        size=found.size,
        unchecked_files=found.unchecked_files,
        unchecked_rows=found.unchecked_rows,
        damaged=tuple(found.damaged),
        documents=tuple(found.documents()),
        rows=dict(found.lost_rows),
        unreadable=tuple(found.unreadable),
        earlier=tuple(found.earlier),
    )


def readable(
    table: Any, report: Callable[[int, int], None], first: int = 0, last: int = 2**63 - 1
) -> Iterator[pa.Table | int]:
    """The rows of a table, some at a time, with `_rowaddr`; the address of one that is unreadable.

    Only those with addresses from `first` to `last`.

    Raises what LanceDB raises where not even the addresses can be read.
    """
    found = matching(table, [ADDRESS], within(first, last))
    addresses = sorted(found[ADDRESS].to_pylist())
    columns = [*table.schema.names, ADDRESS]
    step = _ROWS.get(table.name, _ROWS_OF_OTHERS)
    for start in range(0, len(addresses), step):
        yield from _read(table, columns, addresses[start : start + step])
        report(min(start + step, len(addresses)), len(addresses))


def sound(table: str, rows: pa.Table) -> list[bool | None]:
    """For each row whether it is as it was written; None where nothing tells."""
    if table == ORIGINALS:
        contents = (value.as_buffer() for value in rows["content"])
        return [
            hashlib.sha256(content).hexdigest() == document_id
            for content, document_id in zip(contents, rows["id"].to_pylist(), strict=True)
        ]
    # The address is where a row is, not a part of it.
    return unchanged(rows.drop_columns([ADDRESS]))


class _Found:
    """What was found so far."""

    def __init__(self, connection: Any, report: Report) -> None:
        self.connection = connection
        self.files = self.size = self.unchecked_files = self.unchecked_rows = 0
        self.damaged: list[DamagedFile] = []
        self.unreadable: list[str] = []
        self.lost_rows: dict[str, int] = {}
        self.earlier: list[Mended] = []
        self._report = report
        self._records: list[DocumentRecord] = []
        self._originals: dict[str, bool] = {}
        self._pages: dict[str, int] = defaultdict(int)
        self._chunks: dict[str, dict[str, list[int]]] = {}
        self._broken: set[tuple[str, str]] = set()

    def read_files(self, folder: Path, ledger: Ledger) -> None:
        """Hold every sealed file, and the second copies, against the ledger."""
        sums, tidied = ledger.sums(), ledger.tidied
        self.earlier = told(folder)
        there = {name for table in layout.tables(folder) for name in layout.files(folder, table)}
        self.unchecked_files = len(there - sums.keys())
        used = _used(folder, there)
        sizes = {name: (folder / name).stat().st_size for name in there & sums.keys()}
        total = sum(sizes.values())
        for name, checksum in sums.items():
            if name not in there and name not in used and layout.table_of(name) in tidied:
                continue
            if checksum_of(folder / name) != checksum:
                what: Literal["changed", "cut short", "missing"] = "missing"
                if name in there:
                    whole = layout.looks_whole(folder / name, used.get(name, 0))
                    what = "changed" if whole else "cut short"
                self.damaged.append(DamagedFile(name, what, name in used))
            self.files += 1
            self.size += sizes.get(name, 0)
            self._report("files", self.size, total)
        copies = folder / spares.FOLDER
        for table in layout.tables(copies):
            for name in layout.files(copies, table):
                if checksum_of(copies / name) != sums.get(name, checksum_of(copies / name)):
                    damaged = DamagedFile(f"{spares.FOLDER}/{name}", "changed", used=False)
                    self.damaged.append(damaged)

    def read_table(self, name: str) -> None:
        """Read all rows of a table."""
        if name.startswith(CHUNKS):
            self._chunks[name] = {}
        try:
            table = self.connection.open_table(name)
            for rows in readable(table, lambda done, total: self._report(name, done, total)):
                if isinstance(rows, int):
                    self.lost_rows[name] = self.lost_rows.get(name, 0) + 1
                    self._broken |= {(one, name) for one in _document_at(table, rows)}
                else:
                    self._take(name, rows)
        except Exception:
            # Of whatever kind: what matters is that it cannot be read.
            self.unreadable.append(name)

    def documents(self) -> Iterator[DamagedDocument]:
        """The documents that are not whole, in the order of their names."""
        lost = {one.table for one in self.earlier if one.loses}
        suspect = {*self.lost_rows, *self.unreadable, *lost}
        found = {one for documents in self._chunks.values() for one in documents}
        for record in sorted(self._records, key=lambda one: (one.name, one.id)):
            parts = []
            if record.message in {RESTORABLE, LOST} and record.status == "failed":
                parts = ["pages"]
            elif record.status == "ready":
                if not self._originals.get(record.id, False):
                    parts.append("original")
                lacks = self._pages[record.id] < record.pages
                # A document whose row was lost has another one, which does not know its kind.
                if lacks or (record.id, PAGES) in self._broken or not record.media_type:
                    parts.append("pages")
                for name, documents in self._chunks.items():
                    places = sorted(documents.get(record.id, ()))
                    # An index may lack documents, and cut them into another number of passages.
                    short = name in suspect and len(places) != record.chunks
                    gap = places != list(range(len(places)))
                    broken = (record.id, name) in self._broken
                    if short or gap or broken or record.id not in found:
                        parts.append(name.removeprefix(CHUNKS))
            if parts:
                yield DamagedDocument(record.id, record.name, tuple(parts))

    def _take(self, name: str, rows: pa.Table) -> None:
        if name == DOCUMENTS:
            self._records += document_records(rows.select(list(DOCUMENT_COLUMNS)))
        elif name == ORIGINALS:
            whole = map(bool, sound(name, rows))
            self._originals |= zip(rows["id"].to_pylist(), whole, strict=True)
        elif name == PAGES or name.startswith(CHUNKS):
            ids = rows["document_id"].to_pylist()
            for document_id, right in zip(ids, sound(name, rows), strict=True):
                self.unchecked_rows += right is None
                if right is False:
                    self._broken.add((document_id, name))
            if name == PAGES:
                for document_id in ids:
                    self._pages[document_id] += 1
            else:
                places = self._chunks[name]
                for document_id, place in zip(ids, rows["position"].to_pylist(), strict=True):
                    places.setdefault(document_id, []).append(place)


def _document_at(table: Any, address: int) -> list[str]:
    """The document of a row that cannot be read as a whole, where that much can."""
    column = "document_id" if "document_id" in table.schema.names else "id"
    try:
        found: list[str] = matching(table, [column], within(address, address))[column].to_pylist()
    except Exception:
        # Lance raises anything over damaged contents.
        return []
    return found


def _used(folder: Path, there: set[str]) -> dict[str, int]:
    """The files that the newest version of each table needs, with their bytes."""
    used: dict[str, int] = {}
    for table in layout.tables(folder):
        versions = layout.manifests([name for name in there if layout.table_of(name) == table])
        for newest in versions[:1]:
            used[newest] = 0
            try:
                used |= manifests.needed((folder / newest).read_bytes(), table)
            except (OSError, ValueError):
                continue
    return used


def _read(table: Any, columns: list[str], addresses: list[int]) -> Iterator[pa.Table | int]:
    """The rows of these addresses; where they cannot be read together, in halves."""
    try:
        yield matching(table, columns, within(addresses[0], addresses[-1]))
        return
    except Exception:
        # Lance raises anything over damaged contents.
        if len(addresses) == 1:
            yield addresses[0]
            return
    middle = len(addresses) // 2
    yield from _read(table, columns, addresses[:middle])
    yield from _read(table, columns, addresses[middle:])
