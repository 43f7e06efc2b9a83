"""The rows of `documents`, read again only after a commit."""

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
