"""Figures that were measured once on this library, by name."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from lancedb.expr import col, lit

from rag.store.checksums import Ledger
from rag.store.failures import plain_words
from rag.store.locking import committing
from rag.store.tables import MEASUREMENTS, MEASUREMENTS_SCHEMA, matching, upsert


class Measurements:
    """Names and contents. Every method raises LibraryError where the library cannot be used."""

    def __init__(self, uri: str, table: Any, ledger: Ledger) -> None:
        self._uri = uri
        self._table = table
        self._ledger = ledger

    def get(self, name: str) -> bytes | None:
        """What was kept under the name, or None."""
        with plain_words(self._uri, MEASUREMENTS):
            found = matching(self._table, ["content"], col("id") == lit(name))
        return found["content"][0].as_py() if found.num_rows else None

    def put(self, name: str, content: bytes) -> None:
        """Keep the content under the name, in place of what was there."""
        row = {"id": name, "content": content}
        with plain_words(self._uri, MEASUREMENTS), committing(self._uri):
            rows = pa.Table.from_pylist([row], schema=MEASUREMENTS_SCHEMA)
            upsert(self._table).execute(rows)
            self._ledger.seal(MEASUREMENTS)

    def names(self, beginning: str = "") -> list[str]:
        """The names that begin so, in order."""
        with plain_words(self._uri, MEASUREMENTS):
            names = matching(self._table, ["id"])["id"].to_pylist()
        return sorted(name for name in names if name.startswith(beginning))

    def remove(self, name: str) -> None:
        """Forget what was kept under the name."""
        with plain_words(self._uri, MEASUREMENTS), committing(self._uri):
            self._table.delete(col("id") == lit(name))
            self._ledger.seal(MEASUREMENTS)
