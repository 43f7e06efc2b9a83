"""The indexes of one library: a chunk table each, and a row of `indexes` that describes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from lancedb.expr import col, lit

from rag import log
from rag.errors import LibraryError
from rag.fault_points import reached
from rag.store.checksums import Ledger
from rag.store.connecting import connected
from rag.store.failures import plain_words
from rag.store.locking import LibraryLock, committing, local_folder
from rag.store.recovery import recover
from rag.store.tables import (
    CHUNKS,
    INDEXES,
    INDEXES_SCHEMA,
    matching,
    opened_chunks,
    table_names,
    upsert,
    vector_length,
)
from rag.types import IndexRecord

_COLUMNS = ("id", "settings", "built", "used_at")
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


class Indexes:
    """What indexes there are, which one was used last, and an end to those nobody needs.

    Every method raises LibraryError where the library cannot be read or written.
    """

    def __init__(self, uri: str, connection: Any, ledger: Ledger) -> None:
        self._uri = uri
        self._connection = connection
        self._ledger = ledger
        self._tables: dict[str, Any] = {}
        self._read: tuple[object, list[IndexRecord]] = (None, [])

    @classmethod
    def at(cls, uri: str | Path) -> Indexes:
        """Those of the library at a folder or an address; nothing is made there."""
        with plain_words(str(uri)):
            connection = connected(uri, sees_others_at_once=True)
            return cls(str(uri), connection, Ledger(local_folder(str(uri))))

    def listed(self) -> list[IndexRecord]:
        """All indexes, the one that was used last first.

        One that was made before indexes were written down counts as built if it holds anything.
        Damaged files are dealt with first: this is what a start reads before anything else.
        """
        try:
            return self._listed()
        except LibraryError:
            with plain_words(self._uri, INDEXES):
                recover(LibraryLock(self._ledger.folder), self._ledger, self._connection)
            return self._listed()

    def _listed(self) -> list[IndexRecord]:
        with plain_words(self._uri, INDEXES):
            # The versions are asked for first: a commit in between is then read twice.
            versions = self._versions()
            known, found = self._read
            if versions is None or versions != known:
                rows = self._rows() if INDEXES in table_names(self._connection) else {}
                found = [self._record(table, rows) for table in opened_chunks(self._connection)]
                self._read = (versions, found)
        return sorted(found, key=lambda one: one.used_at or _NEVER, reverse=True)

    def _versions(self) -> dict[str, int] | None:
        """The newest version of each table that the list tells of; None where one has none.

        A table that is dropped and made again may come to the same version, but never without
        another version of `indexes`.
        """
        names = [one for one in table_names(self._connection) if one.startswith((INDEXES, CHUNKS))]
        try:
            for name in names:
                if name not in self._tables:
                    self._tables[name] = self._connection.open_table(name)
            return {name: int(self._tables[name].version) for name in names}
        except (RuntimeError, ValueError):
            self._tables = {}
            return None

    def documents(self, fingerprint: str) -> set[str]:
        """The ids of the documents that an index holds."""
        with plain_words(self._uri, CHUNKS + fingerprint):
            table = self._connection.open_table(CHUNKS + fingerprint)
            return set(matching(table, ["document_id"])["document_id"].to_pylist())

    def describe(self, fingerprint: str, settings: Mapping[str, Any], *, built: bool) -> None:
        """Write down an index that is not yet; of a known one nothing is changed."""
        with plain_words(self._uri, INDEXES), committing(self._uri):
            if fingerprint not in self._rows():
                reached("store.indexes.describe")
                self._write(fingerprint, json.dumps(dict(settings)), built, _NEVER)

    def finish(self, fingerprint: str) -> None:
        """Write down that the index holds all documents."""
        with plain_words(self._uri, INDEXES), committing(self._uri):
            row = self._rows().get(fingerprint)
            if row is None:
                raise LibraryError("The index was removed while it was built.", "Build it again.")
            reached("store.indexes.finish")
            self._write(fingerprint, row["settings"], True, row["used_at"])
        log.event("index built", index=fingerprint)

    def use(self, fingerprint: str) -> None:
        """Write down that questions are asked of this index now, if it is there."""
        with plain_words(self._uri, INDEXES), committing(self._uri):
            rows = self._rows()
            row = rows.get(fingerprint)
            latest = max((one["used_at"] for one in rows.values()), default=_NEVER)
            if row and (row["used_at"] < latest or latest == _NEVER):
                reached("store.indexes.use")
                self._write(fingerprint, row["settings"], row["built"], datetime.now(UTC))

    def remove(self, fingerprint: str) -> None:
        """Remove the index and free its storage; documents, pages and originals stay."""
        with plain_words(self._uri, INDEXES), committing(self._uri):
            names = table_names(self._connection)
            # The row goes last: without it a table that stayed would count as built.
            if CHUNKS + fingerprint in names:
                with self._ledger.tidying(CHUNKS + fingerprint):
                    self._connection.drop_table(CHUNKS + fingerprint)
            reached("store.indexes.remove")
            if INDEXES in names:
                self._table().delete(col("id") == lit(fingerprint))
                self._ledger.seal(INDEXES)
        log.event("index removed", index=fingerprint)

    def _record(self, table: Any, rows: Mapping[str, Mapping[str, Any]]) -> IndexRecord:
        fingerprint = str(table.name).removeprefix(CHUNKS)
        chunks = int(table.count_rows())
        row = rows.get(fingerprint)
        used_at = row["used_at"] if row and row["used_at"] > _NEVER else None
        return IndexRecord(
            fingerprint=fingerprint,
            settings=json.loads(row["settings"]) if row else None,
            dimensions=vector_length(table),
            built=row["built"] if row else bool(chunks),
            chunks=chunks,
            used_at=used_at,
        )

    def _rows(self) -> dict[str, dict[str, Any]]:
        return {row["id"]: row for row in matching(self._table(), _COLUMNS).to_pylist()}

    def _table(self) -> Any:
        return self._connection.create_table(INDEXES, schema=INDEXES_SCHEMA, exist_ok=True)

    def _write(self, fingerprint: str, settings: str, built: bool, used_at: datetime) -> None:
        row = {"id": fingerprint, "settings": settings, "built": built, "used_at": used_at}
        rows = pa.Table.from_pylist([row], schema=INDEXES_SCHEMA)
        upsert(self._table()).execute(rows)
        self._ledger.seal(INDEXES)
