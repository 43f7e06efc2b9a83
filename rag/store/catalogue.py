"""The documents, and how many chunks each has; read again only after a commit."""

from __future__ import annotations

from typing import Any

from rag.store.tables import DOCUMENT_COLUMNS, document_records, matching
from rag.types import DocumentRecord


class Catalogue:
    """All documents by id, as of the table's newest version, whoever wrote it."""

    def __init__(self, table: Any) -> None:
        self._table = table
        self._read: tuple[int, dict[str, DocumentRecord]] = (-1, {})

    def records(self) -> dict[str, DocumentRecord]:
        """The documents by id."""
        # The version is asked for first: a commit in between is then read twice, never missed.
        version = self._table.version
        known, records = self._read
        if version != known:
            rows = document_records(matching(self._table, DOCUMENT_COLUMNS))
            records = {record.id: record for record in rows}
            self._read = (version, records)
        return records


class ChunkCounts:
    """How many chunks of each document one index holds, as of its newest version."""

    def __init__(self, table: Any) -> None:
        self._table = table
        self._read: tuple[int, dict[str, int]] = (-1, {})

    def by_document(self) -> dict[str, int]:
        """Chunks by document id; a document without any is left out."""
        version = self._table.version
        known, counts = self._read
        if version != known:
            column = matching(self._table, ["document_id"])["document_id"]
            counted = column.combine_chunks().value_counts().to_pylist()
            counts = {entry["values"]: entry["counts"] for entry in counted}
            self._read = (version, counts)
        return counts
